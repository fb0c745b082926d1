// Package pages runs code of docs/http.md and docs/transactions.md. It consists of tests, whose files contain that code.
package pages

import (
	"log/slog"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/snippets/shop"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

var block = regexp.MustCompile("(?ms)^```go\n(.*?)^```")

// compare reports the snippets of a page that the file doesn't contain, of those that contain one of the marks.
func compare(t *testing.T, page, file string, marks ...string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", page))
	if err != nil {
		t.Fatal(err)
	}
	code, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	for _, m := range block.FindAllStringSubmatch(string(text), -1) {
		for _, mark := range marks {
			if !strings.Contains(m[1], mark) {
				continue
			}
			if found[mark] = true; !strings.Contains(string(code), m[1]) {
				t.Errorf("%s does not contain this snippet of %s:\n%s", file, page, m[1])
			}
			break
		}
	}
	if len(found) != len(marks) {
		t.Errorf("found only %v of %q", found, marks)
	}
}

// open returns a started App in memory that has the services and workers of package shop and what register adds.
func open(t *testing.T, register ...func(*af.App)) *af.App {
	t.Helper()
	app, err := af.Open(t.Context(), memory.New(), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { app.Shutdown(t.Context()) })
	shop.RegisterShop(app, &shop.Shop{})
	shop.RegisterReceipt(app, &shop.Receipt{Shop: &shop.Shop{}})
	for _, r := range register {
		r(app)
	}
	if err := app.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return app
}
