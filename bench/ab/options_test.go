package main

import (
	"context"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestOptionsAreChecked(t *testing.T) {
	for args, want := range map[string]string{
		"extra":              `unexpected argument "extra"`,
		"-count 0":           "-count 0",
		"-count x":           "invalid value",
		"-benchtime 5":       "-benchtime",
		"-benchtime 0x":      "-benchtime",
		"-benchtime -1s":     "-benchtime",
		"-bench [":           "-bench",
		"-bench Call/(":      "-bench",
		"-before=":           "-before",
		"-before=--all":      "-before",
		"-after=--all":       "-after",
		"-nonsense":          "-nonsense",
		"-before a -after b": "",
		"-after-tags otel,x": "",
		"-benchtime 1x":      "",
		"-benchtime 1m30s":   "",
		"-bench Call/memory|Task/(memory|embedded) -count 2 -keep d -own": "",
	} {
		_, err := parseOptions(strings.Fields(args), io.Discard)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}

func TestExitCodes(t *testing.T) {
	t.Chdir(t.TempDir())
	for args, want := range map[string]struct {
		code   int
		stderr string
	}{
		"-count 0":          {2, "-count 0"},
		"-h":                {0, "usage: go run ./ab"},
		"-bench Call/memor": {1, "is not in a git repository"},
	} {
		var stdout, stderr strings.Builder
		if code := run(context.Background(), strings.Fields(args), &stdout, &stderr); code != want.code {
			t.Errorf("%s: exit code %d, want %d", args, code, want.code)
		}
		if !strings.Contains(stderr.String(), want.stderr) || stdout.Len() > 0 {
			t.Errorf("%s: standard error %q, want %q; standard output %q", args, &stderr, want.stderr, &stdout)
		}
	}
}

func TestSplitPattern(t *testing.T) {
	for pattern, want := range map[string][][]string{
		".":                       {{"."}},
		"":                        {{""}},
		"Call/memory":             {{"Call", "memory"}},
		"Call/(a/b|c)/d|Task[|/]": {{"Call", "(a/b|c)", "d"}, {"Task[|/]"}},
		`a\/b/c`:                  {{`a\/b`, "c"}},
	} {
		if diff := cmp.Diff(want, splitPattern(pattern)); diff != "" {
			t.Errorf("%s: (-want +got)\n%s", pattern, diff)
		}
	}
}

func TestServersStartOnlyIfNeeded(t *testing.T) {
	names := []string{"BenchmarkCall", "BenchmarkTask", "BenchmarkGenerate"}
	for pattern, want := range map[string]bool{
		".": true, "Call": true, "Call/servers": true, "Call/./callers=1": true, "Generate|Task/servers/drain": true,
		"Call/memory": false, "Call/(memory|embedded)": false, "Generate": false, "Generate/.": false, "Other": false,
	} {
		if got := needsServers(pattern, names); got != want {
			t.Errorf("%s: %v, want %v", pattern, got, want)
		}
	}
}

func TestOrderAlternates(t *testing.T) {
	c := &comparison{before: &side{name: "before"}, after: &side{name: "after"}}
	var got []string
	for round := range 4 {
		for _, s := range c.order(round) {
			got = append(got, s.name)
		}
	}
	if want := strings.Fields("before after after before before after after before"); !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
