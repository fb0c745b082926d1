package runtime_test

import (
	"go/doc"
	"go/doc/comment"
	"strings"
	"testing"
)

// The package comment is an index. It links to every exported type and function, and to every method of App.
func TestPackageCommentLinksToAll(t *testing.T) {
	pkg := packageDoc(t)
	linked := map[string]bool{}
	walkText := func(all []comment.Text) {
		for _, text := range all {
			switch text := text.(type) {
			case *comment.DocLink:
				name := text.Name
				if text.Recv != "" {
					name = text.Recv + "." + name
				}
				linked[name] = true
			case comment.Plain:
				if strings.Contains(string(text), "[") { // a broken link is plain text
					t.Errorf("the package comment has a broken link: %s", text)
				}
			}
		}
	}
	var walk func(blocks []comment.Block)
	walk = func(blocks []comment.Block) {
		for _, block := range blocks {
			switch block := block.(type) {
			case *comment.Paragraph:
				walkText(block.Text)
			case *comment.List:
				for _, item := range block.Items {
					walk(item.Content)
				}
			}
		}
	}
	walk(pkg.Parser().Parse(pkg.Doc).Content)

	want := []string{}
	functions := func(all []*doc.Func, receiver string) {
		for _, f := range all {
			want = append(want, receiver+f.Name)
		}
	}
	functions(pkg.Funcs, "")
	for _, typ := range pkg.Types {
		want = append(want, typ.Name)
		functions(typ.Funcs, "")
		if typ.Name == "App" {
			functions(typ.Methods, "App.")
		}
	}
	if len(want) < 150 {
		t.Errorf("found only %d names", len(want))
	}
	for _, name := range want {
		if !linked[name] {
			t.Errorf("the package comment does not link to %s: add it to the section of its topic", name)
		}
	}
}
