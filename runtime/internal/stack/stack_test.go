package stack

import (
	"errors"
	"fmt"
	goruntime "runtime"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"
)

func set(m map[string]int) { m["x"] = 1 }

func failing() { panic(errors.New("it failed")) }

// recovered returns the panic of f.
func recovered(f func()) (p Panic) {
	defer func() { p = Recovered(recover()) }()
	f()
	return p
}

func TestRecovered(t *testing.T) {
	const here = "stack_test.go:"
	for name, c := range map[string]struct {
		f                func()
		value, at, begin string
	}{
		"error": {failing, "it failed", ".failing", ".failing("},
		"index": {func() { _ = []int{}[len(t.Name())] }, "index out of range", ".TestRecovered.func",
			".TestRecovered.func"},
		"nil_map": {func() { set(nil) }, "nil map", ".set", ".set("},
		"pointer": {func() { _ = *(*int)(nil) }, "nil pointer", ".TestRecovered.func", ".TestRecovered.func"},
		"library": {func() { _ = strings.Repeat("x", -1) }, "negative Repeat", ".TestRecovered.func", "strings.Repeat("},
		"nil":     {func() { panic(nil) }, "panic called with nil", ".TestRecovered.func", ".TestRecovered.func"},
		"bytes":   {func() { panic("a\xff") }, "a\uFFFD", ".TestRecovered.func", ".TestRecovered.func"},
	} {
		t.Run(name, func(t *testing.T) {
			p := recovered(c.f)
			first, _, _ := strings.Cut(p.Stack, "\n")
			if !strings.Contains(p.Value, c.value) || !strings.HasPrefix(p.At, here) || !strings.Contains(p.At, c.at) ||
				!strings.Contains(first, c.begin) {
				t.Errorf("%+v", p)
			}
			if strings.Contains(p.Stack, "testing.") || strings.Contains(p.Stack, "debug.Stack") {
				t.Errorf("the stack is not cut:\n%s", p.Stack)
			}
			if want := p.Value + " (at " + p.At + ")"; p.String() != want {
				t.Errorf("%q, want %q", p.String(), want)
			}
		})
	}
}

func deep(n int) {
	if n == 0 {
		panic(strings.Repeat("€", maxValue))
	}
	deep(n - 1)
}

func TestPanicsAreBounded(t *testing.T) {
	p := recovered(func() { deep(10_000) })
	if len(p.Value) > maxValue || len(p.Stack) > maxStack || !utf8.ValidString(p.Value) ||
		!strings.Contains(p.At, ".deep") {
		t.Errorf("a value of %d bytes, a stack of %d, at %s", len(p.Value), len(p.Stack), p.At)
	}
}

