package runtime_test

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"maps"
	"path/filepath"
	"testing"

	"github.com/afgen/afgen/internal/recorder"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/logs"
)

// refusing is a handler that can't write records with the message "lost".
type refusing struct{ slog.Handler }

func (h refusing) Handle(ctx context.Context, r slog.Record) error {
	if r.Message == "lost" {
		return errors.New("full")
	}
	return h.Handler.Handle(ctx, r)
}

func (h refusing) WithAttrs(attrs []slog.Attr) slog.Handler {
	return refusing{h.Handler.WithAttrs(attrs)}
}

// brokenConsole can't be written.
type brokenConsole struct{}

func (brokenConsole) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

// Log records that an App has lost are counted, and observed before it has ended.
func TestLostLogs(t *testing.T) {
	log, err := logs.Open(logs.Options{Dir: filepath.Join(t.TempDir(), "logs"), Console: brokenConsole{}})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	for name, tt := range map[string]struct {
		handler slog.Handler
		reason  string
		least   int64
	}{
		"handler": {refusing{slog.NewTextHandler(io.Discard, nil)}, "handler", 3},
		"console": {log.Handler(), "console", 4}, // with the record "started"
	} {
		t.Run(name, func(t *testing.T) {
			var rec recorder.Recorder
			app, err := af.Open(t.Context(), memory.New(), af.Logger(slog.New(tt.handler)), af.Instrument(&rec))
			if err != nil {
				t.Fatal(err)
			}
			if err := app.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				app.Logger().With("a", 1).Error("lost")
			}
			lost := app.Load().LostLogs
			if len(lost) != 1 || lost[tt.reason] < tt.least {
				t.Errorf("lost %v, want at least %d for %s", lost, tt.least, tt.reason)
			}
			if err := app.Shutdown(t.Context()); err != nil {
				t.Fatal(err)
			}
			observed := map[string]int64{}
			for _, e := range rec.Events(instrument.LogLost) {
				observed[e.Reason] += e.Records
			}
			if observed[tt.reason] < lost[tt.reason] || len(observed) != 1 {
				t.Errorf("observed %v, lost %v", observed, lost)
			}
			if name == "handler" && !maps.Equal(observed, lost) {
				t.Errorf("observed %v, lost %v", observed, lost)
			}
		})
	}
}
