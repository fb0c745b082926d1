package emit_test

import (
	"strings"
	"testing"

	"github.com/afgen/afgen/gen/emit"
)

func TestIsOutput(t *testing.T) {
	files, err := emit.Package(shop(), nil)
	if err != nil {
		t.Fatal(err)
	}
	goFile, contractFile := string(files[0].Content), string(files[1].Content)
	foreign := "package mine\n"
	// Any truncated file is recognized.
	for n := range 200 {
		for _, end := range []string{"", "\n", strings.Repeat("\x00", 100)} {
			for name, content := range map[string]string{"af_gen.go": goFile, "a/af_gen_0123abcd.go": goFile,
				"af_x_gen.go": goFile, "af.contract.json": contractFile} {
				if !emit.IsOutput(name, []byte(content[:n]+end)) {
					t.Fatalf("%s truncated after %d bytes, plus %q, is not recognized", name, n, end)
				}
			}
		}
	}
	for _, test := range []struct {
		name, file, content string
		want                bool
	}{
		{"go", "af_gen.go", goFile, true},
		{"go_of_another_name", "x.go", goFile, true},
		{"contract", "af.contract.json", contractFile, true},
		{"conflict_in_go", "af_gen.go", "<<<<<<< ours\n" + goFile, true},
		{"conflict_in_contract", "af.contract.json", "<<<<<<< ours\n" + contractFile, true},
		{"conflict_in_theirs", "af_gen.go", "<<<<<<< ours\n" + foreign, false},
		{"foreign", "af_gen.go", foreign, false},
		{"foreign_contract", "af.contract.json", "{}", false},
		{"foreign_with_header_below", "af_gen.go", foreign + emit.Header + "\n", false},
		{"empty_of_another_name", "x.go", "", false},
		{"empty_of_a_similar_name", "af_gen_0123abc.go", "", false},
		{"empty_in_another_language", "af_gen.txt", "", false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := emit.IsOutput(test.file, []byte(test.content)); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