// Frames are afgen's by package. They are the standard library's by file or, with -trimpath, by package.
func TestFramesOfTheUser(t *testing.T) {
	text := func(std, afgen string) string {
		return strings.NewReplacer("STD/", std, "AFGEN", afgen).Replace(`goroutine 7 [select, 3 minutes]:
time.Sleep(0x1)
	STD/time/sleep.go:10 +0x1
example.com/dep%2ev3.(*Client).Do(0xc000, {0x1, 0x2})
	STD/../mod/example.com/dep.v3/do.go:12 +0x1
shop/orders.(*Work).Run(0xc000, ...)
	/src/shop/orders/w.go:33
github.com/afgen/afgen/runtime/executor.(*Pool[...]).contain(0xc000)
	AFGEN/executor/pool.go:1 +0x1
main.run.Bind[...].func2.1(0x1)
	AFGEN/service.go:1 +0x1
main.handle(0x1)
	/src/shop/main.go:5 +0x1
...additional frames elided...
github.com/afgen/afgen/runtime.RegisterVoidWorker[...].func1({0x1, 0x2})
	AFGEN/worker.go:1 +0x1
net/http.HandlerFunc.ServeHTTP(0x1)
	STD/net/http/server.go:1 +0x1
created by example.com/dep.Do in goroutine 1
	/x.go:3 +0x1
`)
	}
	for name, p := range map[string]struct {
		program
		text string
	}{
		"plain": {program{std: "/go/src/", afgen: "/x/afgen/runtime/"},
			strings.ReplaceAll(text("/go/src/", "/x/afgen/runtime"), "/go/src/../mod", "/go/mod")},
		"trimpath": {program{afgen: "github.com/afgen/afgen@v1.0.0/runtime/",
			modules: []string{"", "shop", "example.com/dep.v3"}},
			strings.ReplaceAll(text("", "github.com/afgen/afgen@v1.0.0/runtime"), "../mod/", "")},
	} {
		t.Run(name, func(t *testing.T) {
			frames := parse(p.text)
			if got := p.first(frames); got != "do.go:12 example.com/dep.v3.(*Client).Do" {
				t.Errorf("first %q", got)
			}
			if got := p.first(frames[2:]); got != "w.go:33 shop/orders.(*Work).Run" {
				t.Errorf("first of the program %q", got)
			}
			got := p.cut("header", frames)
			if !strings.HasPrefix(got, "header\ntime.Sleep(") || strings.Contains(got, "afgen") ||
				strings.Contains(got, "Bind") || !strings.HasSuffix(got, "\nmain.handle(0x1)\n\t/src/shop/main.go:5 +0x1") {
				t.Errorf("cut to\n%s", got)
			}
			if got := p.cut("", frames[3:4]); !strings.HasPrefix(got, "github.com/afgen/") {
				t.Errorf("without a frame of the user's it is cut to %q", got)
			}
		})
	}
}

func TestStackOfAGoroutine(t *testing.T) {
	began, end, ended := make(chan int64), make(chan bool), make(chan bool)
	go func() {
		defer close(ended)
		began <- ID()
		<-end
	}()
	id := <-began
	all := Of(id, -1)
	if s := all[id]; len(all) != 1 || !strings.HasPrefix(s, fmt.Sprintf("goroutine %d [", id)) ||
		!strings.Contains(s, "stack_test.go:") {
		t.Errorf("goroutine %d: %v", id, all)
	}
	dump := make([]byte, 1<<20)
	dump = dump[:goruntime.Stack(dump, true)]
	if s := Running(dump, "github.com/afgen/afgen/runtime/internal/stack.TestStackOfAGoroutine.func1"); s == "" {
		t.Errorf("it is not found in\n%s", dump)
	}
	waits := "goroutine 8 [select (no cases)]:\nruntime.gopark(0x1?)\n\t/x/proc.go:1 " +
		"+0x1\nruntime.block()\n\t/x/select.go:1\nm.F(0x1)\n\t/m/f.go:1\n"
	if s := Running([]byte("SIGQUIT: quit\n\n"+waits),
		"m.F"); s != "goroutine 8 [select (no cases)]:\nm.F(0x1)\n\t/m/f.go:1" {
		t.Errorf("found %q", s)
	}
	if s := Running(dump, "example.com/m.F"); s != "" {
		t.Errorf("found %q", s)
	}
	close(end)
	<-ended
	if all := Of(id); len(all) != 0 {
		t.Errorf("it has ended: %v", all)
	}
}

type waiter struct{ begun, end chan bool }

//go:noinline
func (w *waiter) handle() {
	w.begun <- true
	<-w.end
}

func TestStacksOfAMethod(t *testing.T) {
	name := Name((*waiter).handle)
	first, second := &waiter{make(chan bool), make(chan bool)}, &waiter{make(chan bool), make(chan bool)}
	var all sync.WaitGroup
	for _, w := range []*waiter{first, first, first, second} {
		all.Go(w.handle)
		<-w.begun
	}
	if got := On(name, first, 2); len(got) != 2 || !strings.Contains(got[0], ".(*waiter).handle(") {
		t.Errorf("%s of the first: %q", name, got)
	}
	if got := On(name, second, 2); len(got) != 1 {
		t.Errorf("%s of the second: %q", name, got)
	}
	close(first.end)
	close(second.end)
	all.Wait()
	if got := On(name, first, 2); len(got) != 0 {
		t.Errorf("they have ended: %q", got)
	}
}
