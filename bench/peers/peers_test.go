package main

import (
	"context"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
)

// TestMain runs the command instead of the tests in the processes that the command starts.
func TestMain(m *testing.M) {
	if os.Getenv(variable) != "" {
		os.Exit(run(context.Background(), os.Args[1:], os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// A quick run takes every sample.
func TestQuickRun(t *testing.T) {
	testkit.Long(t, "measures every row once")
	t.Chdir("..")
	o, err := parseArguments([]string{"-quick"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	var out, log strings.Builder
	if _, err := compare(t.Context(), o, &out, &log); err != nil {
		t.Fatalf("%v\n%s%s", err, &log, &out)
	}
	for line := range strings.Lines(out.String()) {
		if strings.HasPrefix(line, "- NOT MEASURED") {
			t.Log(line)
		}
	}
	for _, r := range rows {
		_, rest, ok := strings.Cut(out.String(), "| "+r.name+" | ")
		cell, _, _ := strings.Cut(rest, " |")
		if !ok || (cell == "–" && !strings.HasPrefix(r.name, servers)) {
			t.Errorf("%s: %q", r.name, cell)
		}
	}
	if t.Failed() || strings.Contains(out.String(), "NOT MEASURED: MongoDB") {
		t.Logf("%s\n%s", &log, &out)
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	for args, want := range map[string]string{
		"-rounds 0":       "at least 1",
		"-rows (":         "-rows: ",
		"-before -x":      "is not a revision",
		"more":            `unexpected argument "more"`,
		"-rows none=such": "",
	} {
		_, err := parseArguments(strings.Fields(args), io.Discard)
		if want == "" {
			if err != nil {
				t.Errorf("%s: %v", args, err)
			}
			continue
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
	if code := run(t.Context(), []string{"-rows", "no such row"}, io.Discard, io.Discard); code != 1 {
		t.Errorf("exit code %d of a run without rows", code)
	}
}

// Every row's scenario and systems exist.
func TestRowsCanBeMeasured(t *testing.T) {
	for _, r := range rows {
		if scenarios[r.afgen.scenario] == nil {
			t.Errorf("%s: there is no scenario %q", r.name, r.afgen.scenario)
		}
		if !isAfgen(r.afgen.system) {
			t.Errorf("%s: %s is not a backend of afgen", r.name, r.afgen.system)
		}
		found := r.goal.of == "" || r.goal.of == "before"
		for _, f := range r.figures() {
			found = found || f.system == r.goal.of
		}
		if !found {
			t.Errorf("%s: the goal compares with %s, which is not measured", r.name, r.goal.of)
		}
	}
}

func TestVerdicts(t *testing.T) {
	more, less := row{goal: against(bare, 0.9)}, row{unit: microseconds, goal: against(bare, 2)}
	limit, none := row{unit: number, goal: absolute(0)}, row{}
	for _, c := range []struct {
		row            row
		own, reference float64
		want           string
	}{
		{more, 90, 100, "met"},
		{more, 89, 100, "**short**"},
		{more, 89, math.NaN(), "not measured"},
		{less, 200, 100, "met"},
		{less, 201, 100, "**short**"},
		{limit, 0, math.NaN(), "met"},
		{limit, 1, math.NaN(), "**short**"},
		{limit, math.NaN(), math.NaN(), "not measured"},
		{none, 1, 1, ""},
	} {
		if got := c.row.verdict(c.own, c.reference); got != c.want {
			t.Errorf("%s: %v of %v: %s, want %s", c.row.goalText(), c.own, c.reference, got, c.want)
		}
	}
}

func TestValues(t *testing.T) {
	three := []float64{2000, 1000, 1200}
	for want, got := range map[string]string{
		"1.20 k/s (1.00 k/s to 2.00 k/s)": perSecond.formatRange(median(three), three),
		"999/s":                           perSecond.format(999),
		"24.5 µs":                         microseconds.format(24.5),
		"4.50 ms":                         microseconds.format(4500),
		"2.00 s":                          microseconds.format(2e6),
		"–":                               microseconds.format(math.NaN()),
		"1.05 ×":                          factor.format(1.049),
		"3":                               number.format(3),
		"0.042 ×":                         ratio(0.0421),
		"15 ×":                            ratio(15.1),
		"":                                ratio(math.NaN()),
	} {
		if got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
	if got := (row{worst: true, unit: microseconds}).value([]float64{1, 3, 2}); got != 3 {
		t.Errorf("the worst is %v", got)
	}
}

// Repeated runs are counted in all samples of a system.
func TestRepeatedRunsAreAdded(t *testing.T) {
	values := map[figure][]float64{
		{"drain-10", servers, repeated}:   {0, 1},
		{"end-to-end", servers, repeated}: {2},
		{"end-to-end", river, repeated}:   {7},
		{"drain-10", servers, "rate"}:     {9},
	}
	if got := samplesOf(values, figure{"end-to-end", servers, repeated}); len(got) != 1 || got[0] != 3 {
		t.Errorf("%v", got)
	}
	if got := samplesOf(values, figure{"end-to-end", embedded, repeated}); got != nil {
		t.Errorf("%v without samples", got)
	}
}

func TestRecord(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	write := func(text string) {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("a\n" + recordBegin + "old\n" + recordEnd + "z\n")
	if err := record(file, "new\n"); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(file)
	if want := "a\n" + recordBegin + "new\n" + recordEnd + "z\n"; err != nil || string(text) != want {
		t.Errorf("%q, want %q", text, want)
	}
	write("a\n")
	if err := record(file, "new\n"); err == nil || !strings.Contains(err.Error(), "has no place") {
		t.Errorf("without a section: %v", err)
	}
}

// An interrupted comparison prints what it has measured, ends its processes and is not recorded.
func TestInterruptedComparison(t *testing.T) {
	t.Chdir("..")
	file := filepath.Join(t.TempDir(), "doc.md")
	o, err := parseArguments([]string{"-quick", "-rows", "^memory", "-record", file}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	c := &comparison{arguments: o, rows: rows[:1], log: io.Discard, stack: &stack{}}
	c.stack.Mongo = "-" // available
	c.values = map[figure][]float64{rows[0].afgen: {1234}}
	var out strings.Builder
	if err := c.measure(ctx, plan(c.rows), &out); err == nil || !strings.Contains(err.Error(), "interrupted") {
		t.Errorf("the error is %v", err)
	}
	if !strings.Contains(out.String(), "1.23 k/s") {
		t.Errorf("the table has no figure:\n%s", &out)
	}
	if text := c.table(&machine{before: 0.6}); !strings.Contains(text, busyNote) {
		t.Errorf("no warning about the load:\n%s", text)
	}
	if text := c.table(&machine{}); strings.Contains(text, busyNote) {
		t.Errorf("a warning about the load of a quiet machine:\n%s", text)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("it was recorded: %v", err)
	}
}
