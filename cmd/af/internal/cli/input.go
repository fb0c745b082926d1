package cli

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

// maxJSON is how many bytes a payload or the arguments of a call have at most: the engine's limit of a message.
const maxJSON = 4 << 20

// readJSON returns the JSON of an argument: the argument itself, the contents of the file of "@file", or the standard
// input for "-". what names it in errors.
func (c *invocation) readJSON(ctx context.Context, what, arg string) (json.RawMessage, error) {
	raw := []byte(arg)
	switch path, file := strings.CutPrefix(arg, "@"); {
	case arg == "-":
		if c.Prompt {
			fmt.Fprintf(&c.Err, "Type %s as JSON, and end it with Ctrl-D:\n", what)
		}
		var err error
		raw, err = interruptible(ctx, func() ([]byte, error) { return io.ReadAll(io.LimitReader(c.In, maxJSON+1)) })
		if err != nil {
			return nil, fmt.Errorf("reading %s from the standard input: %w", what, err)
		}
	case file:
		f, err := os.Open(path)
		if err != nil {
			return nil, af.Errorf(af.ErrInvalidArgument, "reading %s: %w", what, err)
		}
		defer f.Close()
		if raw, err = io.ReadAll(io.LimitReader(f, maxJSON+1)); err != nil {
			return nil, af.Errorf(af.ErrInvalidArgument, "reading %s: %w", what, err)
		}
	}
	if len(raw) > maxJSON {
		return nil, af.Errorf(af.ErrInvalidArgument, "%s has more than %s bytes, the most that a message can have", what,
			text.Number(maxJSON))
	}
	var value json.RawMessage
	if err := json.Unmarshal(raw, &value); err != nil {
		return nil, notJSON(what, raw, err)
	}
	return bytes.TrimSpace(value), nil
}

// notJSON returns the error of a text that is not JSON, with the position of the mistake.
func notJSON(what string, raw []byte, err error) error {
	if len(bytes.TrimSpace(raw)) == 0 {
		return af.Errorf(af.ErrInvalidArgument, "%s is empty: want JSON, such as {} or null", what)
	}
	syntax, ok := errors.AsType[*json.SyntaxError](err)
	if !ok {
		return af.Errorf(af.ErrInvalidArgument, "%s is not JSON: %w", what, err)
	}
	// The offset is that of the byte after the wrong one, but at the end of the text that of its last byte.
	before := raw[:min(max(int(syntax.Offset)-1, 0), len(raw))]
	if strings.HasPrefix(err.Error(), "unexpected end") {
		before = raw
	}
	line := bytes.Count(before, []byte("\n")) + 1
	column := len([]rune(string(before[bytes.LastIndexByte(before, '\n')+1:]))) + 1
	hint := ""
	if line == 1 && column == 1 {
		hint = `; a text needs double quotes, such as '"text"'`
	}
	return af.Errorf(af.ErrInvalidArgument, "%s is not JSON: line %d, column %d: %w%s", what, line, column, err, hint)
}

// confirm asks a question on the terminal and reports whether the answer is yes.
func (c *invocation) confirm(ctx context.Context, question string) (bool, error) {
	fmt.Fprintf(&c.Err, "%s [y/N] ", question)
	answer, err := interruptible(ctx, func() (string, error) { return bufio.NewReader(c.In).ReadString('\n') })
	if err != nil && !errors.Is(err, io.EOF) {
		return false, err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return true, nil
	}
	return false, nil
}

// interruptible returns the result of read, or an error if ctx ends first. read then continues until it has ended by
// itself, or the process has: reading from a terminal can't be interrupted.
func interruptible[T any](ctx context.Context, read func() (T, error)) (T, error) {
	type result struct {
		value T
		err   error
	}
	done := make(chan result, 1)
	go func() {
		value, err := read()
		done <- result{value, err}
	}()
	select {
	case r := <-done:
		return r.value, r.err
	case <-ctx.Done():
		var none T
		return none, af.Errorf(af.CodeOf(ctx.Err()), "%w", context.Cause(ctx))
	}
}

// whenLayouts are the formats of times, in the local zone if they have none.
var whenLayouts = []string{
	time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04", "2006-01-02 15:04", "2006-01-02",
}

// parseWhen parses a time, or a duration from now on, which it returns as such: it can then be added to another clock.
// A time of day, such as 15:04, is the next one.
func parseWhen(flag, value string, now time.Time) (time.Time, time.Duration, error) {
	if d, err := time.ParseDuration(value); err == nil {
		if d < 0 {
			return time.Time{}, 0, fmt.Errorf("-%s %s: want a duration from now on, or a time", flag, value)
		}
		return time.Time{}, d, nil
	}
	for _, layout := range whenLayouts {
		if t, err := time.ParseInLocation(layout, value, now.Location()); err == nil {
			return t, 0, nil
		}
	}
	for _, layout := range []string{"15:04", "15:04:05"} {
		clock, err := time.Parse(layout, value)
		if err != nil {
			continue
		}
		t := time.Date(now.Year(), now.Month(), now.Day(), clock.Hour(), clock.Minute(), clock.Second(), 0, now.Location())
		if t.Before(now) {
			t = t.AddDate(0, 0, 1)
		}
		return t, 0, nil
	}
	return time.Time{}, 0, fmt.Errorf("-%s %q: want a duration such as 2m, or a time such as 15:04 or %s", flag, value,
		now.Format(time.RFC3339))
}

// parsePairs returns the metadata of flags such as "tenant=7".
func parsePairs(flag string, pairs []string) (af.Metadata, error) {
	if len(pairs) == 0 {
		return nil, nil
	}
	md := af.Metadata{}
	for _, pair := range pairs {
		name, value, ok := strings.Cut(pair, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("-%s %q: want NAME=VALUE", flag, pair)
		}
		if _, twice := md[name]; twice {
			return nil, fmt.Errorf("-%s: %q is given twice", flag, name)
		}
		md[name] = value
	}
	return md, nil
}

// sayf prints a line. Texts that come from the system are cleaned.
func (c *invocation) sayf(format string, args ...any) {
	fmt.Fprintln(&c.Out, text.Clean(fmt.Sprintf(format, args...)))
}

// maybeDone reports whether a change may have been made although it has failed: its answer was lost.
func maybeDone(err error) bool {
	e, ok := errors.AsType[*af.Error](err)
	if !ok || e.Outcome != af.OutcomeUnknown {
		return false
	}
	switch e.Code {
	case af.ErrUnavailable, af.ErrDeadlineExceeded, af.ErrCanceled:
		return true
	}
	return false
}

// isAllowed reports whether an error is not about the user's rights.
func isAllowed(err error) bool {
	code := af.CodeOf(err)
	return code != af.ErrPermissionDenied && code != af.ErrUnauthenticated
}

// changed returns the error of a change. If it is unknown whether the change was made, a line tells how to find out.
func (c *invocation) changed(err error, show string) error {
	if maybeDone(err) {
		c.note("the answer was lost, so the change may have been made: %s", show)
	}
	return err
}
