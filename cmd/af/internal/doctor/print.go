package doctor

import (
	"fmt"
	"strings"

	"github.com/afgen/afgen/cmd/af/internal/text"
)

// indent is the width of what precedes a text: the verdict and the check.
const indent = 20

var styles = map[Verdict]text.Style{Problem: text.Red, Unknown: text.Yellow, OK: text.Dim}

// Lines returns the report for people: problems first, then what is unknown, then what is well. Texts are wrapped to
// the width of p, never cut, so that commands can be copied.
func (r Report) Lines(p *text.Printer) (lines []string) {
	for _, verdict := range []Verdict{Problem, Unknown, OK} {
		for _, f := range r.Findings {
			if f.Verdict == verdict {
				lines = append(lines, f.lines(p)...)
			}
		}
	}
	end := count(r.Problems, "problem")
	if r.Problems == 0 {
		end = "no problems"
	}
	if r.Unknown > 0 {
		end += ", " + count(r.Unknown, "check") + " not made"
	}
	return append(lines, end)
}

func (f *Finding) lines(p *text.Printer) []string {
	style := styles[f.Verdict]
	room := 0
	if p.Width > 0 {
		room = max(p.Width-indent, 20)
	}
	lines := wrap(text.Clean(f.Text), room)
	for i, line := range lines {
		label := strings.Repeat(" ", indent)
		if i == 0 {
			label = fmt.Sprintf("%-9s%-11s", p.Styled(style, string(f.Verdict))+strings.Repeat(" ", 9-len(f.Verdict)), f.Check)
		}
		if f.Verdict == OK {
			line = p.Styled(style, line)
		}
		lines[i] = label + line
	}
	if f.Help == "" {
		return lines
	}
	help := text.Clean(f.Help)
	if strings.HasPrefix(help, "af ") || strings.HasPrefix(help, "chmod ") {
		return append(lines, strings.Repeat(" ", indent)+"→ "+p.Styled(text.Bold, help)) // to be copied as one line
	}
	for i, line := range wrap(help, max(room-2, 0)) {
		mark := "→ "
		if i > 0 {
			mark = "  "
		}
		lines = append(lines, strings.Repeat(" ", indent)+mark+line)
	}
	return lines
}

// wrap breaks a text between words into lines of at most width columns; 0 means no limit. A longer word has a line of
// its own.
func wrap(s string, width int) (lines []string) {
	if width <= 0 {
		return []string{s}
	}
	line := ""
	for _, w := range strings.Fields(s) {
		if line != "" && text.Width(line)+1+text.Width(w) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return append(lines, line)
}
