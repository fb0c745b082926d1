package child

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/runtime/backend"
)

// mains are the functions of the tests' children by name.
var mains = map[string]func(*Child){
	"exit early": func(*Child) { os.Exit(4) },
	"env": func(c *Child) {
		_, marked := os.LookupEnv(Env)
		_ = c.Ready(func(r *Request) {
			_ = r.Reply(map[string]any{"marked": marked, "data": string(c.Data), "limit": os.Getenv("GOMEMLIMIT")}, nil)
		})
		select {}
	},
	"hang": hang,
	"deaf": func(c *Child) { // ignores the signal for stacks
		signal.Ignore(syscall.SIGQUIT)
		hang(c)
	},
	"flood": func(c *Child) { // exceeds the request limit but keeps the pipe open
		c.slots = make(chan struct{}, maxRequests+10)
		for range maxRequests + 1 {
			if _, err := c.Begin(context.Background(), "hang", nil); err != nil {
				break
			}
		}
		select {}
	},
	"chatter": func(c *Child) {
		for range 1000 {
			if _, err := os.Stderr.WriteString(strings.Repeat("é", 500) + "\n"); err != nil {
				os.Exit(5)
			}
		}
		os.Exit(1)
	},
}

func hang(c *Child) {
	_ = c.Ready(func(*Request) {})
	select {}
}

func TestMain(m *testing.M) {
	if c := Self(); c != nil {
		mains[c.Name](c)
	}
	goleak.VerifyTestMain(m)
}

func start(t *testing.T, name string, h Handler) *Process {
	t.Helper()
	t.Setenv("GORACE", "atexit_sleep_ms=0")
	p, err := Start(Config{Kind: "test", Name: name, Data: "told", Handle: h, Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Kill(); <-p.Dead() })
	return p
}

func TestMarkIsRemovedBeforeMain(t *testing.T) {
	p := start(t, "env", func(*Request) {})
	<-p.Ready()
	var got map[string]any
	if err := p.Call(t.Context(), "ask", nil, &got); err != nil {
		t.Fatal(err)
	}
	if got["marked"] != false || got["data"] != `"told"` || got["limit"] != "" {
		t.Errorf("the child has %v", got)
	}
	p.Kill()
	<-p.Dead()
	if err := p.Call(t.Context(), "ask", nil, &got); !errors.Is(err, ErrGone) {
		t.Errorf("a request to a dead child: %v", err)
	}
	if exit := p.Exit(); !exit.Killed {
		t.Errorf("%+v", exit)
	}
}

func TestExitReportsCause(t *testing.T) {
	p := start(t, "exit early", func(*Request) {})
	if exit := p.Exit(); exit.State != "exit status 4" || exit.Killed {
		t.Errorf("%+v", exit)
	}
	p.Kill()
	p.Close()
	if p.Exit().Killed {
		t.Error("killing an exited process failed")
	}
	p = start(t, "chatter", func(*Request) {})
	if exit := p.Exit(); exit.State != "exit status 1" || len(exit.Stderr) > maxExcerpt+8 ||
		!strings.HasSuffix(exit.Stderr, "éé") || strings.Contains(exit.Stderr, "\uFFFD") {
		t.Errorf("%s, %d bytes of stderr", exit.State, len(exit.Stderr))
	}
}

func TestTooManyRequestsEndChild(t *testing.T) {
	p := start(t, "flood", func(r *Request) {
		<-r.Context.Done()
		_ = r.Reply(nil, context.Cause(r.Context))
	})
	<-p.Dead()
}

// pair returns two ends in this process, which are read until the test ends.
func pair(t *testing.T, h Handler) (*Conn, *Conn) {
	ar, bw := io.Pipe()
	br, aw := io.Pipe()
	a, b := newConn(ar, aw), newConn(br, bw)
	b.handler.Store(&h)
	done := make(chan struct{}, 2)
	for _, c := range []*Conn{a, b} {
		go func() { c.read(); done <- struct{}{} }()
	}
	t.Cleanup(func() {
		aw.Close()
		bw.Close()
		<-done
		<-done
		b.served.Wait()
	})
	return a, b
}

