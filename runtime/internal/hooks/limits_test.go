package hooks_test

import (
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/hooks"
)

const one = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"

// logging returns a Set, and the log that it writes.
func logging(all ...instrument.Instrumentation) (*hooks.Set, *strings.Builder) {
	var log strings.Builder
	s := hooks.New(all)
	s.Own("app", slog.New(slog.NewTextHandler(&log, nil)))
	return s, &log
}

// The traceparent is stored apart from the metadata, so it needs no space there.
func TestTraceNeedsNoSpace(t *testing.T) {
	s, log := logging(injecting{trace: one, as: "traceparent"})
	own := map[string]string{"a": strings.Repeat("x", backend.MaxMetadata-1)}
	metadata, trace := s.Join(t.Context(), map[string]string{"removed": "old"}, own)
	if trace != one || !maps.Equal(metadata, own) {
		t.Errorf("trace %q, metadata of %d names", trace, len(metadata))
	}
	if log.Len() > 0 {
		t.Error(log)
	}
}

// If what instruments inject exceeds the limits, what is inherited under the same names is left out, too: it describes
// the span of another operation.
func TestLeftOutIsNotInherited(t *testing.T) {
	s, log := logging(ordered{md: map[string]string{"tracestate": strings.Repeat("x", backend.MaxMetadata), "b3": one}})
	inherited := map[string]string{"tracestate": "old", "traceparent": one, "tenant": "acme"}
	for range 2 {
		metadata, _ := s.Join(t.Context(), inherited, map[string]string{"b3": "own"})
		if want := "map[b3:own tenant:acme traceparent:" + one + "]"; fmt.Sprint(metadata) != want {
			t.Errorf("%v, want %s", metadata, want)
		}
	}
	if len(inherited) != 3 || strings.Count(log.String(), "level=WARN") != 1 {
		t.Errorf("inherited %v, log %q", inherited, log)
	}
}

// Metadata of the program that is invalid by itself is no reason to warn of an instrument.
func TestInvalidMetadataIsNotBlamedOnInstruments(t *testing.T) {
	s, log := logging(injecting{trace: one, as: "b3"})
	own := map[string]string{"": "no name"}
	if metadata, _ := s.Join(t.Context(), nil, own); backend.ValidateMetadata(metadata) == nil || log.Len() > 0 {
		t.Errorf("%v, log %q", metadata, log)
	}
}

// The ids of a traceparent are not zero, and its version is not ff: such a span does not exist.
func TestNoSpanHasZeroIDs(t *testing.T) {
	for _, s := range []string{
		one[:3] + strings.Repeat("0", 32) + one[35:], one[:36] + strings.Repeat("0", 16) + one[52:], "ff" + one[2:],
	} {
		if hooks.ValidTrace(s) {
			t.Errorf("%q is valid", s)
		}
	}
}

// What a store or a peer has as the trace is passed to instruments only if it is one.
func TestTracedIsValid(t *testing.T) {
	for trace, want := range map[string]string{one: one, "": "", strings.Repeat("x", 1<<20): "", one + "-": ""} {
		if got := hooks.Traced(nil, trace)["traceparent"]; got != want {
			t.Errorf("%.60q became %.60q", trace, got)
		}
	}
}
