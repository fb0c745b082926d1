package main

import (
	"bufio"
	"bytes"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
)

// interrupt interrupts a command as Ctrl-C does, and returns its exit code.
func interrupt(t *testing.T, cmd *exec.Cmd) int {
	t.Helper()
	testkit.Must(t, cmd.Process.Signal(os.Interrupt))
	_ = cmd.Wait()
	return cmd.ProcessState.ExitCode()
}

// af tail prints what ends while it runs, until it is interrupted.
func TestTailFollows(t *testing.T) {
	eachSystem(t, func(t *testing.T, s *watched) {
		s.submit(t, "mail", "before")
		s.await(t, "before", af.StatusSuccess)
		cmd := s.command(t, "tail")
		var errs bytes.Buffer
		cmd.Stderr = &errs
		out, err := cmd.StdoutPipe()
		testkit.Must(t, err)
		testkit.Must(t, cmd.Start())
		lines := bufio.NewScanner(out)
		next := func(pattern string) {
			t.Helper()
			if !lines.Scan() {
				t.Fatalf("it ended: %v, %s", lines.Err(), errs.String())
			}
			matches(t, lines.Text(), pattern)
		}
		next(`^\d\d:\d\d:\d\d  success   before  mail  `)
		s.submit(t, "poison", "bad")
		next(`^\d\d:\d\d:\d\d  failed    bad  poison .* data_loss: the payload is broken$`)
		s.submit(t, "mail", "after")
		next(`^\d\d:\d\d:\d\d  success   after  mail  `)
		stdout, _ := s.run(t, 2, "tail", "status:wrong")
		matches(t, stdout, `^$`)
		if code := interrupt(t, cmd); code != 130 || errs.Len() > 0 {
			t.Errorf("exit code %d: %s", code, errs.String())
		}
	})
}

// af logs -f prints lines while a task runs, until that has ended, or the command is interrupted.
func TestLogsFollow(t *testing.T) {
	eachSystem(t, func(t *testing.T, s *watched) {
		for id, end := range map[string]struct {
			do   func(cmd *exec.Cmd) error
			code int
		}{
			"stopped":     {func(*exec.Cmd) error { return s.app.StopTask(t.Context(), "stopped") }, 0},
			"interrupted": {func(cmd *exec.Cmd) error { return cmd.Process.Signal(os.Interrupt) }, 130},
		} {
			s.submit(t, "talk", id)
			s.await(t, id, af.StatusRunning)
			cmd := s.command(t, "logs", id, "-f")
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.StdoutPipe()
			testkit.Must(t, err)
			testkit.Must(t, cmd.Start())
			lines := bufio.NewScanner(out)
			for found := false; !found; found = strings.Contains(lines.Text(), "a line") {
				if !lines.Scan() {
					t.Fatalf("it ended: %v, %s", lines.Err(), errs.String())
				}
			}
			testkit.Must(t, end.do(cmd))
			for lines.Scan() { // to its end
			}
			_ = cmd.Wait()
			if code := cmd.ProcessState.ExitCode(); code != end.code || errs.Len() > 0 {
				t.Errorf("%s: exit code %d: %s", id, code, errs.String())
			}
		}
	})
}

// A pty is a terminal on which a command runs, and what a person sees and types there.
type pty struct {
	person, terminal *os.File
	before           *unix.Termios
	done             chan struct{}

	mu   sync.Mutex
	seen bytes.Buffer
}

func newPTY(t *testing.T, width, height uint16) *pty {
	t.Helper()
	person, err := os.OpenFile("/dev/ptmx", os.O_RDWR, 0)
	testkit.Must(t, err)
	testkit.Must(t, unix.IoctlSetPointerInt(int(person.Fd()), unix.TIOCSPTLCK, 0))
	n, err := unix.IoctlGetInt(int(person.Fd()), unix.TIOCGPTN)
	testkit.Must(t, err)
	terminal, err := os.OpenFile("/dev/pts/"+strconv.Itoa(n), os.O_RDWR|syscall.O_NOCTTY, 0)
	testkit.Must(t, err)
	p := &pty{person: person, terminal: terminal, done: make(chan struct{})}
	p.resize(t, width, height)
	p.before = p.state(t)
	go func() {
		defer close(p.done)
		buf := make([]byte, 4096)
		for {
			n, err := person.Read(buf)
			p.mu.Lock()
			p.seen.Write(buf[:n])
			p.mu.Unlock()
			if err != nil { // the terminal was closed
				return
			}
		}
	}()
	t.Cleanup(func() {
		_ = terminal.Close()
		<-p.done
		_ = person.Close()
	})
	return p
}

