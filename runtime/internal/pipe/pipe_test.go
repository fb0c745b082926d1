package pipe

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/guard"
)

// cross returns v as decoded by the other side.
func cross[T any](t *testing.T, v T) (got T) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &got)
	}
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestTaskErrorsCross(t *testing.T) {
	plain, coded := errors.New("plain"), backend.NewError(backend.ErrOutOfRange, "coded")
	isGoexit := func(err error) bool { return err == error(guard.ErrGoexit) }
	for name, tt := range map[string]struct {
		err  error
		code backend.Code
		text string // of the error in the parent
		is   func(error) bool
	}{
		"plain":     {plain, backend.ErrUnknown, "plain", isUncoded},
		"wraps":     {fmt.Errorf("w: %w", backend.ErrNotFound), backend.ErrNotFound, "w: not_found", isUncoded},
		"coded":     {fmt.Errorf("w: %w", coded), backend.ErrOutOfRange, coded.Error(), isCoded},
		"permanent": {guard.Permanent(coded), backend.ErrOutOfRange, coded.Error(), guard.IsPermanent},
		"undecoded": {guard.Undecoded(coded), backend.ErrOutOfRange, coded.Error(), guard.IsUndecoded},
		"goexit":    {guard.ErrGoexit, backend.ErrInternal, guard.ErrGoexit.Error(), isGoexit},
		"snooze": {guard.Snooze(time.Hour), backend.ErrUnknown, "snoozed for 1h0m0s", func(err error) bool {
			s, ok := errors.AsType[*guard.SnoozeError](err)
			return ok && s.Delay == time.Hour
		}},
		"panic": {guard.Recovered("boom"), backend.ErrInternal, guard.PanicMessage, func(err error) bool {
			p, ok := err.(*guard.PanicError)
			return ok && p.Value == "boom" && strings.Contains(p.Stack, "TestTaskErrorsCross")
		}},
		"wrapped_panic": {fmt.Errorf("w: %w", guard.Recovered("boom")), backend.ErrInternal, "w: the handler panicked", isBoom},
		"replaced_panic": {backend.Errorf(backend.ErrAborted, "w: %w", guard.Recovered("boom")), backend.ErrAborted,
			"aborted: w: the handler panicked", isBoom},
		"permanent_panic": {guard.Permanent(guard.Recovered("boom")), backend.ErrInternal, guard.PanicMessage,
			func(err error) bool { return isBoom(err) && guard.IsPermanent(err) }},
	} {
		t.Run(name, func(t *testing.T) {
			err := taskError(cross(t, taskFault(tt.err)))
			if backend.CodeOf(err) != tt.code || err.Error() != tt.text || !tt.is(err) {
				t.Errorf("%#v: %v", err, err)
			}
		})
	}
}

func isBoom(err error) bool {
	p, ok := errors.AsType[*guard.PanicError](err)
	return ok && p.Value == "boom" && p.Stack != ""
}

func isCoded(err error) bool {
	_, ok := errors.AsType[*backend.Error](err)
	return ok
}

func isUncoded(err error) bool { return !isCoded(err) }

var testCauses = Causes{
	Stopped: errors.New("stopped"), LeaseLost: errors.New("lost"), Timeout: errors.New("timeout"),
	Shutdown: errors.New("shutdown"),
}

func TestCausesCross(t *testing.T) {
	c := testCauses
	for _, cause := range []error{c.Stopped, c.LeaseLost, c.Timeout, c.Shutdown} {
		for _, wrapped := range []error{cause, fmt.Errorf("w: %w", cause)} {
			if got := c.err(cross(t, c.fault(wrapped))); got != cause {
				t.Errorf("%v crosses as %v", wrapped, got)
			}
		}
	}
	other := backend.NewError(backend.ErrAborted, "other")
	if got := c.err(cross(t, c.fault(other))); backend.CodeOf(got) != backend.ErrAborted || got.Error() != other.Error() {
		t.Errorf("another cause crosses as %v", got)
	}
}

