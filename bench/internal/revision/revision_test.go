package revision

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/mod/modfile"
)

func TestModFileUsesDependenciesOfRevision(t *testing.T) {
	bench := "module m/bench\n\ngo 1.26\n\nrequire (\n\tm v0.0.0\n\tx v1.2.0\n\ty v1.0.0\n\tz v1.0.0 // indirect\n)\n" +
		"\nreplace m => ../\n"
	root := "module m\n\ngo 1.26\n\nrequire (\n\tx v1.1.0\n\tz v1.3.0\n\tother v1.0.0\n)\n"
	text, err := modFor([]byte(bench), []byte(root), "/tmp/before")
	if err != nil {
		t.Fatal(err)
	}
	mod, err := modfile.Parse("go.mod", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]string{}
	for _, r := range mod.Require {
		got[r.Mod.Path] = r.Mod.Version
	}
	want := map[string]string{"m": "v0.0.0", "x": "v1.1.0", "y": "v1.0.0", "z": "v1.3.0"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
	if len(mod.Replace) != 1 || mod.Replace[0].Old.Path != "m" || mod.Replace[0].New.Path != "/tmp/before" {
		t.Errorf("%s", text)
	}
}
