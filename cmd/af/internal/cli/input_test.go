package cli

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

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

func TestParameters(t *testing.T) {
	for signature, want := range map[string][]parameter{
		"":                 nil,
		"()":               nil,
		"() (ip string)":   nil,
		"(x, y int) (int)": {{"x", "int"}, {"y", "int"}},
		"(a string, b, _ []map[string]int, rest ...string)": {
			{"a", "string"}, {"b", "[]map[string]int"}, {"arg2", "[]map[string]int"}, {"rest", "...string"},
		},
		"(int, map[string]struct{A, B int})": {{"arg0", "int"}, {"arg1", "map[string]struct{A, B int}"}},
		"(i api.Item, what struct{Of api.Item})": {
			{"i", "api.Item"}, {"what", "struct{Of api.Item}"},
		},
		"(z []struct{Name string \"json:\\\"a),b\\\"\"; D time.Duration}, t golden.test/a/user.ID)": {
			{"z", "[]struct{Name string \"json:\\\"a),b\\\"\"; D time.Duration}"}, {"t", "golden.test/a/user.ID"},
		},
		"Div(x int, y int) (q int)": {{"x", "int"}, {"y", "int"}},
		"(x int":                    nil,
		"x int":                     nil,
	} {
		if diff := cmp.Diff(want, parameters(signature), cmp.AllowUnexported(parameter{})); diff != "" {
			t.Errorf("%s:\n%s", signature, diff)
		}
	}
}

// Whatever a signature is, it is split without a panic.
func FuzzParameters(f *testing.F) {
	f.Add("(x, y int) (int)")
	f.Add("(z []struct{Name string \"json:\\\"a\\\"\"}) (`)")
	f.Fuzz(func(_ *testing.T, signature string) { parameters(signature) })
}

func TestArgumentOf(t *testing.T) {
	for _, c := range []struct{ value, typ, want string }{
		{"5", "int", "5"}, {"5", "string", `"5"`}, {"5", "*string", `"5"`}, {"5", "", "5"}, {`"5"`, "string", `"5"`},
		{"null", "string", `"null"`}, {"null", "*int", "null"}, {"ann", "", `"ann"`}, {`{"a":1}`, "Box", `{"a":1}`},
		{`{"a":1}`, "string", `"{\"a\":1}"`}, {"[1,2]", "[]int", "[1,2]"}, {"5s", "time.Duration", "5000000000"},
		{"7", "time.Duration", "7"}, {"2026-11-30T02:15:00Z", "time.Time", `"2026-11-30T02:15:00Z"`}, {"", "string", `""`},
		{"", "int", `""`}, {"<b>", "string", `"\u003cb\u003e"`},
	} {
		if got := argumentOf(c.value, c.typ); string(got) != c.want || !json.Valid(got) {
			t.Errorf("%s of type %q: got %s, want %s", c.value, c.typ, got, c.want)
		}
	}
}
