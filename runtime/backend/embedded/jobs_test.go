//go:build unix

package embedded_test

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/internal/child"
)

// jobsFor is how long processes with a job that fires every second are killed and restarted.
var jobsFor = flag.Duration("jobs", 6*time.Second, "how long to kill and restart processes that fire a job each second")

func init() {
	children["jobs"] = func() int {
		if err := apptest.Scheduler(embedded.File(os.Getenv("AF_TEST_PATH")), os.Stdin); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		return 0
	}
	if child.Self() != nil { // runs a job in a child process
		fmt.Fprintln(os.Stderr, apptest.JobChild(embedded.File("")))
		os.Exit(1)
	}
}

func TestJobs(t *testing.T) {
	apptest.Jobs(t, func(t *testing.T) af.Backend { return embedded.File(filepath.Join(t.TempDir(), "af.db")) })
}

func TestKilledSchedulersMissNoSecondAndDoubleNone(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	apptest.KilledSchedulers(t, embedded.File(path), func() *exec.Cmd {
		return testkit.Command("jobs", "AF_TEST_PATH="+path)
	}, *jobsFor)
}