func TestPortErrorsCross(t *testing.T) {
	arrive := func(err error) error { return portError(cross(t, portFault(err).(*child.Fault))) }
	none := backend.NoInstance("calc")
	if err := arrive(none); !errors.Is(err, backend.ErrNoInstance) || err.Error() != none.Error() ||
		backend.Coded(err).Outcome != backend.OutcomeNotSent {
		t.Errorf("no instance: %v", err)
	}
	stale := backend.Spawn{Source: "s", Fence: 3}.ErrorStale()
	if err := arrive(stale); !errors.Is(err, backend.ErrStaleFence) || err.Error() != stale.Error() {
		t.Errorf("stale: %v", err)
	}
	coded := backend.NewError(backend.ErrNotFound, "gone").With(backend.OutcomeUnknown)
	if err := arrive(coded); err.Error() != coded.Error() || backend.Coded(err).Outcome != backend.OutcomeUnknown {
		t.Errorf("coded: %v", err)
	}
	if err := portError(fmt.Errorf("w: %w", child.ErrGone)); backend.CodeOf(err) != backend.ErrUnavailable {
		t.Errorf("the parent has died: %v", err)
	}
	if portError(nil) != nil {
		t.Error("no error becomes one")
	}
}

// The parent logs a child's record like its own handler would.
func TestRecordsCross(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	attrs := []slog.Attr{
		slog.String("s", "a<b"), slog.Int("i", -1), slog.Uint64("u", 1<<63), slog.Duration("d", time.Second),
		slog.Time("t", at),
		slog.Bool("b", true), slog.Float64("f", 2.5), slog.Any("err", errors.New("no")), slog.Any("list", []int{1, 2}),
		slog.Group("g", slog.String("in", "side")), slog.Group("empty"), slog.Any("func", struct{ F func() }{}),
	}
	text := func(body json.RawMessage) string {
		var b bytes.Buffer
		logRecord(t.Context(), slog.NewJSONHandler(&b, nil), body)
		return b.String()
	}
	body, err := json.Marshal(wireRecord{at, slog.LevelWarn, "said", toWire(attrs)})
	if err != nil {
		t.Fatal(err)
	}
	want := `{"time":"2026-01-02T03:04:05Z","level":"WARN","msg":"said","s":"a<b","i":-1,"u":9223372036854775808,` +
		`"d":1000000000,` +
		`"t":"2026-01-02T03:04:05Z","b":true,"f":2.5,"err":"no","list":[1,2],"g":{"in":"side"},"func":"{<nil>}"}` + "\n"
	if got := text(body); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
	body = bytes.Replace(body, []byte(`"level":"WARN"`), []byte(`"level":"DEBUG"`), 1)
	if got := text(body); got != "" {
		t.Errorf("a record below the level is logged: %s", got)
	}
}

func TestDocumentsAreSplit(t *testing.T) {
	var docs []backend.Doc
	for _, name := range []string{"a", "b", "c", "d"} {
		docs = append(docs, backend.Doc{Name: name, Value: json.RawMessage(`"234567"`)}) // 9 bytes including its name
	}
	docs[2].Value = json.RawMessage(`"` + strings.Repeat("x", 100) + `"`) // larger than a part
	var parts []string
	for after := ""; ; {
		some := argsDocs{After: after, Bytes: 20}.part(docs)
		names := ""
		for _, d := range some.Docs {
			names += d.Name
		}
		parts = append(parts, names)
		if !some.More {
			break
		}
		after = names[len(names)-1:]
	}
	if want := []string{"ab", "c", "d"}; !slices.Equal(parts, want) {
		t.Errorf("parts %q, want %q", parts, want)
	}
}

// A handler's context ends with the attempt's in the parent, but times out by itself.
func TestHandlerContext(t *testing.T) {
	h := Handler{Causes: testCauses}
	cases := map[string]struct {
		left  time.Duration
		fault *child.Fault // cancels the request after a minute
		want  error        // after an hour
	}{
		"runs":             {0, nil, nil},
		"timeout":          {time.Second, nil, testCauses.Timeout},
		"stopped":          {0, testCauses.fault(testCauses.Stopped), testCauses.Stopped},
		"stopped_in_time":  {2 * time.Minute, testCauses.fault(testCauses.Stopped), testCauses.Stopped},
		"parent_times_out": {2 * time.Minute, testCauses.fault(testCauses.Timeout), testCauses.Timeout},
		"only_parent":      {0, testCauses.fault(testCauses.Timeout), nil},
	}
	for name, tt := range cases {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				parent, end := context.WithCancelCause(t.Context())
				defer end(nil)
				ctx, cancel := h.context(parent, tt.left)
				defer cancel()
				time.Sleep(time.Minute)
				if tt.fault != nil {
					end(tt.fault)
				}
				time.Sleep(time.Hour)
				if got := context.Cause(ctx); got != tt.want {
					t.Errorf("the cause is %v, want %v", got, tt.want)
				}
			})
		})
	}
}