func (p *pty) resize(t *testing.T, width, height uint16) {
	t.Helper()
	testkit.Must(t, unix.IoctlSetWinsize(int(p.terminal.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height}))
}

func (p *pty) state(t *testing.T) *unix.Termios {
	t.Helper()
	s, err := unix.IoctlGetTermios(int(p.terminal.Fd()), unix.TCGETS)
	testkit.Must(t, err)
	return s
}

// start starts a command on the terminal.
func (p *pty) start(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.terminal, p.terminal, p.terminal
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	testkit.Must(t, cmd.Start())
}

func (p *pty) press(t *testing.T, keys string) {
	t.Helper()
	_, err := p.person.WriteString(keys)
	testkit.Must(t, err)
}

func (p *pty) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seen.String()
}

// sees waits until a text appears, and forgets what came before its end.
func (p *pty) sees(t *testing.T, text string) {
	t.Helper()
	testkit.Succeeds(t, "waiting for "+text, func() error {
		p.mu.Lock()
		defer p.mu.Unlock()
		if i := bytes.Index(p.seen.Bytes(), []byte(text)); i >= 0 {
			p.seen.Next(i + len(text))
			return nil
		}
		return &missing{p.seen.String()}
	})
}

type missing struct{ seen string }

func (m *missing) Error() string { return strconv.Quote(m.seen) }

// restored fails the test unless the terminal is as it was before the command.
func (p *pty) restored(t *testing.T) {
	t.Helper()
	p.sees(t, "\x1b[?25h\x1b[?1049l") // the cursor, and the first screen
	if *p.state(t) != *p.before {
		t.Error("the terminal is in another mode")
	}
	if left := p.text(); strings.TrimSpace(left) != "" {
		t.Errorf("it printed %q", left)
	}
}

// The live pages follow the system and the size of the terminal, and leave the terminal as it was, however they end.
func TestLivePagesOnATerminal(t *testing.T) {
	eachSystem(t, func(t *testing.T, s *watched) {
		s.submit(t, "hold", "held")
		s.await(t, "held", af.StatusRunning)
		for name, end := range map[string]struct {
			args []string
			do   func(t *testing.T, p *pty, cmd *exec.Cmd)
			code int
		}{
			"quit":    {[]string{"top"}, func(t *testing.T, p *pty, _ *exec.Cmd) { p.press(t, "q") }, 0},
			"ctrl_c":  {[]string{"top"}, func(t *testing.T, p *pty, _ *exec.Cmd) { p.press(t, "\x03") }, 130},
			"ps_quit": {[]string{"ps", "-w"}, func(t *testing.T, p *pty, _ *exec.Cmd) { p.press(t, "q") }, 0},
			"interrupt": {[]string{"top"}, func(t *testing.T, _ *pty, cmd *exec.Cmd) {
				testkit.Must(t, cmd.Process.Signal(os.Interrupt))
			}, 130},
			"terminate": {[]string{"ps", "-w"}, func(t *testing.T, _ *pty, cmd *exec.Cmd) {
				testkit.Must(t, cmd.Process.Signal(syscall.SIGTERM))
			}, 130},
		} {
			if s.over == "http" && name != "quit" && name != "interrupt" {
				continue // the pages are the same, and only what they read differs
			}
			t.Run(name, func(t *testing.T) {
				p := newPTY(t, 100, 30)
				cmd := s.command(t, end.args...)
				p.start(t, cmd)
				p.sees(t, "\x1b[?1049h")
				p.sees(t, "held")
				id := "more-" + name
				s.submit(t, "hold", id)
				s.await(t, id, af.StatusRunning)
				p.sees(t, id)
				p.resize(t, 90, 20)
				p.sees(t, "\x1b[2J")
				end.do(t, p, cmd)
				_ = cmd.Wait()
				if code := cmd.ProcessState.ExitCode(); code != end.code {
					t.Errorf("exit code %d, want %d", code, end.code)
				}
				p.restored(t)
				testkit.Must(t, s.app.StopTask(t.Context(), id))
				s.await(t, id, af.StatusStopped)
			})
		}
	})
}

