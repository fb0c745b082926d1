package directive

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/internal/suggest"
)

// Scan parses one comment that begins at pos. line is its source text from // or /* on. Scan reports in is whether the
// comment is a directive or is probably meant as one. If not, the other results are zero.
//
// d is the directive. It is set even if the directive is misspelled, so that the declarations that depend on it are not
// reported too. It is nil if the intended directive is unknown. Invalid arguments are only in problems. Values are not
// checked; [Directive.RPC] and the other methods check them.
func Scan(line string, pos diag.Pos) (d *Directive, is bool, problems diag.List) {
	s := scanner{line: line, pos: pos}
	h, ok := s.heading()
	if !ok {
		return nil, false, nil
	}
	spec, known := Lookup(h.word)
	switch {
	case !h.exact():
		return s.meant(h)
	case known:
		d = s.directive(h, spec)
	default:
		d = s.unknown(h)
	}
	return d, true, s.problems
}

// MayContain reports whether a Go file may contain comments that [Scan] accepts. Other files need not be parsed. It is
// fast, and may return true for a file without directives, but never false for one with a directive.
func MayContain(src []byte) bool {
	for {
		i := bytes.IndexByte(src, ':')
		if i < 0 {
			return false
		}
		before := bytes.TrimRight(src[:i], " \t")
		if hasSuffixFold(before, "af") || hasSuffixFold(before, "afgen") {
			return true
		}
		src = src[i+1:]
	}
}

func hasSuffixFold(s []byte, suffix string) bool {
	return len(s) >= len(suffix) && strings.EqualFold(string(s[len(s)-len(suffix):]), suffix)
}

// A scanner parses one comment.
type scanner struct {
	line     string
	pos      diag.Pos
	end      int // where the comment's text ends in line
	problems diag.List
}

// at returns the position of an offset in the line.
func (s *scanner) at(offset int) diag.Pos {
	p := s.pos
	if i := strings.LastIndexByte(s.line[:offset], '\n'); i >= 0 { // a block comment that begins with a line end
		p.Line += strings.Count(s.line[:offset], "\n")
		p.Column = offset - i
		return p
	}
	p.Column += offset
	return p
}

// report adds a problem with the bytes [from, to) of the line.
func (s *scanner) report(code diag.Code, from, to int, message, hint string) {
	s.problems = append(s.problems, diag.Diagnostic{
		Code: code, Pos: s.at(from), Width: max(to-from, 1), Message: message, Hint: hint,
	})
}

// A heading is the part of a comment up to a directive's name. Its positions are offsets in the line.
type heading struct {
	start  int    // of the comment, or of af if that is in a later line
	prefix string // before the word: "//af:", "// af:", "/*AF : "
	at     int    // of the word
	word   string // letters, digits, _ and - only
	end    int    // before the next space: after the word, unless other characters follow directly
}

// exact reports whether any word with this prefix is a directive.
func (h heading) exact() bool { return h.prefix == "//af:" }

// block reports whether the comment is a block comment.
func (h heading) block() bool { return h.prefix[1] == '*' }

// spaced reports whether a space follows the opening of the comment.
func (h heading) spaced() bool { return blank(h.prefix[2]) }

// open finds the text of the comment, without its delimiters and surrounding spaces. It sets s.end and returns the
// start of the text. It reports false if the text can't be meant as a directive because of its form.
func (s *scanner) open() (from int, ok bool) {
	switch {
	case strings.HasPrefix(s.line, "//"):
		line, _, _ := strings.Cut(s.line, "\n")
		s.end = len(strings.TrimRight(line, blanks))
		from = s.end - len(strings.TrimLeft(line[2:s.end], " "))
		return from, from <= len("//   ") // more is code in a doc comment, and so is a tab
	case strings.HasPrefix(s.line, "/*"):
		text := strings.TrimRight(strings.TrimSuffix(s.line[2:], "*/"), blanks)
		s.end = 2 + len(text)
		from = s.end - len(strings.TrimLeft(text, blanks))
		return from, !strings.Contains(s.line[from:s.end], "\n") // several lines are text, or disabled code
	}
	return 0, false
}

