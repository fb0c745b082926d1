package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/afgen/afgen/bench/internal/gentree"
)

// generating measures the command afgen on a module with 1,000 annotated types that have not changed, or go list on the
// same module: the median of several runs, from the start of the process to its end.
func generating(ctx context.Context, w *world) (result, error) {
	packages, times := 100, 11
	if w.quick {
		packages, times = 2, 1
	}
	tree, err := gentree.Write(filepath.Join(w.Dir, "m"), w.Root, packages)
	if err != nil {
		return nil, err
	}
	env := append(os.Environ(), "GOFLAGS=", "GOWORK=off", "AFGEN_CACHE="+filepath.Join(w.Dir, "cache"))
	run := func(dir, name string, args ...string) error {
		cmd := exec.CommandContext(ctx, name, args...)
		cmd.Dir, cmd.Env = dir, env
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w\n%s", filepath.Base(name), err, lastLines(string(out), 20))
		}
		return nil
	}
	afgen := filepath.Join(w.Dir, "afgen")
	if err := run(w.Root, "go", "build", "-o", afgen, "./cmd/afgen"); err != nil {
		return nil, err
	}
	for range 2 { // the second run reads the files that the first one has written
		<-time.After(25 * time.Millisecond) // files must be old enough for the detection of changes
		if err := run(tree.Dir, afgen, "./..."); err != nil {
			return nil, err
		}
	}
	name, args := afgen, []string{"./..."}
	if w.system == goList {
		name, args = "go", []string{"list", "./..."}
	}
	var took []float64
	for i := range 1 + times { // the first run warms up
		begun := time.Now()
		if err := run(tree.Dir, name, args...); err != nil {
			return nil, err
		}
		if i > 0 {
			took = append(took, micros(time.Since(begun)))
		}
	}
	return only(median(took)), nil
}
