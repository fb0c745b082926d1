package testkit

import (
	"flag"
	"runtime/debug"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// Long skips a test that takes too long for make test if -short is set. why describes the test.
func Long(t testing.TB, why string) {
	t.Helper()
	if testing.Short() {
		t.Skip("long: ", why)
	}
}

// Fewer returns how often a test repeats something: n, or few with -short.
func Fewer(n, few int) int {
	if testing.Short() {
		return few
	}
	return n
}

// GoFlags returns the GOFLAGS for go commands that a test runs to build programs. With -short they reuse packages that
// were compiled for the test itself, with or without the race detector. At full length all tests build without it, since
// such programs are smaller and most packages are compiled without it as well.
func GoFlags() string {
	if !Race || !testing.Short() {
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

// Checks sets how many random cases rapid.Check tries from now on, unless the command line sets it.
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

// checksGiven reports whether the command line sets the number of cases. It is evaluated before Checks sets it.
var checksGiven = sync.OnceValue(func() bool {
	given := false
	flag.Visit(func(f *flag.Flag) { given = given || f.Name == checksFlag })
	return given
})
