package hooks_test

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/internal/recorder"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/hooks"
)

func newSet(all ...instrument.Instrumentation) *hooks.Set {
	s := hooks.New(all)
	s.Own("app", slog.New(slog.DiscardHandler))
	return s
}

// Lost log records are observed once a second, and at the end, each once.
func TestLostLogs(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var rec recorder.Recorder
		var lost atomic.Int64
		s := newSet(&rec)
		s.Watch(func() []backend.Condition { return nil }, func() map[string]int64 {
			return map[string]int64{"file": lost.Load(), "live": 2}
		})
		for range 3 {
			lost.Add(5)
			time.Sleep(2 * time.Second) // virtual
		}
		lost.Add(1)
		s.Close()
		sums, events := map[string]int64{}, rec.Events(instrument.LogLost)
		for _, e := range events {
			sums[e.Reason] += e.Records
		}
		if want := map[string]int64{"file": 16, "live": 2}; !maps.Equal(sums, want) || len(events) != 5 {
			t.Errorf("%d events with %v, want 5 with %v", len(events), sums, want)
		}
	})
}

// A mode is entered and left once, also if one replaces another.
func TestModes(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		var rec recorder.Recorder
		var mu sync.Mutex
		now := []backend.Condition{{Name: "db", Up: true}}
		s := newSet(&rec)
		s.Watch(func() []backend.Condition {
			mu.Lock()
			defer mu.Unlock()
			return now
		}, func() map[string]int64 { return nil })
		time.Sleep(time.Second / 2) // conditions are compared at whole seconds
		for _, c := range []backend.Condition{
			{Name: "db", Mode: "db-down", Cause: "no route"}, {Name: "db", Mode: "db-down"}, {Name: "db", Mode: "db-full"},
			{Name: "db", Up: true},
		} {
			mu.Lock()
			now = []backend.Condition{c}
			mu.Unlock()
			time.Sleep(2 * time.Second)
			synctest.Wait()
		}
		s.Close()
		var got []string
		for _, kind := range []instrument.Kind{instrument.ModeEntered, instrument.ModeLeft} {
			for _, e := range rec.Events(kind) {
				got = append(got, fmt.Sprint(e.Kind, " ", e.Instance, " ", e.Condition, " ", e.Mode, " ", e.Cause, " ",
					e.Duration.Round(time.Second)))
			}
		}
		want := []string{"mode entered app db db-down no route 0s", "mode entered app db db-full  0s",
			"mode left app db db-down  4s", "mode left app db db-full  2s"}
		if !slices.Equal(got, want) {
			t.Errorf("observed\n%s, want\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

// ordered records the order of calls.
type ordered struct {
	instrument.NoInstrument
	name string
	to   *[]string
	md   map[string]string
}

func (o ordered) Call(ctx context.Context, _ instrument.Start) (context.Context, func(instrument.End)) {
	*o.to = append(*o.to, "begin "+o.name)
	return ctx, func(e instrument.End) { *o.to = append(*o.to, fmt.Sprint("end ", o.name, " ", e.Code)) }
}

func (o ordered) Inject(context.Context) map[string]string { return o.md }

func TestSeveralInstruments(t *testing.T) {
	var got []string
	s := newSet(ordered{name: "a", to: &got, md: map[string]string{"x": "a", "only": "a"}},
		instrument.NoInstrument{}, ordered{name: "b", to: &got, md: map[string]string{"x": "b", "y": "b"}})
	_, end := s.Call(t.Context(), instrument.Start{})
	s.End(end, instrument.End{Err: backend.ErrNotFound})
	if want := []string{"begin a", "begin b", "end b not_found", "end a not_found"}; !slices.Equal(got, want) {
		t.Errorf("%q", got)
	}
	md, _ := s.Join(t.Context(), map[string]string{"x": "old", "kept": "old"}, map[string]string{"y": "own"})
	if want := (map[string]string{"x": "a", "only": "a", "y": "own", "kept": "old"}); !maps.Equal(md, want) {
		t.Errorf("joined %v", md)
	}
	empty := newSet(instrument.NoInstrument{}, instrument.NoInstrument{})
	if _, end := empty.Call(t.Context(), instrument.Start{}); end != nil {
		t.Error("two empty instruments have something to end")
	}
}

func TestHeaders(t *testing.T) {
	const trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	long := strings.Repeat("x", 8<<10)
	for _, c := range []struct {
		name               string
		injected, own, md  map[string]string
		trace, wantHeaders string
	}{
		{"nothing", nil, nil, nil, "", "map[]"},
		{"trace_of_context", nil, nil, nil, trace, "map[traceparent:" + trace + "]"},
		{"trace_of_middleware", nil, map[string]string{"traceparent": "m"}, nil, trace, "map[traceparent:m]"},
		{"injected_precedes_trace", map[string]string{"traceparent": "i"}, nil, nil, trace, "map[traceparent:i]"},
		{"middleware_precedes", map[string]string{"traceparent": "i", "b": "1"}, map[string]string{"traceparent": "m"}, nil,
			trace, "map[b:1 traceparent:m]"},
		{"limit_with_metadata", map[string]string{"traceparent": "i"}, nil, map[string]string{"a": long[:len(long)-1]}, "",
			"map[]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := newSet(ordered{md: c.injected})
			outside := func(context.Context) string { return c.trace }
			if got := fmt.Sprint(s.Headers(t.Context(), c.own, c.md, outside)); got != c.wantHeaders {
				t.Errorf("%s, want %s", got, c.wantHeaders)
			}
		})
	}
}

func TestTraceparent(t *testing.T) {
	const valid = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	for _, s := range []string{"", valid[1:], valid + "0", strings.ToUpper(valid), strings.ReplaceAll(valid, "-", "0"),
		"00-" + strings.Repeat("g", 32) + valid[35:]} {
		if hooks.ValidTrace(s) {
			t.Errorf("%q is valid", s)
		}
	}
	if !hooks.ValidTrace(valid) || hooks.TraceID(valid) != valid[3:35] || hooks.SpanID(valid) != "b7ad6b7169203331" {
		t.Error(hooks.TraceID(valid), hooks.SpanID(valid))
	}
	for flags, sampled := range map[string]bool{"01": true, "00": false, "03": true, "fe": false, "ff": true} {
		if hooks.Sampled(valid[:53]+flags) != sampled {
			t.Errorf("with the flags %s, sampled is %v", flags, !sampled)
		}
	}
	if hooks.Sampled("") {
		t.Error("no span is sampled")
	}
}

// none is the trace of a caller without one.
func none(context.Context) string { return "" }

// injecting is an instrument whose current span has a traceparent, which it injects under a name.
type injecting struct {
	instrument.NoInstrument
	trace, as string
}

func (i injecting) Inject(context.Context) map[string]string {
	return map[string]string{i.as: i.trace, "removed": ""}
}

func (i injecting) Trace(context.Context) string { return i.trace }

// Join returns the trace of the first instrument that has one, whatever is injected. Metadata doesn't repeat it.
func TestTraceOfJoin(t *testing.T) {
	const one = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	two := strings.ReplaceAll(one, "a", "b")
	for _, c := range []struct {
		name     string
		all      []instrument.Instrumentation
		own      map[string]string
		want     string
		metadata string
	}{
		{"injected", []instrument.Instrumentation{injecting{trace: one, as: "traceparent"}}, nil,
			one, "map[]"},
		{"injected_with_others", []instrument.Instrumentation{injecting{trace: one, as: "traceparent"}},
			map[string]string{"tenant": "acme"}, one, "map[tenant:acme]"},
		{"other_format", []instrument.Instrumentation{injecting{trace: one, as: "b3"}}, nil, one, "map[b3:" + one + "]"},
		{"own_metadata", []instrument.Instrumentation{injecting{trace: one, as: "traceparent"}},
			map[string]string{"traceparent": two}, one, "map[traceparent:" + two + "]"},
		{"no_trace", []instrument.Instrumentation{injecting{trace: "", as: "traceparent"}}, nil, "", "map[]"},
		{"first_of_two", []instrument.Instrumentation{injecting{trace: one, as: "b3"}, injecting{trace: two, as: "traceparent"}},
			nil, one, "map[b3:" + one + " traceparent:" + two + "]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			metadata, trace := newSet(c.all...).Join(t.Context(), nil, c.own)
			if trace != c.want || fmt.Sprint(metadata) != c.metadata {
				t.Errorf("trace %q and metadata %v, want %q and %v", trace, metadata, c.want, c.metadata)
			}
		})
	}
}

// Maps of the program, and those that are inherited, are not modified.
func TestJoinModifiesNothing(t *testing.T) {
	const one = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
	s := newSet(injecting{trace: one, as: "b3"})
	inherited, own := map[string]string{"traceparent": one, "a": "1"}, map[string]string{"traceparent": one, "b": "2"}
	for _, c := range [][2]map[string]string{{inherited, nil}, {nil, own}, {inherited, own}} {
		if metadata, trace := s.Join(t.Context(), c[0], c[1]); trace != one || metadata["traceparent"] != "" {
			t.Errorf("trace %q, metadata %v", trace, metadata)
		}
	}
	if len(inherited) != 2 || len(own) != 2 {
		t.Errorf("%v, %v", inherited, own)
	}
}

// The methods that accept a nil Set change nothing.
func TestNilSet(t *testing.T) {
	s := hooks.New(nil)
	own := map[string]string{"a": "b"}
	s.Own("", nil)
	s.Watch(nil, nil)
	s.Close()
	s.Flush()
	joined, trace := s.Join(t.Context(), nil, own)
	if s.Trace(t.Context()) != "" || trace != "" || s.Carrier(t.Context()) != nil || !maps.Equal(joined, own) ||
		!maps.Equal(s.Headers(t.Context(), own, nil, none), own) {
		t.Error("a nil Set changes something")
	}
}

// An empty instrument costs no allocation.
func TestEmptyAllocatesNothing(t *testing.T) {
	s := newSet(instrument.NoInstrument{})
	start := instrument.Start{Service: "a", Method: "b"}
	n := testing.AllocsPerRun(1000, func() {
		ctx, end := s.Call(t.Context(), start)
		s.End(end, instrument.End{})
		s.Observe(instrument.Event{Kind: instrument.Claimed})
		_, _ = s.Join(s.Extract(ctx, nil), nil, nil)
		_ = s.Headers(ctx, nil, nil, none)
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// stuck blocks when something is down.
type stuck struct {
	instrument.NoInstrument
	release chan struct{}
}

func (s stuck) Observe(instrument.Event) { <-s.release }

// An instrument that blocks does not keep an App from shutting down.
func TestCloseDoesNotWaitForStuckInstrument(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		s := stuck{release: make(chan struct{})}
		defer close(s.release)
		set := newSet(s)
		set.Watch(func() []backend.Condition { return []backend.Condition{{Name: "db", Mode: "db-down"}} },
			func() map[string]int64 { return nil })
		synctest.Wait()
		begun := time.Now()
		set.Close()
		if took := time.Since(begun); took > time.Second {
			t.Errorf("closing took %v", took)
		}
	})
}
