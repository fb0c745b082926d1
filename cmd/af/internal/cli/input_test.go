package cli

import (
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

func TestMaxJSON(t *testing.T) {
	if maxJSON != backend.MaxMessage {
		t.Errorf("maxJSON is %d, the engine's limit %d", maxJSON, backend.MaxMessage)
	}
}

func TestParseWhen(t *testing.T) {
	zone := time.FixedZone("", 3600)
	now := time.Date(2026, 11, 30, 14, 30, 0, 0, zone)
	for value, want := range map[string]time.Time{
		"2m": now.Add(2 * time.Minute), "0s": now, "1h30m": now.Add(90 * time.Minute),
		"15:04": time.Date(2026, 11, 30, 15, 4, 0, 0, zone), "02:15": time.Date(2026, 12, 1, 2, 15, 0, 0, zone),
		"15:04:05":             time.Date(2026, 11, 30, 15, 4, 5, 0, zone),
		"2026-12-24 18:00":     time.Date(2026, 12, 24, 18, 0, 0, 0, zone),
		"2026-12-24":           time.Date(2026, 12, 24, 0, 0, 0, 0, zone),
		"2026-12-24T18:00:00Z": time.Date(2026, 12, 24, 18, 0, 0, 0, time.UTC),
	} {
		at, after, err := parseWhen("at", value, now)
		if at.IsZero() {
			at = now.Add(after)
		}
		if err != nil || !at.Equal(want) {
			t.Errorf("%s: got %v, %v, want %v", value, at, err, want)
		}
	}
	for _, value := range []string{"", "-2m", "25:00", "soon", "2026-13-01"} {
		if at, after, err := parseWhen("at", value, now); err == nil {
			t.Errorf("%q: got %v, %v", value, at, after)
		}
	}
}
