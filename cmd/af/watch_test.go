package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// A watched is a system in this process that commands watch.
type watched struct {
	over string // file or http
	app  *af.App
	dir  string
	args []string // global flags that select it
	env  []string
}

// eachSystem runs a test on a system over its file, and over HTTP.
func eachSystem(t *testing.T, test func(t *testing.T, s *watched)) {
	for _, over := range []string{"file", "http"} {
		t.Run(over, func(t *testing.T) {
			s := &watched{over: over, dir: t.TempDir()}
			s.env = append(os.Environ(), "AF_URL=", "USER=ann", "TERM=xterm", "NO_COLOR=")
			path := filepath.Join(s.dir, "system.db")
			app, err := af.Open(t.Context(), embedded.File(path), af.IP("192.0.2.1"), af.Version("v1"),
				af.Logger(slog.New(slog.NewTextHandler(io.Discard, nil))))
			testkit.Must(t, err)
			t.Cleanup(func() { _ = app.Shutdown(t.Context()) })
			workers := map[string]behavior{"mail": behaviors["mail"], "poison": behaviors["poison"], "hold": behaviors["hold"],
				"talk": talk}
			for queue, run := range workers {
				af.RegisterVoidWorker(app, af.Worker{Name: queue, Type: queue, Max: 2, Weight: 1}, &worker{run})
			}
			af.HandleJobFunc(app, "nightly", "30 3 1 1 *", nothing, af.Overlap(af.OverlapSkip))
			testkit.Must(t, app.Start(t.Context()))
			s.app, s.args = app, []string{"-file", path}
			if over == "http" {
				handler, err := adminhttp.Handler(admin.New(app), adminhttp.Options{Authorize: adminhttp.Anyone})
				testkit.Must(t, err)
				server := httptest.NewServer(handler)
				t.Cleanup(server.Close)
				s.args = []string{"-url", server.URL}
			}
			test(t, s)
		})
	}
}

func nothing(context.Context) error { return nil }

// talk writes a line and waits until it is stopped.
func talk(ctx context.Context, _ json.RawMessage) error {
	af.LoggerFrom(ctx).Info("a line")
	<-ctx.Done()
	return context.Cause(ctx)
}

// submit submits a task with an id.
func (s *watched) submit(t *testing.T, queue, id string) {
	t.Helper()
	task := admin.Submission{Queue: queue, ID: id, Payload: json.RawMessage(`{"to":"ann"}`)}
	_, err := admin.New(s.app).Submit(t.Context(), task, admin.Action{})
	testkit.Must(t, err)
}

// await waits until a task has a status.
func (s *watched) await(t *testing.T, id string, status af.Status) {
	t.Helper()
	testkit.Eventually(t, id+" is "+string(status), func() bool {
		is, err := s.app.TaskStatus(t.Context(), id)
		return err == nil && is == status
	})
}

// command returns the command af with arguments. It is killed at the end of the test.
func (s *watched) command(t *testing.T, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "af", append(args, s.args...)...)
	cmd.Dir, cmd.Env = s.dir, s.env
	return cmd
}

// run runs a command and returns its output, and fails the test if the exit code is another.
func (s *watched) run(t *testing.T, code int, args ...string) (stdout, stderr string) {
	t.Helper()
	cmd := s.command(t, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	_ = cmd.Run()
	if got := cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("af %v: exit code %d, want %d\n%s%s", args, got, code, out.String(), errs.String())
	}
	return out.String(), errs.String()
}

// matches fails the test unless a text matches a pattern.
func matches(t *testing.T, text, pattern string) {
	t.Helper()
	if !regexp.MustCompile(pattern).MatchString(text) {
		t.Errorf("no match for %s in:\n%s", pattern, text)
	}
}

