package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/devstack"
)

// The examples run on the real servers as two processes.
func TestDemoOverServers(t *testing.T) { demo(t, 1) }

func demo(t *testing.T, hosts int) {
	t.Helper()
	for _, k := range devstack.Kinds() {
		if _, err := devstack.Up(k); err != nil {
			t.Skipf("NOT TESTED: no %s: %v", k, err)
		}
	}
	cmd := exec.Command("../../../examples/demo-servers")
	cmd.Env = append(os.Environ(), fmt.Sprint("HOSTS=", hosts))
	var out, problems bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &problems
	err := cmd.Run()
	if want := "\nOK calls=1 tasks=18 success=18 failed=0\n"; err != nil || !strings.HasSuffix(out.String(), want) {
		t.Errorf("%v\n%s\n%s", err, &out, &problems)
	}
	t.Log(&problems)
}
