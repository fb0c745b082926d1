package cli

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

// An openError is why the system could not be opened. It is never a finding about the system, so its exit code is never
// exitProblem.
type openError struct {
	message string
	err     error // with a code
}

func (e *openError) Error() string { return e.message }
func (e *openError) Unwrap() error { return e.err }

// exitCode returns the exit code of an error. Errors without a code are those of cobra and of flags: wrong usage.
func exitCode(err error) int {
	if _, ok := errors.AsType[*outputError](err); ok {
		return exitProblem
	}
	e, ok := errors.AsType[*af.Error](err)
	if !ok {
		return exitUsage
	}
	_, opening := errors.AsType[*openError](err)
	switch e.Code {
	case af.ErrInvalidArgument, af.ErrPermissionDenied, af.ErrUnauthenticated, af.ErrUnimplemented:
		return exitUsage
	case af.ErrUnavailable, af.ErrDeadlineExceeded:
		return exitUnavailable
	case af.ErrNotFound, af.ErrFailedPrecondition:
		if opening { // it is not a system, or not one for this version
			return exitUsage
		}
	}
	if opening {
		return exitUnavailable
	}
	return exitProblem
}

// Limits of what is printed of an error, which may come from a server.
const (
	maxErrorLines = 20
	maxErrorLine  = 2000 // bytes
)

// describe returns the lines that tell a person what went wrong and what helps. The code of the error follows the text,
// in parentheses, for searching; codes within the text are left out.
func (c *invocation) describe(err error) []string {
	e, coded := errors.AsType[*af.Error](err)
	message := err.Error()
	if coded {
		message = withoutCodes(message)
		for _, s := range c.down() { // a warning has told why
			message = strings.ReplaceAll(message, withoutCodes(s.Cause), s.Name+" is unavailable")
		}
	} else {
		message = goFlags(message)
	}
	var lines []string
	for line := range strings.Lines(message) {
		if line = strings.TrimSpace(line); line == "" {
			continue
		}
		if len(lines) == maxErrorLines {
			lines = append(lines, "…")
			break
		}
		if len(line) > maxErrorLine {
			line = line[:maxErrorLine] + "…"
		}
		lines = append(lines, text.Clean(line))
	}
	if len(lines) == 1 && coded && e.Code != af.ErrInvalidArgument && lines[0] != string(e.Code) {
		lines[0] += fmt.Sprintf(" (%s)", e.Code)
	}
	if c.conn != nil && c.conn.hint != nil {
		if hint := c.conn.hint(err); hint != "" {
			lines = append(lines, hint)
		}
	}
	return lines
}

// down returns the servers that a warning has told about.
func (c *invocation) down() []af.Condition {
	if c.conn == nil {
		return nil
	}
	return c.conn.down
}

// withoutCodes removes the codes from the text of an error: they precede a message at the beginning of a line or after
// a colon.
func withoutCodes(message string) string {
	names := make([]string, 0, 16)
	for _, code := range []af.Code{af.ErrCanceled, af.ErrUnknown, af.ErrInvalidArgument, af.ErrDeadlineExceeded,
		af.ErrNotFound, af.ErrAlreadyExists, af.ErrPermissionDenied, af.ErrResourceExhausted, af.ErrFailedPrecondition, af.ErrAborted,
		af.ErrOutOfRange, af.ErrUnimplemented, af.ErrInternal, af.ErrUnavailable, af.ErrDataLoss, af.ErrUnauthenticated} {
		names = append(names, string(code))
	}
	prefix := regexp.MustCompile(`(^|\n|: )(?:(?:` + strings.Join(names, "|") + `): )+`)
	return prefix.ReplaceAllString(message, "$1")
}

// goFlags returns a text of cobra with long flags written as users of the go command write them, with one dash.
func goFlags(s string) string {
	return regexp.MustCompile(`(^|[\s"'\[(,])--([a-z])`).ReplaceAllString(s, "$1-$2")
}
