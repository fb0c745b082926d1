package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// longPrefix begins the reason of a test that is skipped because it belongs to a higher tier.
const longPrefix = "long: "

// An event is an output line of go test -json; see go doc test2json.
type event struct {
	Action     string
	Package    string
	ImportPath string // of a package that doesn't build
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

// A report collects and prints test results. Its methods are safe for concurrent use.
type report struct {
	mu       sync.Mutex
	out      io.Writer
	passed   int
	failures int
	untested []string // what can't be tested here, and why
	higher   []string // tests of a higher tier
	hasAll   bool     // this is that tier: each of these also runs at full length
}

func newReport(out io.Writer) *report { return &report{out: out} }

// read reads the events of one go test until it ends. name is the step's.
func (r *report) read(events io.Reader, name string) error {
	output := map[string][]string{} // of unfinished tests, by package and test
	lines := bufio.NewScanner(events)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		var e event
		if err := json.Unmarshal(lines.Bytes(), &e); err != nil {
			e = event{Action: "output", Output: lines.Text() + "\n"} // output of go test before the tests
		}
		key := e.Package + e.ImportPath + "\x00" + e.Test
		switch e.Action {
		case "output", "build-output":
			output[key] = append(output[key], e.Output)
		case "pass", "fail", "skip", "build-fail":
			text := output[key]
			delete(output, key)
			if e.Test == "" && e.Action == "fail" {
				text = append(unfinished(output, e.Package), text...)
			}
			r.ended(e, text, name)
		}
	}
	if rest := output["\x00"]; len(rest) > 0 {
		r.fail("%s: %s", name, strings.Join(rest, ""))
	}
	return lines.Err()
}

// unfinished removes and returns the output of the tests of a package that have no result: its process has ended, or
// other output hides the result.
func unfinished(output map[string][]string, pkg string) (text []string) {
	for _, key := range slices.Sorted(maps.Keys(output)) {
		if strings.HasPrefix(key, pkg+"\x00") {
			text = append(text, output[key]...)
			delete(output, key)
		}
	}
	return text
}

// ended records the result of a test or a package.
func (r *report) ended(e event, output []string, step string) {
	name := strings.TrimPrefix(e.Package, module)
	switch {
	case e.Action == "build-fail":
		r.fail("%s\n%s", e.ImportPath, strings.Join(output, ""))
	case e.Test == "" && e.Action == "pass":
		r.done(name, step, time.Duration(e.Elapsed*float64(time.Second)))
	case e.Test == "" && e.Action == "fail":
		r.fail("%s (%s) after %.1f s\n%s", name, step, e.Elapsed, strings.Join(output, ""))
	case e.Test == "":
		// A package without tests.
	case e.Action == "pass":
		r.mu.Lock()
		r.passed++
		r.mu.Unlock()
	case e.Action == "fail":
		r.mu.Lock()
		r.failures++
		r.mu.Unlock()
		r.fail("%s: %s\n%s", name, e.Test, strings.Join(output, ""))
	case e.Action == "skip":
		r.skipped(name+"."+e.Test, reason(output))
	}
}

// reason returns the reason of a skipped test.
func reason(output []string) string {
	for _, line := range slices.Backward(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "--- ") || strings.HasPrefix(line, "=== ") {
			continue
		}
		if _, text, ok := strings.Cut(line, ".go:"); ok {
			if _, text, ok = strings.Cut(text, ": "); ok {
				return text
			}
		}
		return line
	}
	return "no reason given"
}

func (r *report) skipped(test, why string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if strings.HasPrefix(why, longPrefix) {
		r.higher = append(r.higher, test)
		return
	}
	r.untested = append(r.untested, test+": "+why)
}

func (r *report) done(name, step string, took time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if step != "" {
		step = "  (" + step + ")"
	}
	fmt.Fprintf(r.out, "ok   %6.1f s  %s%s\n", took.Seconds(), name, step)
}

func (r *report) fail(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintf(r.out, "FAIL "+strings.TrimRight(format, "\n")+"\n", args...)
}

// finish prints how many tests passed and, in the last line, what was not tested. It reports whether the tier has
// passed.
func (r *report) finish(require bool) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.hasAll {
		fmt.Fprintf(r.out, "left to make test-all: %d long tests, all tests over servers, and those of the dashboard in a "+
			"browser\n", len(r.higher))
	}
	fmt.Fprintf(r.out, "%d passed, %d failed\n", r.passed, r.failures)
	if r.failures > 0 {
		return false
	}
	slices.Sort(r.untested)
	untested := strings.Join(slices.Compact(r.untested), "; ")
	switch {
	case untested == "":
		return true
	case require:
		fmt.Fprintf(r.out, "FAILED: NOT TESTED, and AF_TEST_REQUIRE=1 requires it: %s\n", untested)
		return false
	}
	fmt.Fprintf(r.out, "OK, BUT NOT TESTED: %s\n", untested)
	return true
}