// heading parses the beginning of the comment. It reports false if that doesn't resemble af:word.
func (s *scanner) heading() (h heading, ok bool) {
	from, ok := s.open()
	if !ok {
		return h, false
	}
	text := s.line[from:s.end]
	prefix, rest, ok := strings.Cut(text, ":")
	if !ok {
		return h, false
	}
	prefix = strings.TrimRight(prefix, " \t")
	if !strings.EqualFold(prefix, "af") && !strings.EqualFold(prefix, "afgen") { // a likely mistake
		return h, false
	}
	if strings.Contains(s.line[:from], "\n") {
		h.start = from
	}
	h.at = s.end - len(strings.TrimLeft(rest, " \t"))
	h.prefix = s.line[:h.at]
	h.end = s.next(h.at, func(c byte) bool { return !blank(c) })
	h.word = s.line[h.at:s.next(h.at, wordByte)]
	return h, true
}

// next returns the first offset from i on where the text ends or has a byte outside the class.
func (s *scanner) next(i int, class func(byte) bool) int {
	for i < s.end && class(s.line[i]) {
		i++
	}
	return i
}

const blanks = " \t\r\n"

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// directive returns a directive of spec with its arguments.
func (s *scanner) directive(h heading, spec Spec) *Directive {
	end := h.at + len(h.word)
	d := &Directive{Name: spec.Name, Pos: s.at(h.start), Width: end - h.start}
	if h.end > end {
		hint := takes(spec)
		if spec.Words != "" {
			hint = "write //af:" + spec.Name + " " + spec.Words
		} else if len(spec.Keys) > 0 {
			hint = fmt.Sprintf("write arguments after a space, as key=value: //af:%s name=NAME", spec.Name)
		}
		s.report(diag.BadSyntax, end, h.end, "//af:"+spec.Name+" must be followed by a space", hint)
	}
	if spec.Words != "" {
		if h.end == end {
			d.Args = s.words(h, spec)
		}
		return d
	}
	d.Args = s.args(s.tokens(h.end, spec), spec)
	return d
}

// words returns the words after the heading as arguments. It reports a missing word at the name.
func (s *scanner) words(h heading, spec Spec) []Arg {
	var args []Arg
	i := h.end
	for n, k := range spec.Keys {
		i = s.next(i, blank)
		end := s.next(i, func(c byte) bool { return !blank(c) })
		if n == len(spec.Keys)-1 {
			end = s.end
		}
		if i == end || s.remark(i) {
			s.report(diag.BadSyntax, h.start, h.end, "//af:"+spec.Name+" has no "+k.Name,
				"write //af:"+spec.Name+" "+spec.Words)
			return args
		}
		args = append(args, Arg{
			Key: k.Name, Value: s.line[i:end],
			Pos: s.at(i), Width: end - i, ValuePos: s.at(i), ValueWidth: end - i,
		})
		i = end
	}
	return args
}

// unknown reports an unknown word after //af:. It returns the directive with the most similar name, or nil.
func (s *scanner) unknown(h heading) *Directive {
	all := names()
	hint := "the directives are " + join("//af:", all, "and")
	if h.end == h.at {
		s.report(diag.Misspelt, 0, h.end, "//af: is followed by no directive", hint)
		return nil
	}
	near, ok := suggest.Nearest(h.word, all)
	if !ok {
		s.report(diag.Misspelt, h.at, h.end, "unknown directive //af:"+clip(s.line[h.at:h.end]), hint)
		return nil
	}
	s.report(diag.Misspelt, h.at, h.at+len(h.word), "unknown directive //af:"+h.word, "did you mean //af:"+near+"?")
	spec, _ := Lookup(near)
	return s.directive(h, spec)
}

// meant returns the directive that a comment which doesn't begin with //af: and a word is probably meant to be. Plain
// comments, and those with an unknown word, count only if they consist of a directive and arguments.
func (s *scanner) meant(h heading) (d *Directive, is bool, problems diag.List) {
	spec, known := Lookup(strings.ToLower(h.word))
	if !known && !blank(s.line[h.at-1]) {
		near, _ := suggest.Nearest(h.word, names())
		spec, _ = Lookup(near)
	}
	text := h.block() || h.spaced()
	if spec.Name == "" || h.end != h.at+len(h.word) || (text || !known) && !s.onlyArguments(h.end, spec) {
		return nil, false, nil
	}
	written := s.line[h.start:h.end]
	switch {
	case h.block():
		s.report(diag.NotDirective, h.start, h.end, "a block comment is not a directive",
			"write //af:"+spec.Name+" on its own line")
	case h.spaced():
		s.report(diag.NotDirective, h.start, h.end, written+" is a plain comment, not a directive",
			"write //af:"+spec.Name+", without a space after the //")
	default:
		s.report(diag.Misspelt, h.start, h.end, written+" is not a directive", "did you mean //af:"+spec.Name+"?")
	}
	d = s.directive(h, spec)
	return d, true, s.problems
}
