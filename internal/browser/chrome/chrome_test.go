package chrome

import (
	"bytes"
	"context"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"testing"
	"time"
)

const onePage = `<!doctype html><meta name="viewport" content="width=device-width"><title>One</title>
<h1>One</h1><a href="/two">Two</a><input id="in"><button id="b">Press</button><p id="out" style="height:2000px"></p>
<script>
  document.getElementById("b").addEventListener("click", (e) => {
    const text = document.getElementById("in").value + e.isTrusted;
    setTimeout(() => { document.getElementById("out").textContent = text; }, 30);
  });
  document.addEventListener("keydown", (e) => { if (e.key === "?") console.error("asked", 7); });
</script>`

func open(t *testing.T) (context.Context, *Browser, *httptest.Server) {
	t.Helper()
	if _, err := Find(); err != nil {
		if os.Getenv("AF_TEST_REQUIRE") == "1" {
			t.Fatal(err)
		}
		t.Skip(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	b, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Close)
	mux := http.NewServeMux()
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		text := onePage
		if r.URL.Path != "/" {
			w.WriteHeader(http.StatusNotFound)
			text = strings.ReplaceAll(onePage, "One", "Two")
		}
		_, _ = w.Write([]byte(text))
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return ctx, b, s
}

func TestTabActsAndRecords(t *testing.T) {
	ctx, b, s := open(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	tab, err := b.Open(View{Width: 375, Height: 700, Scale: 2, Dark: true})
	must(err)
	must(tab.Go(ctx, s.URL+"/"))
	var is struct {
		W    int
		Dark bool
	}
	must(tab.Eval(ctx, `({W: innerWidth, Dark: matchMedia("(prefers-color-scheme: dark)").matches})`, &is))
	if is.W != 375 || !is.Dark {
		t.Errorf("the page is %+v", is)
	}
	must(tab.Fill(ctx, "#in", "typed "))
	must(tab.Click(ctx, "button", "Press"))
	must(tab.Wait(ctx, `document.getElementById("out").textContent === "typed true"`))
	must(tab.Eval(ctx, "document.activeElement.blur()", nil))
	must(tab.Press(ctx, "?"))
	for full, height := range map[bool]int{false: 1400, true: 4000} {
		picture, err := tab.Screenshot(ctx, full)
		must(err)
		p, err := png.DecodeConfig(bytes.NewReader(picture))
		must(err)
		if p.Width != 750 || p.Height < height {
			t.Errorf("the picture (full: %t) has %d × %d pixels", full, p.Width, p.Height)
		}
	}
	must(tab.Follow(ctx, "a", "Two"))
	must(tab.Back(ctx))
	must(tab.Wait(ctx, `document.title === "One"`))
	must(tab.Forward(ctx))
	must(tab.Reload(ctx))
	must(tab.Wait(ctx, `document.title === "Two"`))
	if got := tab.Requests(); !slices.Contains(got, s.URL+"/two") {
		t.Errorf("requests: %q", got)
	}
	if got := tab.Problems(); !slices.Contains(got, `console: "asked" 7`) ||
		!strings.Contains(strings.Join(got, " "), "404") {
		t.Errorf("problems: %q", got)
	}
}

func TestTabIsHiddenAndShown(t *testing.T) {
	ctx, b, s := open(t)
	for _, v := range []View{{}, {Phone: true, Width: 375}} {
		tab, err := b.Open(v)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range []func() error{func() error { return tab.Go(ctx, s.URL) }, func() error { return tab.Hide(ctx) },
			func() error { return tab.Show(ctx) }, func() error { return tab.Follow(ctx, "a", "") }} {
			if err := f(); err != nil {
				t.Fatal(err)
			}
		}
		tab.Close()
	}
}

func TestScriptsCanBeOff(t *testing.T) {
	ctx, b, s := open(t)
	tab, err := b.Open(View{NoScript: true})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []func() error{func() error { return tab.Go(ctx, s.URL) },
		func() error { return tab.Fill(ctx, "#in", "x") }, func() error { return tab.Press(ctx, "?") },
		func() error { return tab.Follow(ctx, "a", "") }, func() error { return tab.Wait(ctx, `document.title === "Two"`) }} {
		if err := f(); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(tab.Problems(), " "); strings.Contains(got, "asked") {
		t.Errorf("a script has run: %s", got)
	}
}

func TestWaitEndsWithItsContext(t *testing.T) {
	ctx, b, s := open(t)
	tab, err := b.Open(View{})
	if err != nil {
		t.Fatal(err)
	}
	if err := tab.Go(ctx, s.URL); err != nil {
		t.Fatal(err)
	}
	short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
	defer cancel()
	if err := tab.Wait(short, "never"); err == nil || !strings.Contains(err.Error(), "One") {
		t.Errorf("%v, want an error with the page's text", err)
	}
}
