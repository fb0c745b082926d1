package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/text"
	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/admin"
)

// A testScreen is a terminal of a test.
type testScreen struct {
	mu            sync.Mutex
	out           bytes.Buffer
	raw           int // 1 after Raw, 0 after restore
	width, height int
	broken        error // of writes
}

func (s *testScreen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken != nil {
		return 0, s.broken
	}
	return s.out.Write(p)
}

// taken returns what was written since the last call.
func (s *testScreen) taken() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.out.Reset()
	return s.out.String()
}

// restored fails the test unless the terminal is as it was.
func (s *testScreen) restored(t *testing.T) {
	t.Helper()
	if out := s.taken(); s.broken == nil && !strings.HasSuffix(out, leaveScreen) {
		t.Errorf("the screen was not left: %q", out)
	}
	if s.raw != 0 {
		t.Error("the terminal is still raw")
	}
}

// invocation returns an invocation on the screen, whose keys are typed into the pipe.
func (s *testScreen) invocation() (*invocation, *io.PipeWriter) {
	keys, typed := io.Pipe()
	c := &invocation{output: "table", Environment: Environment{
		In:  keys,
		Out: text.Printer{Writer: s, Terminal: true, Width: 80}, Err: text.Printer{Writer: io.Discard},
		Getenv: func(string) string { return "" }, Now: time.Now,
		Screen: Screen{
			Size: func() (int, int) {
				s.mu.Lock()
				defer s.mu.Unlock()
				return s.width, s.height
			},
			Raw: func() (func() error, error) {
				s.raw++
				return func() error { s.raw--; return nil }, nil
			},
		},
	}}
	return c, typed
}

// A counter is a page that shows how often it was read.
type counter struct {
	mu       sync.Mutex
	reads    int
	failing  error
	panicsIn string // "key" or "read"
}

func (n *counter) set(change func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	change()
}

func (n *counter) count() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.reads
}

func (n *counter) fails(in string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.panicsIn == in {
		panic("a fault")
	}
}

func (n *counter) page() *livePage[int] {
	return &livePage[int]{
		kinds: []admin.Kind{admin.KindTasks},
		read: func(context.Context) (int, error) {
			n.fails("read")
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.failing == nil {
				n.reads++
			}
			return n.reads, n.failing
		},
		lines: func(reads int, v *view) []string {
			return []string{text.Line(&v.Printer, append([]text.Cell{text.Of(fmt.Sprint("read ", reads))}, v.status()...)...)}
		},
		key: func(byte) { n.fails("key") },
	}
}

func TestLivePage(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := &testScreen{width: 80, height: 24}
		c, typed := s.invocation()
		defer typed.Close()
		n := &counter{}
		done := make(chan error)
		go func() { done <- n.page().run(t.Context(), c, &liveAPI{}) }()
		after := func(d time.Duration) string {
			time.Sleep(d)
			synctest.Wait()
			return s.taken()
		}
		wants := func(got string, parts ...string) {
			t.Helper()
			for _, p := range parts {
				if !strings.Contains(got, p) {
					t.Errorf("%q is not on the screen: %q", p, got)
				}
			}
		}
		press := func(keys string) { _, _ = typed.Write([]byte(keys)) }
		wants(after(0), enterScreen, "read 1")
		wants(after(time.Second), "read 2")
		wants(after(2*time.Second), "read 4")
		if n.count() > 4 {
			t.Errorf("%d reads in 3 s", n.count())
		}

		n.set(func() { n.failing = errors.New("the store is down") })
		wants(after(2*time.Second), "read 4", "not refreshed: the store is down")
		n.set(func() { n.failing = nil })
		if got := after(2 * time.Second); strings.Contains(got[strings.LastIndex(got, "read"):], "not refreshed") {
			t.Errorf("still not refreshed: %q", got)
		}

		before := n.count()
		press("p")
		wants(after(100*time.Millisecond), "PAUSED")
		if got := after(10 * time.Second); got != "" || n.count() > before+1 {
			t.Errorf("a paused page was redrawn, after %d reads: %q", n.count()-before, got)
		}
		press("\x1b[A") // an arrow
		press("p")
		wants(after(2*time.Second), fmt.Sprint("read ", n.count()))

		s.mu.Lock()
		s.width, s.height = 20, 5
		s.mu.Unlock()
		wants(after(beatEvery), clearScreen)

		press("q")
		if err := <-done; err != nil || c.code != exitDone {
			t.Errorf("q ended it with %v, code %d", err, c.code)
		}
		s.restored(t)
	})
}

// Whatever ends a page, the terminal is as it was before.
func TestLivePageRestoresTheTerminal(t *testing.T) {
	for name, test := range map[string]struct {
		end  func(s *testScreen, typed io.Writer, cancel func(), n *counter)
		err  error
		code int
		text string // of a panic
	}{
		"interrupt": {
			end: func(_ *testScreen, _ io.Writer, cancel func(), _ *counter) { cancel() }, err: context.Canceled,
		},
		"ctrl_c": {
			end:  func(_ *testScreen, typed io.Writer, _ func(), _ *counter) { _, _ = typed.Write([]byte{3}) },
			code: exitInterrupted,
		},
		"panic": {
			end: func(_ *testScreen, typed io.Writer, _ func(), n *counter) {
				n.set(func() { n.panicsIn = "key" })
				_, _ = typed.Write([]byte("x"))
			},
			text: "a fault",
		},
		"panic_while_reading": {
			end: func(_ *testScreen, _ io.Writer, _ func(), n *counter) {
				n.set(func() { n.panicsIn = "read" })
			},
			text: "a fault",
		},
		"closed_terminal": {
			end: func(s *testScreen, _ io.Writer, _ func(), _ *counter) {
				s.mu.Lock()
				s.broken = io.ErrClosedPipe
				s.mu.Unlock()
			},
			err: io.ErrClosedPipe,
		},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				s := &testScreen{width: 80, height: 24}
				c, typed := s.invocation()
				defer typed.Close()
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				n := &counter{}
				done := make(chan error)
				panicked := ""
				go func() {
					defer func() {
						if v := recover(); v != nil {
							panicked = fmt.Sprint(v)
							done <- nil
						}
					}()
					done <- n.page().run(ctx, c, &liveAPI{})
				}()
				synctest.Wait()
				test.end(s, typed, cancel, n)
				if err := <-done; !errors.Is(err, test.err) || c.code != test.code || !strings.Contains(panicked, test.text) ||
					test.text == "" && panicked != "" {
					t.Errorf("it ended with %v, code %d, panic %q", err, c.code, panicked)
				}
				s.restored(t)
			})
		})
	}
}

// A page that can't be read at all is an error, and the screen is not entered.
func TestLivePageFailsAtOnce(t *testing.T) {
	s := &testScreen{width: 80, height: 24}
	c, _ := s.invocation()
	n := &counter{failing: errors.New("down")}
	if err := n.page().run(t.Context(), c, &liveAPI{}); !errors.Is(err, n.failing) {
		t.Error(err)
	}
	if out := s.taken(); out != "" {
		t.Errorf("%q was written", out)
	}
}
