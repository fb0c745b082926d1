package directive

import (
	"bytes"
	"fmt"
	"strings"

	"github.com/afgen/afgen/gen/diag"
)

// Scan looks at one comment, as it is in the source from its // or /* on, that begins at pos. is reports whether it has
// to do with afgen: whether it is a directive, or was meant as one. If not, nothing else is returned.
//
// d is the directive, even if problems says that it is misspelt, so that what belongs to it need not be reported as
// astray; it is nil if there is no telling which one was meant. Arguments that are wrong in themselves are in problems
// only. Values have yet to be checked, by RPC, Method and Worker.
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

// MayContain reports whether Scan might have to do with a comment of a Go file, so that files and packages in which it
// has not need not be parsed. It is quick, and says yes too often rather than too rarely.
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

// A scanner is at work on one comment.
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

// report notes a problem with the bytes [from, to) of the line.
func (s *scanner) report(code diag.Code, from, to int, message, hint string) {
	s.problems = append(s.problems, diag.Diagnostic{
		Code: code, Pos: s.at(from), Width: max(to-from, 1), Message: message, Hint: hint,
	})
}

// A heading is a comment up to a directive's name, all in offsets of the line.
type heading struct {
	start  int    // where the comment begins; where af does if that is in a later line
	prefix string // what is before the word: "//af:", "// af:", "/*AF : "
	at     int    // of the word
	word   string // of letters, digits, _ and - only
	end    int    // of everything up to the next blank: after the word, unless other characters follow it at once
}

// exact reports whether the word belongs to afgen whatever it is.
func (h heading) exact() bool { return h.prefix == "//af:" }

// block reports whether the comment is a block comment.
func (h heading) block() bool { return h.prefix[1] == '*' }

// spaced reports whether a blank follows the opening of the comment.
func (h heading) spaced() bool { return blank(h.prefix[2]) }

// open finds the comment's text, without what opens and closes it and without the blanks around it: it sets s.end and
// returns where the text begins. It reports false if the text cannot have been meant as a directive, by its form.
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
		return from, !strings.Contains(s.line[from:s.end], "\n") // several lines are prose, or code put aside
	}
	return 0, false
}

// heading takes the comment's beginning apart. It reports false if that is not of the form af:word or close to it.
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
	if !strings.EqualFold(prefix, "af") && !strings.EqualFold(prefix, "afgen") { // the latter is an easy slip
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

// next returns the first offset from i on at which the text ends or has a byte that is not in the class.
func (s *scanner) next(i int, class func(byte) bool) int {
	for i < s.end && class(s.line[i]) {
		i++
	}
	return i
}

const blanks = " \t\r\n"

func blank(c byte) bool { return c == ' ' || c == '\t' || c == '\r' }

// directive makes the directive that spec describes, and parses its arguments.
func (s *scanner) directive(h heading, spec Spec) *Directive {
	end := h.at + len(h.word)
	d := &Directive{Name: spec.Name, Pos: s.at(h.start), Width: end - h.start}
	if h.end > end {
		hint := takes(spec)
		if spec.Words != "" {
			hint = "write //af:" + spec.Name + " " + spec.Words
		} else if len(spec.Keys) > 0 {
			hint = fmt.Sprintf("write arguments after a blank, as key=value: //af:%s name=NAME", spec.Name)
		}
		s.report(diag.BadSyntax, end, h.end, "//af:"+spec.Name+" has to be followed by a blank", hint)
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

// words takes what follows the heading for the directive's words. A word that is missing is reported at the name.
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
			s.report(diag.BadSyntax, h.start, h.end, "//af:"+spec.Name+" lacks its "+k.Name, "write //af:"+spec.Name+" "+spec.Words)
			return args
		}
		args = append(args, Arg{Key: k.Name, Value: s.line[i:end], Pos: s.at(i), Width: end - i, ValuePos: s.at(i), ValueWidth: end - i})
		i = end
	}
	return args
}

// unknown reports a word behind //af: that is no directive. It returns the directive that it resembles, or nil.
func (s *scanner) unknown(h heading) *Directive {
	all := names()
	hint := "the directives are " + join("//af:", all, "and")
	if h.end == h.at {
		s.report(diag.Misspelt, 0, h.end, "//af: names no directive", hint)
		return nil
	}
	near, ok := diag.Suggest(h.word, all)
	if !ok {
		s.report(diag.Misspelt, h.at, h.end, "there is no directive //af:"+clip(s.line[h.at:h.end]), hint)
		return nil
	}
	s.report(diag.Misspelt, h.at, h.at+len(h.word), "there is no directive //af:"+h.word, "did you mean //af:"+near+"?")
	spec, _ := Lookup(near)
	return s.directive(h, spec)
}

// meant decides whether a comment that does not begin with //af: and a word was meant as a directive. What Go takes for
// prose has to consist of nothing but a directive and arguments, and so has what is only similar to a directive.
func (s *scanner) meant(h heading) (d *Directive, is bool, problems diag.List) {
	spec, known := Lookup(strings.ToLower(h.word))
	if !known && !blank(s.line[h.at-1]) {
		near, _ := diag.Suggest(h.word, names())
		spec, _ = Lookup(near)
	}
	prose := h.block() || h.spaced()
	if spec.Name == "" || h.end != h.at+len(h.word) || (prose || !known) && !s.onlyArguments(h.end, spec) {
		return nil, false, nil
	}
	spelt := s.line[h.start:h.end]
	switch {
	case h.block():
		s.report(diag.NotDirective, h.start, h.end, "a block comment is not a directive", "write //af:"+spec.Name+" in a line of its own")
	case h.spaced():
		s.report(diag.NotDirective, h.start, h.end, spelt+" is a plain comment, not a directive", "write //af:"+spec.Name+", without a blank after the //")
	default:
		s.report(diag.Misspelt, h.start, h.end, spelt+" is not a directive", "did you mean //af:"+spec.Name+"?")
	}
	d = s.directive(h, spec)
	return d, true, s.problems
}
