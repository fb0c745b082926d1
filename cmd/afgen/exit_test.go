package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// Scripts distinguish only success and failure.
func TestExitCodes(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := writeModule(root, dir); err != nil {
		t.Fatal(err)
	}
	t.Chdir(dir)
	t.Setenv("GOFLAGS", "-mod=mod")
	calc := func(results string) {
		write(t, filepath.Join(dir, "calc.go"), "package calc\n\nimport \"context\"\n\n//af:rpc\ntype Calc struct{}\n\n"+
			"func (Calc) Add(ctx context.Context, x int) ("+results+") { panic(x) }\n")
	}
	exits := func(want int, args ...string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		if got := run(t.Context(), args, &stdout, &stderr); got != want {
			t.Errorf("%q: exit code %d, want %d:\n%s%s", args, got, want, stdout.String(), stderr.String())
		}
	}
	calc("int, error")
	exits(exitFindings, "check")
	exits(0)
	exits(0, "check")
	old, err := os.ReadFile("af.contract.json")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "old.json"), string(old))
	exits(0, "breaking", "-against", "old.json")
	calc("result int, more int, err error") // only a warning
	exits(0, "breaking", "-against", "old.json")
	calc("error")
	exits(exitFindings, "breaking", "-against", "old.json")
	exits(0, "breaking", "-against", "old.json", "-allow", "RESULT_REMOVED=calc.Add")
	exits(exitFailure, "breaking", "-against", "gone.json")
	exits(exitFailure, "breaking")
	exits(exitFailure, "breaking", "-against", "git:HEAD") // no repository
	calc("int")
	exits(exitFindings, "breaking", "-against", "old.json") // not a remote method
	exits(exitFailure, "check", "./gone")
	exits(exitFailure, "explain", "AF9999")
	exits(0, "explain", "AF0211")
	exits(0, "init", "new")
	exits(exitFailure, "init", "new")
	exits(exitFailure, "xyzzy", "-no-such-flag")
}
