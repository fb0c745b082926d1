package axe

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/browser/chrome"
)

func TestFaultsAreFound(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	script, err := Load(ctx)
	if errors.Is(err, ErrNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	b, err := chrome.Start(t.Context())
	if errors.Is(err, chrome.ErrNone) {
		t.Skip(err)
	}
	if err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'")
		_, _ = w.Write([]byte(`<!doctype html><html lang="en"><title>Page</title><main><h1 style="color:#ccc">Pale</h1>
			<input></main>`))
	}))
	defer s.Close()
	tab, err := b.Open(chrome.View{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tab.Go(ctx, s.URL); err != nil {
		t.Fatal(err)
	}
	faults, err := script.Check(ctx, tab)
	if got := strings.Join(faults, "\n"); err != nil || len(faults) != 2 || !strings.Contains(got, "color-contrast: ") ||
		!strings.Contains(got, "label: ") {
		t.Errorf("%v, %v", faults, err)
	}
	if faults, err = script.Check(ctx, tab, "label"); err != nil || len(faults) != 1 {
		t.Errorf("one rule: %v, %v", faults, err)
	}
}
