package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// programs are what scripts can run.
var programs = map[string]func(){"af": main, "system": system}

func TestMain(m *testing.M) { testscript.Main(m, programs) }

// Each script runs twice: with -file on the embedded file of a system, and with -url over HTTP. "start [FLAGS]" starts
// a system in the background and waits until it is ready, and af finds it by $AF_URL or ./config.yaml. The script ends
// it by "kill -INT system".
func TestScripts(t *testing.T) {
	for _, over := range []string{"file", "http"} {
		t.Run(over, func(t *testing.T) {
			testscript.Run(t, testscript.Params{
				Dir: filepath.Join("testdata", "script"),
				Cmds: map[string]func(*testscript.TestScript, bool, []string){
					"await": await,
				},
				Setup: func(env *testscript.Env) error {
					env.Setenv("USER", "ann")
					env.Setenv("OVER", over)
					env.Setenv("GOCOVERDIR", os.Getenv("GOCOVERDIR"))
					config := "embedded: {path: system.db}\n"
					return os.WriteFile(filepath.Join(env.WorkDir, "config.yaml"), []byte(config), 0o600)
				},
				Condition: func(cond string) (bool, error) { return cond == over, nil },
			})
		})
	}
}

// await waits until a file exists, and sets $AF_URL to its contents if it has a URL: "await FILE".
func await(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: await FILE")
	}
	path := ts.MkAbs(args[0])
	for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		raw, err := os.ReadFile(path)
		if err == nil {
			ts.Setenv("AF_URL", string(raw))
			return
		}
		if time.Now().After(end) {
			ts.Fatalf("%s: %v", args[0], err)
		}
	}
}
