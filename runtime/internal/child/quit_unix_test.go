//go:build unix

package child

import (
	"strings"
	"testing"
	"time"
)

// A hanging child writes its stacks and exits at once.
func TestQuitWritesStacks(t *testing.T) {
	p := start(t, "hang", func(*Request) {})
	<-p.Ready()
	p.Quit(time.Minute)
	p.Quit(time.Minute)
	exit := p.Exit()
	if !exit.Killed || exit.State != "exit status 2" || !strings.HasPrefix(exit.Stderr, "SIGQUIT: quit") {
		t.Errorf("%+v", exit)
	}
	if got := string(p.Stderr()); !strings.Contains(got, "child.hang(") {
		t.Errorf("its stderr:\n%s", got)
	}
}

// A child that ignores the signal is killed after a moment, or immediately if requested.
func TestQuitKillsDeafChild(t *testing.T) {
	for name, end := range map[string]func(*Process){
		"moment": func(p *Process) { p.Quit(10 * time.Millisecond) },
		"none":   func(p *Process) { p.Quit(0) },
		"kill":   func(p *Process) { p.Quit(time.Hour); p.Kill() },
		"close":  func(p *Process) { p.Quit(time.Hour); p.Close() },
	} {
		t.Run(name, func(t *testing.T) {
			p := start(t, "deaf", func(*Request) {})
			<-p.Ready()
			end(p)
			if exit := p.Exit(); !exit.Killed || exit.State != "signal: killed" || exit.Stderr != "" {
				t.Errorf("%+v", exit)
			}
		})
	}
}
