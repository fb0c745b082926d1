package diag

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"strconv"
	"strings"
)

// Render writes the list to w for people, without colors and in the order of the list. For each diagnostic it writes
// the position, code and message, the source line with carets below it, and the hint.
//
// src returns the content of the file Pos.File and is called once per file. A diagnostic has no excerpt if src is nil
// or fails, or if its position has no line. Names of files inside the directory rel, which may be empty, are relative
// to it. All names have forward slashes. Render returns only errors of w.
func Render(w io.Writer, list List, src func(file string) ([]byte, error), rel string) error {
	files := map[string][]byte{}
	content := func(file string) []byte {
		if src == nil {
			return nil
		}
		text, ok := files[file]
		if !ok {
			text, _ = src(file) // no excerpt if it fails
			files[file] = text
		}
		return text
	}
	for _, d := range list {
		var b strings.Builder
		b.WriteString(place(d.Pos, rel) + string(d.Code) + ": " + severity(d) + indented(d.Message, "    ") + "\n")
		if d.Pos.Line > 0 {
			if line, ok := lineOf(content(d.Pos.File), d.Pos.Line); ok {
				b.WriteString(excerpt(line, d.Pos, d.Width))
			}
		}
		if d.Hint != "" {
			b.WriteString("  hint: " + indented(d.Hint, "        ") + "\n")
		}
		if _, err := io.WriteString(w, b.String()); err != nil {
			return err
		}
	}
	return nil
}

func severity(d Diagnostic) string {
	if d.Warning {
		return "warning: "
	}
	return ""
}

// JSON writes the list to w as a JSON array, in the order of the list. The objects always have the members code, file,
// line, column, width, message and hint. The member warning is true or absent. Files are named as by [Render]. JSON
// returns only errors of w.
func JSON(w io.Writer, list List, rel string) error {
	type object struct {
		Code    Code   `json:"code"`
		File    string `json:"file"`
		Line    int    `json:"line"`
		Column  int    `json:"column"`
		Width   int    `json:"width"`
		Message string `json:"message"`
		Hint    string `json:"hint"`
		Warning bool   `json:"warning,omitempty"`
	}
	objects := make([]object, len(list)) // not nil: an empty list is []
	for i, d := range list {
		objects[i] = object{
			d.Code, display(d.Pos.File, rel), d.Pos.Line, d.Pos.Column, max(d.Width, 1), d.Message, d.Hint, d.Warning,
		}
	}
	e := json.NewEncoder(w)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	return e.Encode(objects)
}

// place returns "file:line:column: ", without the parts that p lacks.
func place(p Pos, rel string) string {
	if p.File == "" {
		return ""
	}
	s := printable(display(p.File, rel)) + ":"
	if p.Line > 0 {
		s += strconv.Itoa(p.Line) + ":"
		if p.Column > 0 {
			s += strconv.Itoa(p.Column) + ":"
		}
	}
	return s + " "
}

// display returns the name of a file, relative to the directory rel if the file is inside.
func display(file, rel string) string {
	if rel != "" {
		if r, err := filepath.Rel(rel, file); err == nil && filepath.IsLocal(r) {
			file = r
		}
	}
	return filepath.ToSlash(file)
}

// indented escapes a text and indents all lines but the first. Errors of the go command may have several lines.
func indented(text, by string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i, line := range lines {
		lines[i] = printable(strings.TrimRight(line, "\r"))
	}
	return strings.Join(lines, "\n"+by)
}

// lineOf returns line n of text without its line end, and reports whether it exists.
func lineOf(text []byte, n int) (string, bool) {
	for ; n > 1; n-- {
		i := bytes.IndexByte(text, '\n')
		if i < 0 {
			return "", false
		}
		text = text[i+1:]
	}
	if len(text) == 0 {
		return "", false // after the last line end, or text is empty
	}
	line, _, _ := bytes.Cut(text, []byte("\n"))
	return string(bytes.TrimRight(line, "\r")), true
}
