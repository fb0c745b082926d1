package directive_test

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/gen/directive"
)

func TestTableIsComplete(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range directive.Specs() {
		if s.Name == "" || s.On == "" || !strings.HasSuffix(s.Doc, ".") || seen[s.Name] {
			t.Errorf("%+v", s)
		}
		seen[s.Name] = true
		keys := map[string]bool{}
		for _, k := range s.Keys {
			if k.Name == "" || k.Doc == "" || strings.HasSuffix(k.Doc, ".") || keys[k.Name] {
				t.Errorf("%s: %+v", s.Name, k)
			}
			keys[k.Name] = true
			if (k.Default == "") == (k.Absent == "") {
				t.Errorf("%s: %s needs either Default or Absent", s.Name, k.Name)
			}
			if bounded := k.Kind == directive.Int || k.Kind == directive.Duration; bounded != (k.Min < k.Max) {
				t.Errorf("%s: limits of %s: %d to %d", s.Name, k.Name, k.Min, k.Max)
			}
			if (k.Kind == directive.Choice) != (len(k.Choices) > 1) {
				t.Errorf("%s: choices of %s: %q", s.Name, k.Name, k.Choices)
			}
		}
	}
}

func TestDefaultsAreValid(t *testing.T) {
	for _, s := range directive.Specs() {
		d := &directive.Directive{Name: s.Name}
		for _, k := range s.Keys {
			if k.Default != "" {
				d.Args = append(d.Args, directive.Arg{Key: k.Name, Value: k.Default})
			}
		}
		if problems := check(d); problems != nil {
			t.Errorf("%s: %v", s.Name, problems)
		}
	}
}

func TestLimits(t *testing.T) {
	type limits struct{ Min, Max int64 }
	const day = int64(24 * time.Hour)
	want := map[string]limits{
		"rpc timeout": {1, day}, "rpc concurrency": {1, 65536}, "method timeout": {1, day},
		"worker max": {1, 10000}, "worker timeout": {1, 30 * day}, "worker retries": {0, 1000},
		"worker backoff": {1, day}, "worker backoff_max": {1, 30 * day}, "worker weight": {-1000, 1000}, "worker max_crashes": {1, 1000},
	}
	got := map[string]limits{}
	for _, s := range directive.Specs() {
		for _, k := range s.Keys {
			if k.Min != 0 || k.Max != 0 {
				got[s.Name+" "+k.Name] = limits{k.Min, k.Max}
			}
		}
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestSpecsReturnsACopy(t *testing.T) {
	want := directive.Specs()
	changed := directive.Specs()
	for i := range changed {
		changed[i].Name = ""
		for j := range changed[i].Keys {
			changed[i].Keys[j].Name = ""
			for n := range changed[i].Keys[j].Choices {
				changed[i].Keys[j].Choices[n] = ""
			}
		}
	}
	if d := cmp.Diff(want, directive.Specs()); d != "" {
		t.Errorf("the table changed:\n%s", d)
	}
}

func TestLookupUnknown(t *testing.T) {
	if s, ok := directive.Lookup("rcp"); ok {
		t.Error(s)
	}
	rpc, _ := directive.Lookup("rpc")
	if k, ok := rpc.Key("timout"); ok {
		t.Error(k)
	}
}
