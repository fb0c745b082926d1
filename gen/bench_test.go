package gen_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// BenchmarkGenerate times the whole command, as a user waits for it, on modules of 1 to 1000 annotated types with five
// methods each, beside go list of the same packages in the same run: the least that any tool pays which loads them.
func BenchmarkGenerate(b *testing.B) {
	afgen := filepath.Join(b.TempDir(), "afgen")
	run(b, ".", "go", "build", "-o", afgen, "github.com/afgen/afgen/cmd/afgen")
	for _, n := range []int{1, 10, 100, 1000} {
		dir := types(b, n)
		run(b, dir, afgen, "./...")
		b.Run(fmt.Sprintf("nothing-changed/types=%d", n), func(b *testing.B) {
			for b.Loop() {
				run(b, dir, afgen, "./...")
			}
		})
		b.Run(fmt.Sprintf("everything-new/types=%d", n), func(b *testing.B) {
			for b.Loop() {
				b.StopTimer()
				outputs, err := filepath.Glob(filepath.Join(dir, "*", "af*"))
				if err != nil {
					b.Fatal(err)
				}
				for _, o := range outputs {
					if err := os.Remove(o); err != nil {
						b.Fatal(err)
					}
				}
				b.StartTimer()
				run(b, dir, afgen, "./...")
			}
		})
		b.Run(fmt.Sprintf("go-list-deps/types=%d", n), func(b *testing.B) {
			for b.Loop() {
				run(b, dir, "go", "list", "-e", "-deps", "./...")
			}
		})
	}
}

func run(b *testing.B, dir, name string, args ...string) {
	b.Helper()
	cmd := exec.Command(name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("%s %v: %v\n%s", name, args, err, out)
	}
}
