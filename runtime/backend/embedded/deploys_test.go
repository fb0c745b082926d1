//go:build unix

package embedded_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

func init() {
	children["deployed"] = func() int { return apptest.Deployed(embedded.File(os.Getenv("AF_TEST_FILE"))) }
	children["poisoned"] = func() int { return apptest.PoisonedMain(embedded.File(os.Getenv("AF_TEST_FILE"))) }
}

func TestDeploysChargeNothing(t *testing.T) {
	testkit.Long(t, "it waits for eight drains")
	file := filepath.Join(t.TempDir(), "af.db")
	apptest.Deploys(t, embedded.File(file), func(t *testing.T, env string) (*exec.Cmd, func(string)) {
		child := testkit.Start(t, "deployed", "AF_TEST_FILE="+file, env)
		return child.Cmd, func(want string) { child.Says(t, want) }
	})
}

func TestPoisonFailsAlone(t *testing.T) {
	testkit.Long(t, "a process dies four times, and its tasks are tested one at a time")
	file := filepath.Join(t.TempDir(), "af.db")
	apptest.Poison(t, embedded.File(file), func() *exec.Cmd { return testkit.Command("poisoned", "AF_TEST_FILE="+file) })
}
