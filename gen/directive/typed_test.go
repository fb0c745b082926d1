package directive_test

import (
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/directive"
)

// typed returns the values of a directive and the codes of their problems.
func typed(t *testing.T, line string) (any, []diag.Code) {
	t.Helper()
	d, is, problems := directive.Scan(line, diag.Pos{File: "a.go", Line: 1, Column: 1})
	if !is || len(problems) > 0 {
		t.Fatalf("%s: %v, %v", line, is, problems)
	}
	v, problems := options(d)
	var codes []diag.Code
	for _, p := range problems {
		codes = append(codes, p.Code)
	}
	return v, codes
}

func TestValuesAndDefaults(t *testing.T) {
	for _, c := range []struct {
		line string
		want any
	}{
		{"//af:rpc", directive.RPC{Timeout: 30 * time.Second, Concurrency: 256}},
		{"//af:rpc name=test.server-2 timeout=24h concurrency=65536",
			directive.RPC{Name: "test.server-2", Timeout: 24 * time.Hour, Concurrency: 65536}},
		{"//af:rpc timeout=1ns concurrency=1", directive.RPC{Timeout: 1, Concurrency: 1}},
		{"//af:method", directive.Method{}},
		{"//af:method name=Get timeout=1m30s idempotent",
			directive.Method{Name: "Get", Timeout: 90 * time.Second, Idempotent: true}},
		{"//af:method idempotent=false", directive.Method{}},
		{"//af:worker", directive.Worker{Max: 10, Backoff: time.Second, Weight: 1, Isolation: "goroutine"}},
		{"//af:worker name=q max=10000 timeout=720h retries=1000 backoff=24h weight=-1000 isolation=process",
			directive.Worker{"q", 10000, 720 * time.Hour, 1000, 24 * time.Hour, 0, -1000, 0, "process", ""}},
		{"//af:worker backoff=2s backoff_max=720h", directive.Worker{Max: 10, Backoff: 2 * time.Second,
			BackoffMax: 720 * time.Hour, Weight: 1, Isolation: "goroutine"}},
		{"//af:worker max_crashes=1000",
			directive.Worker{Max: 10, Backoff: time.Second, Weight: 1, MaxCrashes: 1000, Isolation: "goroutine"}},
		{"//af:worker weight=0 retries=0", directive.Worker{Max: 10, Backoff: time.Second, Isolation: "goroutine"}},
	} {
		got, codes := typed(t, c.line)
		if codes != nil {
			t.Errorf("%s: %v", c.line, codes)
		}
		if d := cmp.Diff(c.want, got); d != "" {
			t.Errorf("%s:\n%s", c.line, d)
		}
	}
}

func TestInvalidValuesCountAsMissing(t *testing.T) {
	long := strings.Repeat("x", 101)
	for _, c := range []struct {
		arg  string
		code diag.Code
	}{
		{"timeout=5", diag.BadValue}, {"timeout=soon", diag.BadValue}, {"timeout=0", diag.BadValue},
		{"timeout=-1s", diag.BadValue},
		{"timeout=721h", diag.BadValue}, {`timeout=""`, diag.BadValue}, {"timeout=5 s", diag.BadValue},
		{"timeout=99999999999h", diag.BadValue},
		{"backoff=0s", diag.BadValue}, {"backoff=24h1ns", diag.BadValue},
		{"max=0", diag.BadValue}, {"max=10001", diag.BadValue}, {"max=1.5", diag.BadValue}, {"max=0x10", diag.BadValue},
		{"max=9223372036854775808", diag.BadValue},
		{"retries=-1", diag.BadValue}, {"retries=1001", diag.BadValue},
		{"weight=-1001", diag.BadValue}, {"weight=1001", diag.BadValue},
		{"backoff_max=1ms", diag.BadValue}, {"backoff_max=721h", diag.BadValue},
		{"max_crashes=0", diag.BadValue}, {"max_crashes=1001", diag.BadValue},
		{"isolation=thread", diag.BadValue}, {"isolation=Process", diag.BadValue}, {`isolation=""`, diag.BadValue},
		{`name=""`, diag.BadValue}, {"name=9", diag.BadValue}, {"name=" + long, diag.BadValue}, {"name=_x", diag.BadValue},
		{"name=_af", diag.ReservedName}, {"name=_af.x", diag.ReservedName}, {"name=_afx", diag.ReservedName},
	} {
		got, codes := typed(t, "//af:worker "+c.arg)
		if d := cmp.Diff([]diag.Code{c.code}, codes); d != "" {
			t.Errorf("%s:\n%s", c.arg, d)
		}
		if d := cmp.Diff(directive.Worker{Max: 10, Backoff: time.Second, Weight: 1, Isolation: "goroutine"}, got); d != "" {
			t.Errorf("%s:\n%s", c.arg, d)
		}
	}
}

func TestHintsForDurations(t *testing.T) {
	for _, c := range []struct{ value, want string }{
		{"5", "5s"}, {"0.5", "0.5s"}, {"5 s", "5s"}, {"5S", "5s"}, {"5sec", "5s"}, {"5 seconds", "5s"}, {"5min", "5m"},
		{"2 hours", "2h"}, {"1 day", "24h"}, {"1.5d", "36h"}, {"2weeks", "336h"}, {"300millis", "300ms"}, {"1h 30m", "1h30m"},
		{"1_000", "1000s"},
		{"9weeks", ""}, {"-5", ""}, {"soon", ""}, {"5 parsecs", ""}, {"", ""}, {".", ""}, {"5:30", ""},
	} {
		d := &directive.Directive{Name: "worker", Args: []directive.Arg{{Key: "timeout", Value: c.value}}}
		_, problems := d.Worker()
		if len(problems) != 1 {
			t.Fatalf("%q: %v", c.value, problems)
		}
		meant, ok := strings.CutPrefix(problems[0].Hint, "did you mean ")
		meant, _, _ = strings.Cut(meant, "?")
		if !ok {
			meant = ""
		}
		if meant != c.want {
			t.Errorf("%q: meant %q, want %q: %s", c.value, meant, c.want, problems[0].Hint)
		}
	}
}

// Each key has a field with its name, and each field a key.
func TestEveryKeyHasAField(t *testing.T) {
	for name, v := range map[string]any{"rpc": directive.RPC{}, "method": directive.Method{},
		"worker": directive.Worker{}} {
		spec, ok := directive.Lookup(name)
		if !ok {
			t.Fatal(name)
		}
		var keys, fields []string
		for _, k := range spec.Keys {
			keys = append(keys, strings.ReplaceAll(k.Name, "_", ""))
		}
		for f := range reflect.TypeOf(v).Fields() {
			fields = append(fields, strings.ToLower(f.Name))
		}
		if d := cmp.Diff(keys, fields); d != "" {
			t.Errorf("%s: keys (-) and fields (+):\n%s", name, d)
		}
	}
}
