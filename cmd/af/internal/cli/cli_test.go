package cli_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/cli"
	"github.com/afgen/afgen/cmd/af/internal/text"
)

// Without arguments, the help fits a terminal of 24 lines and 80 columns. af help has a line for each command.
func TestHelp(t *testing.T) {
	short := run(t, nil)
	lines := strings.Split(strings.TrimSuffix(short.out, "\n"), "\n")
	if short.code != 0 || len(lines) > 23 || short.stderr != "" {
		t.Errorf("exit code %d, %d lines:\n%s%s", short.code, len(lines), short.out, short.stderr)
	}
	for _, line := range lines {
		if len(line) > 80 {
			t.Errorf("long line %q", line)
		}
	}
	long := run(t, nil, "help")
	if again := run(t, nil, "-help"); long.code != 0 || again != long {
		t.Errorf("help and -help differ: %+v", again)
	}
	for _, cmd := range cli.Command().Commands() {
		if !strings.Contains(long.out, "\n  "+cmd.Name()+" ") || cmd.Runnable() && !strings.Contains(short.out, cmd.Name()) {
			t.Errorf("the help lacks %s", cmd.Name())
		}
	}
	if !strings.Contains(long.out, "  -c, -config file") || strings.Contains(long.out, "--") {
		t.Errorf("af help:\n%s", long.out)
	}
	one := run(t, nil, "help", "queues")
	if again := run(t, nil, "queues", "-h"); one.code != 0 || again != one ||
		!strings.HasPrefix(one.out, "Usage: af queues") ||
		!strings.Contains(one.out, "Flags of every command: -c -file -url -token-file -o; see af help.") {
		t.Errorf("af help queues:\n%s", one.out)
	}
}

// Wrong usage exits with 2, and tells what is right.
func TestWrongUsage(t *testing.T) {
	run(t, nil, "quues").fails(t, 2, `unknown command "quues": did you mean queues?`, "run 'af help' for all commands")
	run(t, nil, "help", "quues").fails(t, 2, `unknown command "quues": did you mean queues?`)
	run(t, nil, "version", "x").fails(t, 2, `af: version: unknown command "x"`,
		"usage: af version; see 'af version -help'")
	run(t, nil, "queues", "-typo").fails(t, 2, "af: queues: unknown flag: -typo")
	run(t, nil, "-o", "yaml", "queues").fails(t, 2, "-o yaml: want table, wide or json")
	run(t, nil, "queues", "-file").fails(t, 2, "flag needs an argument: -file")
}

// failing is a writer that fails after some bytes.
type failing struct {
	left int
	err  error
}

func (f *failing) Write(p []byte) (int, error) {
	if f.left -= len(p); f.left < 0 {
		return 0, f.err
	}
	return len(p), nil
}

// A closed pipe ends the command without a message. Another error of writing is told.
func TestOutputFails(t *testing.T) {
	for _, test := range []struct {
		err  error
		code int
		text string
	}{
		{io.ErrClosedPipe, 141, ""},
		{errors.New("no space left on device"), 1, "af: writing the output: no space left on device\n"},
	} {
		var stderr bytes.Buffer
		code := cli.Run(context.Background(), []string{"help"}, cli.Environment{
			In: strings.NewReader(""), Out: text.Printer{Writer: &failing{100, test.err}}, Err: text.Printer{Writer: &stderr},
			Getenv: func(string) string { return "" }, Now: time.Now,
		})
		if code != test.code || stderr.String() != test.text {
			t.Errorf("%v: exit code %d, %q", test.err, code, stderr.String())
		}
	}
}