// On a terminal, af wait shows a bar until it prints its lines.
func TestWaitOnATerminal(t *testing.T) {
	eachSystem(t, func(t *testing.T, s *watched) {
		s.submit(t, "hold", "held")
		s.await(t, "held", af.StatusRunning)
		p := newPTY(t, 80, 24)
		cmd := s.command(t, "wait", "held")
		p.start(t, cmd)
		p.sees(t, "waiting")
		testkit.Must(t, s.app.StopTask(t.Context(), "held"))
		p.sees(t, "held  \x1b[33mstopped\x1b[0m")
		_ = cmd.Wait()
		if code := cmd.ProcessState.ExitCode(); code != 1 {
			t.Errorf("exit code %d", code)
		}
	})
}

// af ui serves the dashboard until it is interrupted. Its address has the token, without which nothing can be changed.
func TestUI(t *testing.T) {
	eachSystem(t, func(t *testing.T, s *watched) {
		s.submit(t, "hold", "held")
		s.await(t, "held", af.StatusRunning)
		for _, readOnly := range []bool{false, true} {
			args := []string{"ui", "-listen", ":0"}
			if readOnly {
				args = append(args, "-read-only")
			}
			cmd := s.command(t, args...)
			var errs bytes.Buffer
			cmd.Stderr = &errs
			out, err := cmd.StdoutPipe()
			testkit.Must(t, err)
			testkit.Must(t, cmd.Start())
			lines := bufio.NewScanner(out)
			if !lines.Scan() {
				t.Fatalf("it ended: %v, %s", lines.Err(), errs.String())
			}
			address, err := url.Parse(lines.Text())
			testkit.Must(t, err)
			matches(t, address.String(), `^http://127\.0\.0\.1:\d+/`)
			if address.Query().Has("token") == readOnly {
				t.Errorf("read-only %t, but the address is %s", readOnly, address)
			}
			for _, withToken := range []bool{false, true} {
				if withToken && readOnly {
					continue
				}
				entry := *address
				if !withToken {
					entry.RawQuery = ""
				}
				jar, err := cookiejar.New(nil)
				testkit.Must(t, err)
				client := &http.Client{Jar: jar}
				status, page := fetch(t, client, entry.String(), nil)
				if status != http.StatusOK || strings.Contains(page, "read-only") == withToken {
					t.Errorf("GET, token %t: %d %s", withToken, status, page)
				}
				if status, page = fetch(t, client, entry.JoinPath("tasks/held").String(), nil); !strings.Contains(page, "held") {
					t.Errorf("GET of the task: %d %s", status, page)
				}
				want := map[bool]int{false: http.StatusForbidden, true: http.StatusOK}[withToken]
				stop := *address.JoinPath("tasks/held/stop")
				stop.RawQuery = ""
				if status, page = fetch(t, client, stop.String(), url.Values{"reason": {"tests"}}); status != want {
					t.Errorf("POST, token %t: %d %s", withToken, status, page)
				}
			}
			if code := interrupt(t, cmd); code != 130 {
				t.Errorf("exit code %d: %s", code, errs.String())
			}
			matches(t, errs.String(), `^af: the dashboard of .*; Ctrl-C ends it\n$`)
		}
		s.await(t, "held", af.StatusStopped)
		log, err := s.app.Audit(t.Context(), af.AuditQuery{Limit: 1})
		if err != nil || len(log.Entries) != 1 || log.Entries[0].Reason != "tests" ||
			s.over == "file" && !strings.HasPrefix(log.Entries[0].By, "ann@") {
			t.Errorf("audit: %+v, %v", log.Entries, err)
		}
	})
}

// fetch returns the status and the body of the answer to a GET request, or with a form, to a POST request.
func fetch(t *testing.T, client *http.Client, address string, form url.Values) (int, string) {
	t.Helper()
	var resp *http.Response
	var err error
	if form == nil {
		resp, err = client.Get(address)
	} else {
		resp, err = client.PostForm(address, form)
	}
	testkit.Must(t, err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	testkit.Must(t, err)
	return resp.StatusCode, string(body)
}
