package cli

import (
	"regexp"
	"strings"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/text"
)

// Details are names with values, printed in two columns. Values are cleaned, and wrapped if the terminal is narrow.
type details struct {
	rows []detail
}

type detail struct {
	name, value string
	style       text.Style // of the value
}

// add adds a value, unless it is empty.
func (d *details) add(name, value string) { d.styled(name, value, text.Plain) }

func (d *details) styled(name, value string, style text.Style) {
	if value != "" {
		d.rows = append(d.rows, detail{name, value, style})
	}
}

// lines returns the lines, each with an indentation.
func (d *details) lines(p *text.Printer, indent int) (lines []string) {
	column := 0
	for _, r := range d.rows {
		column = max(column, text.Width(text.Clean(r.name)))
	}
	column += indent + 2
	for _, r := range d.rows {
		name := strings.Repeat(" ", indent) + text.Clean(r.name)
		for _, line := range text.Wrap(r.value, remaining(p.Width, column)) {
			space := strings.Repeat(" ", column-text.Width(name))
			lines = append(lines, p.Styled(text.Dim, name)+space+p.Styled(r.style, line))
			name = ""
		}
	}
	return lines
}

// remaining returns the columns that are left after some, at least 20. Zero is no limit.
func remaining(width, taken int) int {
	if width <= 0 {
		return 0
	}
	return max(width-taken, 20)
}

// wrapped returns the lines of a text in a style, each with an indentation.
func wrapped(p *text.Printer, s string, style text.Style, indent int) (lines []string) {
	for _, line := range text.Wrap(s, remaining(p.Width, indent)) {
		lines = append(lines, strings.Repeat(" ", indent)+p.Styled(style, line))
	}
	return lines
}

// print prints lines.
func (c *invocation) print(lines []string) error {
	_, err := c.Out.Write([]byte(strings.Join(lines, "\n") + "\n"))
	return err
}

// at returns a time in the zone of the user, or "" for the zero time.
func (c *invocation) at(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return text.Time(t.In(c.Now().Location()))
}

// when returns a time in the zone of the user, and how far it is from now, or "" for the zero time.
func (c *invocation) when(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	since := text.Since(t, c.Now())
	if !strings.HasPrefix(since, "in ") {
		since += " ago"
	}
	return c.at(t) + " (" + since + ")"
}

// age returns a time for a table: relative to now, or absolute with -o wide.
func (c *invocation) age(t time.Time) string {
	if c.output == "wide" && !t.IsZero() {
		return c.at(t)
	}
	return text.Since(t, c.Now())
}

// plainWord matches what a shell takes as it is.
var plainWord = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_./:@%+,=-]*$`)

// shell returns a command with arguments that come from the system, to be pasted into a shell. Flags are in command.
func shell(command string, args ...string) string {
	for i, arg := range args {
		if strings.HasPrefix(arg, "-") && !strings.HasSuffix(command, " --") {
			command += " --"
		}
		if !plainWord.MatchString(arg) {
			args[i] = "'" + strings.ReplaceAll(text.Clean(arg), "'", `'\''`) + "'"
		}
	}
	return strings.Join(append([]string{command}, args...), " ")
}
