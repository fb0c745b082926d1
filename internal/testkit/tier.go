package testkit

import (
	"flag"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Long skips a test, in a run with -short, that takes too long for make test. why is what it does.
func Long(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("long: ", why)
	}
}

// Fewer returns how often a test repeats something: n, or few in a run with -short.
func Fewer(n, few int) int {
	if testing.Short() {
		return few
	}
	return n
}

// GoFlags is the value of GOFLAGS for go commands that a test runs to build programs: they use what was compiled for the
// test itself, with or without the race detector, and with the same compiler flags.
func GoFlags() string {
	if !Race {
		return ""
	}
	flags := []string{"-race"}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "-gcflags" {
				flags = append(flags, "-gcflags="+s.Value)
			}
		}
	}
	return strings.Join(flags, " ")
}

// Checks sets how many random cases rapid.Check tries from now on, unless the command line does.
func Checks(t testing.TB, n int) {
	t.Helper()
	if checksGiven() {
		return
	}
	if err := flag.Set(checksFlag, strconv.Itoa(n)); err != nil {
		t.Fatal(err)
	}
}

const checksFlag = "rapid.checks"

// checksGiven reports whether the command line sets how many cases are tried. It is asked before Checks sets it.
var checksGiven = sync.OnceValue(func() bool {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == checksFlag })
	return given
})
