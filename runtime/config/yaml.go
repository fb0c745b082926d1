package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gopkg.in/yaml.v3"
)

// parseYAML returns the top node of the only document, or nil if data is empty or invalid.
func parseYAML(data []byte) (top *yaml.Node, problems []problem) {
	if len(data) > maxSize {
		return nil, []problem{{at: position{1, 1}, message: "the file is larger than 1 MiB"}}
	}
	if at := firstBad(data); at != nil {
		return nil, []problem{{at: *at, message: "invalid UTF-8 or control character"}}
	}
	documents := yaml.NewDecoder(bytes.NewReader(data))
	document, err := next(documents)
	if errors.Is(err, io.EOF) {
		return nil, nil
	}
	if err != nil {
		return nil, []problem{syntaxProblem(data, err)}
	}
	top = document.Content[0]
	switch second, err := next(documents); {
	case err == nil:
		problems = []problem{{at: positionOf(second), message: "a second YAML document begins here: only one is allowed"}}
	case !errors.Is(err, io.EOF):
		problems = []problem{syntaxProblem(data, err)}
	}
	return top, problems
}

// next parses one document. The parser has panicked on malformed input before; a panic becomes an error.
func next(documents *yaml.Decoder) (document *yaml.Node, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("invalid YAML: the parser failed")
		}
	}()
	document = new(yaml.Node)
	if err := documents.Decode(document); err != nil {
		return nil, err
	}
	if document.Kind != yaml.DocumentNode || len(document.Content) != 1 {
		return nil, errors.New("invalid YAML: the parser failed")
	}
	return document, nil
}

const byteOrderMark = "\ufeff"

// firstBad returns the first position with a character that YAML doesn't allow. The parser refuses it without a
// position.
func firstBad(data []byte) *position {
	at := position{1, 1}
	data = bytes.TrimPrefix(data, []byte(byteOrderMark))
	for i := 0; i < len(data); {
		r, size := utf8.DecodeRune(data[i:])
		switch {
		case r == utf8.RuneError && size == 1,
			r < ' ' && !strings.ContainsRune("\t\n\r", r),
			r >= 0x7f && r < 0xa0 && r != 0x85,
			strings.ContainsRune(byteOrderMark+"\ufffe\uffff", r):
			return &at
		case r == '\n':
			at = position{at.line + 1, 0}
		}
		at.column++
		i += size
	}
	return nil
}

var (
	syntaxError   = regexp.MustCompile(`^yaml: (?:line (\d+): )?(.*)`)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.*)' referenced$`)
)

// earlyLines are the messages for which yaml.v3 reports the line before the mistake: those of its parser, not its
// scanner. For the first line it reports none.
var earlyLines = []string{
	"did not find expected <document start>", "did not find expected node content", "did not find expected key",
	"did not find expected '-' indicator", "did not find expected ',' or ']'", "did not find expected ',' or '}'",
	"found undefined tag handle", "found duplicate %YAML directive", "found duplicate %TAG directive",
}

// hints are fixes for the most frequent parser errors.
var hints = map[string]string{
	"did not find expected key": ": check the indentation of this line and those below it",
	"found character that cannot start any token": ": quote a value that begins with a special character, " +
		"and indent with spaces",
	"did not find expected ',' or '}'": ": close the brace, and quote a value with braces in it, " +
		"such as \"${NAME}\"",
	"mapping values are not allowed in this context": ": check the indentation, and quote a value with a colon in it",
}

// syntaxProblem converts an error of the parser. Its messages are constant except one, which quotes a possible
// password that begins with an asterisk.
func syntaxProblem(data []byte, err error) problem {
	parts := syntaxError.FindStringSubmatch(err.Error())
	if parts == nil {
		return problem{at: position{1, 1}, message: err.Error()}
	}
	message := parts[2]
	if anchor := unknownAnchor.FindStringSubmatch(message); anchor != nil {
		before, _, _ := bytes.Cut(data, []byte("*"+anchor[1]))
		lines := bytes.Split(before, []byte("\n"))
		return problem{
			at:      position{len(lines), utf8.RuneCount(lines[len(lines)-1]) + 1},
			message: "unknown YAML anchor; quote a value that begins with *",
		}
	}
	line, _ := strconv.Atoi(parts[1])
	if slices.Contains(earlyLines, message) {
		line++
	}
	line = min(max(line, 1), bytes.Count(data, []byte("\n"))+1)
	return problem{at: position{line, 1}, message: fmt.Sprintf("YAML: %s%s", message, hints[message])}
}

func positionOf(n *yaml.Node) position { return position{n.Line, n.Column} }