func TestCancelledRequestIsAnswered(t *testing.T) {
	begun := make(chan struct{})
	a, _ := pair(t, func(r *Request) {
		close(begun)
		<-r.Context.Done()
		f, _ := errors.AsType[*Fault](context.Cause(r.Context))
		_ = r.Reply(nil, &Fault{Kind: f.Kind, Code: backend.ErrAborted, Message: "as you say"})
		if r.Reply(1, nil) == nil {
			t.Error("a request is answered once")
		}
	})
	p, err := a.Begin(t.Context(), "work", 1)
	if err != nil {
		t.Fatal(err)
	}
	<-begun
	if err := p.Cancel(&Fault{Kind: "why", Code: backend.ErrCanceled}); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	f, ok := errors.AsType[*Fault](p.Reply(nil))
	if !ok || f.Kind != "why" || f.Err().Message != "as you say" || !errors.Is(f.Err(), backend.ErrAborted) {
		t.Errorf("%v", p.Reply(nil))
	}
}

func TestCallEndsWithContext(t *testing.T) {
	cause := errors.New("no patience")
	ended := make(chan struct{})
	a, _ := pair(t, func(r *Request) {
		<-r.Context.Done()
		close(ended)
		_ = r.Reply(nil, nil)
	})
	ctx, cancel := context.WithCancelCause(t.Context())
	time.AfterFunc(time.Millisecond, func() { cancel(cause) })
	if err := a.Call(ctx, "work", nil, nil); !errors.Is(err, cause) {
		t.Error(err)
	}
	<-ended
}

func TestUnsendableRepliesAreErrors(t *testing.T) {
	a, _ := pair(t, func(r *Request) {
		if r.Op == "large" {
			_ = r.Reply(json.RawMessage(make([]byte, MaxFrame)), nil)
			return
		}
		_ = r.Reply(func() {}, nil)
	})
	if err := a.Call(t.Context(), "odd", nil, nil); err == nil || !strings.Contains(err.Error(), "func()") {
		t.Error(err)
	}
	f, ok := errors.AsType[*Fault](a.Call(t.Context(), "large", nil, nil))
	if !ok || f.Code != backend.ErrResourceExhausted {
		t.Error(f)
	}
	if err := a.Call(t.Context(), "odd", json.RawMessage(make([]byte, MaxFrame)), nil); !errors.Is(err,
		backend.ErrResourceExhausted) {
		t.Error(err)
	}
}

func TestExitWakesWaiters(t *testing.T) {
	a, b := pair(t, func(*Request) {})
	p, err := a.Begin(t.Context(), "work", nil)
	if err != nil {
		t.Fatal(err)
	}
	b.out.Close()
	<-p.Done()
	if err := p.Reply(nil); !errors.Is(err, ErrGone) || !a.Gone() {
		t.Error(err)
	}
	if _, err := a.Begin(t.Context(), "work", nil); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

func FuzzFrames(f *testing.F) {
	good, err := encode(frame{ID: 7, Op: "op", Body: []byte(`{"a":1}`), Fault: &Fault{Code: backend.ErrAborted}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:len(good)-1])
	f.Add(binary.BigEndian.AppendUint32(nil, MaxFrame+1))
	f.Add([]byte{0, 0, 0, 4, 0, 0, 0, 1})
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := decode(bytes.NewReader(text))
		if err != nil {
			return
		}
		again, err := encode(got)
		if err != nil {
			t.Fatal(err)
		}
		same, err := decode(bytes.NewReader(again))
		if err != nil || same.ID != got.ID || same.Op != got.Op || !bytes.Equal(same.Body, got.Body) {
			t.Errorf("%+v became %+v, %v", got, same, err)
		}
	})
}

func TestExcerptBeginsWithTheCrash(t *testing.T) {
	stack := strings.Repeat("goroutine 1 [running]:\n", 1000)
	for text, want := range map[string]string{
		"":                                  "",
		"a\nb\n":                            "a\nb",
		"chatter\npanic: no\n\n" + stack:    "panic: no",
		"chatter\nfatal error: x\n" + stack: "fatal error: x",
		"a panic: no\n" + stack:             "…",
	} {
		tail := &tail{to: io.Discard}
		for part := range strings.Lines(text) {
			_, _ = io.WriteString(tail, part)
		}
		if got := tail.excerpt(); !strings.HasPrefix(got, want) || len(got) > maxExcerpt+8 {
			t.Errorf("%.40q became %.40q of %d bytes", text, got, len(got))
		}
	}
}
