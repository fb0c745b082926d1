package signature

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParameters(t *testing.T) {
	for signature, want := range map[string][]Parameter{
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
		got, ok := Parameters(signature)
		if diff := cmp.Diff(want, got); diff != "" || ok != strings.Contains(signature, ")") {
			t.Errorf("%s: %t\n%s", signature, ok, diff)
		}
	}
}

// Whatever a signature is, it is split without a panic.
func FuzzParameters(f *testing.F) {
	f.Add("(x, y int) (int)")
	f.Add("(z []struct{Name string \"json:\\\"a\\\"\"}) (`)")
	f.Fuzz(func(_ *testing.T, signature string) { _, _ = Parameters(signature) })
}

func TestArgument(t *testing.T) {
	for _, c := range []struct{ value, typ, want string }{
		{"5", "int", "5"}, {"5", "string", `"5"`}, {"5", "*string", `"5"`}, {"5", "", "5"}, {`"5"`, "string", `"5"`},
		{"null", "string", `"null"`}, {"null", "*int", "null"}, {"ann", "", `"ann"`}, {`{"a":1}`, "Box", `{"a":1}`},
		{`{"a":1}`, "string", `"{\"a\":1}"`}, {"[1,2]", "[]int", "[1,2]"}, {"5s", "time.Duration", "5000000000"},
		{"7", "time.Duration", "7"}, {"2026-11-30T02:15:00Z", "time.Time", `"2026-11-30T02:15:00Z"`}, {"", "string", `""`},
		{"", "int", `""`}, {"<b>", "string", `"\u003cb\u003e"`},
	} {
		if got := Argument(c.value, c.typ); string(got) != c.want || !json.Valid(got) {
			t.Errorf("%s of type %q: got %s, want %s", c.value, c.typ, got, c.want)
		}
	}
}