// Each list shows a running system, for people and for programs.
func TestListsOfARunningSystem(t *testing.T) {
	eachSystem(t, func(t *testing.T, s *watched) {
		s.submit(t, "hold", "held")
		s.submit(t, "poison", "bad")
		s.submit(t, "mail", "sent")
		s.await(t, "held", af.StatusRunning)
		s.await(t, "bad", af.StatusFailed)
		s.await(t, "sent", af.StatusSuccess)
		for _, c := range []struct{ command, pattern string }{
			{"ps", `(?m)^ID +QUEUE +WHERE .*\nheld +hold +192\.0\.2\.1 .* 1\n`},
			{"ps -o wide", s.app.Instance().ID},
			{"ps mail -o json", `"tasks": \[\]`},
			{"ps -o json", `"id": "held"`},
			{"instances", s.app.Instance().ID + ` +192\.0\.2\.1 +v1 .* hold,`},
			{"instances -queue hold -o json", `"version": "v1"`},
			{"nodes", `(?m)^NODE +IP .* INSTANCES\n.* 1\n`},
			{"nodes -o json", `"cpus"`},
			{"services -o json", `"services": \[\]`},
			{"jobs", `(?m)^nightly +30 3 1 1 \* +UTC +job\.nightly +in \d+d +never\n`},
			{"jobs -o json", `"overlap": "skip"`},
			{"fires -o json", `"fires": \[\]`},
			{"top", `(?s)healthy  1 instance .* waiting 0  running 1 .*held +hold .*data_loss +1 .* bad +the payload is broken`},
			{"top -once -o json", `(?s)"running": \[.*"id": "held"`},
			{"logs sent", `sent.*payload`},
			{"logs sent -f", `sent.*payload`},
			{"logs sent -o json", `"status": "success"`},
		} {
			stdout, _ := s.run(t, 0, strings.Fields(c.command)...)
			matches(t, stdout, c.pattern)
		}
		_, stderr := s.run(t, 1, "logs", "unknown")
		matches(t, stderr, `^af: .*unknown`)
	})
}

func TestWaitForTasks(t *testing.T) {
	eachSystem(t, func(t *testing.T, s *watched) {
		s.submit(t, "mail", "sent")
		s.submit(t, "hold", "held")
		s.submit(t, "poison", "bad")
		stdout, _ := s.run(t, 0, "wait", "sent")
		matches(t, stdout, `^sent  success  after .*\n$`)
		stdout, _ = s.run(t, 1, "wait", "sent", "bad", "-o", "json")
		matches(t, stdout, `(?s)"status":"success".*\n.*"status":"failed".*\n`)
		_, stderr := s.run(t, 3, "wait", "held", "-timeout", "1ms")
		matches(t, stderr, `held`)
		_, stderr = s.run(t, 1, "wait", "unknown")
		matches(t, stderr, `^af: .*unknown`)

		cmd := s.command(t, "wait", "held")
		var out bytes.Buffer
		cmd.Stdout = &out
		testkit.Must(t, cmd.Start())
		s.await(t, "held", af.StatusRunning)
		testkit.Must(t, s.app.StopTask(t.Context(), "held"))
		_ = cmd.Wait()
		matches(t, out.String(), `^held  stopped .*\n$`)
		if code := cmd.ProcessState.ExitCode(); code != 1 {
			t.Errorf("exit code %d", code)
		}
	})
}

// When the reader of its output has gone, as with af tail | head -1, a command ends without an error message.
func TestClosedPipe(t *testing.T) {
	eachSystem(t, func(t *testing.T, s *watched) {
		for _, args := range [][]string{{"tail", "-n", "0"}, {"top", "-o", "json"}} {
			cmd := s.command(t, args...)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, in, err := os.Pipe()
			testkit.Must(t, err)
			cmd.Stdout = in
			testkit.Must(t, cmd.Start())
			testkit.Must(t, in.Close())
			testkit.Must(t, out.Close())
			ended := make(chan struct{})
			go func() {
				_ = cmd.Wait()
				close(ended)
			}()
			for open := true; open; { // tasks end until it has noticed
				s.submit(t, "mail", "")
				select {
				case <-ended:
					open = false
				case <-time.After(100 * time.Millisecond):
				}
			}
			if errs.Len() > 0 {
				t.Errorf("%v: %s", args, errs.String())
			}
		}
	})
}

// A stream of JSON has an object on each line.
func TestTopStreams(t *testing.T) {
	eachSystem(t, func(t *testing.T, s *watched) {
		cmd := s.command(t, "top", "-o", "json")
		out, err := cmd.StdoutPipe()
		testkit.Must(t, err)
		testkit.Must(t, cmd.Start())
		d := json.NewDecoder(out)
		for range 2 {
			var state struct{ Instances int }
			testkit.Must(t, d.Decode(&state))
			if state.Instances != 1 {
				t.Errorf("%+v", state)
			}
		}
		testkit.Must(t, cmd.Process.Kill())
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait()
	})
}
