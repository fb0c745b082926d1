package directive

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/internal/suggest"
)

// A token is one argument as written, not yet looked up in the table. Its positions are offsets in the line.
type token struct {
	key     string // "" if it is missing
	at, end int
	pair    bool   // there is a =, or there should be one
	value   string // without quotes
	valueAt int
	quoted  bool

	// The syntax error, if any: a message, a hint and the bytes to underline.
	fault, hint      string
	faultAt, faultTo int
}

// tokens splits the text from an offset to its end or a comment. It needs the spec to tell keys from values if a space
// is misplaced.
func (s *scanner) tokens(i int, spec Spec) []token {
	var all []token
	for {
		i = s.next(i, blank)
		if i == s.end || s.remark(i) {
			return all
		}
		t := s.token(i, spec)
		all = append(all, t)
		i = t.end
	}
}

func (s *scanner) remark(i int) bool { return strings.HasPrefix(s.line[i:s.end], "//") }

// token parses one argument. Its end is after its beginning.
func (s *scanner) token(i int, spec Spec) token {
	end := s.next(i, func(c byte) bool { return !blank(c) && c != '=' && !quoteMark(c) })
	t := token{key: s.line[i:end], at: i, end: end}
	ahead := s.next(end, blank)
	switch {
	case end == s.end:
	case s.line[end] == '=':
		t.pair = true
		s.value(&t, end+1, spec)
		if t.key == "" {
			t.wrong(i, i+1, `missing key before "="`, "write key=value")
		}
	case quoteMark(s.line[end]):
		t.pair = t.key != ""
		s.value(&t, end, spec)
		t.wrong(end, t.end, `missing "=" before the value`, "write "+or(t.key, "key")+"="+clip(spell(t.value)))
		if t.key == "" {
			t.fault = "value without a key"
		}
	case ahead < s.end && s.line[ahead] == '=':
		t.pair = true
		s.value(&t, s.next(ahead+1, blank), spec)
		t.wrong(end, ahead+1, `space before "="`, "write "+t.key+"="+or(clip(spell(t.value)), "value")+", without spaces")
	}
	return t
}

// wrong sets the syntax error of a token.
func (t *token) wrong(from, to int, fault, hint string) {
	t.fault, t.hint, t.faultAt, t.faultTo = fault, hint, from, to
}

// value parses the value at i, after the token's =, and sets the token's end.
func (s *scanner) value(t *token, i int, spec Spec) {
	t.valueAt, t.end = i, i
	switch {
	case i == s.end || blank(s.line[i]):
		s.missing(t, i, spec)
	case quoteMark(s.line[i]):
		s.quotedValue(t, i)
	default:
		t.end = s.next(i, func(c byte) bool { return !blank(c) })
		t.value = s.line[i:t.end]
		if q := strings.IndexAny(t.value, "\"`"); q >= 0 {
			t.wrong(i+q, i+q+1, "quotation mark inside a value", "quote the whole value, as a Go string")
		} else if t.value[0] == '\'' {
			t.wrong(i, i+1, "value in single quotes", "use double quotes or back quotes, as for a Go string")
		}
	}
}

// missing handles a = without a value directly after it. If the next word looks like the value, it is used as such, so
// that it isn't reported as well.
func (s *scanner) missing(t *token, i int, spec Spec) {
	next := s.next(i, blank)
	word := s.line[next:s.next(next, func(c byte) bool { return !blank(c) })]
	if _, isKey := spec.Key(word); word == "" || isKey || s.remark(next) || strings.Contains(word, "=") {
		t.wrong(t.at, i, t.key+" has no value", "write "+t.key+"=value, or omit it")
		return
	}
	s.value(t, next, spec)
	t.wrong(i-1, next, `space after "="`, "write "+t.key+"="+clip(spell(t.value))+", without spaces")
}

// quotedValue parses the quoted Go string at i.
func (s *scanner) quotedValue(t *token, i int) {
	t.quoted = true
	mark := s.line[i]
	end := i + 1
	for end < s.end && s.line[end] != mark {
		if mark == '"' && s.line[end] == '\\' {
			end++
		}
		end++
	}
	if end >= s.end {
		t.end = s.end
		t.wrong(i, i+1, "unterminated string", "end the value with "+string(mark))
		return
	}
	end++
	t.end = s.next(end, func(c byte) bool { return !blank(c) })
	value, err := strconv.Unquote(s.line[i:end])
	t.value = value
	switch {
	case err != nil:
		t.wrong(i, end, clip(s.line[i:end])+" is not a Go string",
			`in double quotes, write \\ for \ and \" for "; back quotes need no escapes`)
	case t.end > end:
		t.wrong(end, t.end, "missing space after the quoted value", "separate arguments by spaces")
	}
}

func quoteMark(c byte) bool { return c == '"' || c == '`' }

// onlyArguments reports whether only arguments, which are pairs and flags of that directive, and a comment follow.
func (s *scanner) onlyArguments(i int, spec Spec) bool {
	if spec.Words != "" { // the first word of a directive is in capitals
		word := s.line[s.next(i, blank):s.end]
		return word != "" && word[0] >= 'A' && word[0] <= 'Z' && strings.Contains(strings.Fields(word)[0], "_")
	}
	for _, t := range s.tokens(i, spec) {
		k, _ := spec.Key(t.key)
		if t.key == "" || !t.pair && k.Kind != Flag {
			return false
		}
	}
	return true
}

// args checks the tokens against the spec and returns the valid arguments. It doesn't check values.
func (s *scanner) args(tokens []token, spec Spec) []Arg {
	var args []Arg
	first := map[string]token{}
	for i := 0; i < len(tokens); i++ {
		t := tokens[i]
		k, known := spec.Key(t.key)
		if known && k.Kind == Duration && t.pair && !t.quoted {
			for i+1 < len(tokens) && s.continues(&t, tokens[i+1], spec, k) {
				i++
			}
		}
		before, again := first[t.key]
		switch {
		case t.fault != "":
			s.report(diag.BadSyntax, t.faultAt, t.faultTo, t.fault, t.hint)
		case !known && !t.pair:
			i = s.strayWords(tokens, i, spec)
		case !known:
			s.unknownKey(t, spec)
		case !t.pair && k.Kind != Flag:
			s.report(diag.BadSyntax, t.at, t.end, t.key+" has no value", "write "+t.key+"=value, or omit it")
		case again:
			s.report(diag.RepeatedKey, t.at, t.at+len(t.key), t.key+" is given twice",
				fmt.Sprintf("keep one; the first is at column %d", s.at(before.at).Column))
		default:
			args = append(args, s.arg(t))
		}
		if known && !again {
			first[t.key] = t
		}
	}
	return args
}

func (s *scanner) arg(t token) Arg {
	a := Arg{Key: t.key, Value: t.value, Pos: s.at(t.at), Width: len(t.key)}
	a.ValuePos, a.ValueWidth = s.at(t.valueAt), t.end-t.valueAt
	if !t.pair {
		a.Value, a.ValuePos, a.ValueWidth = "true", a.Pos, a.Width
	}
	return a
}

// continues appends next to the value of t if both form a duration with a space in it, such as "5 s" or "1h 30m". So
// one problem is reported, not two.
func (s *scanner) continues(t *token, next token, spec Spec, k Key) bool {
	if _, isKey := spec.Key(next.key); isKey || next.pair || next.fault != "" {
		return false
	}
	value := s.line[t.valueAt:next.end]
	if _, ok := k.fixDuration(value); !ok {
		return false
	}
	t.value, t.end = value, next.end
	return true
}

// strayWords reports the unknown word tokens[i]. If it resembles no key, the report includes the unknown words after
// it. strayWords returns the index of the last token of the report.
func (s *scanner) strayWords(tokens []token, i int, spec Spec) int {
	t := tokens[i]
	if key, value, ok := strings.Cut(t.key, ":"); ok {
		if _, isKey := spec.Key(key); isKey {
			s.report(diag.BadSyntax, t.at+len(key), t.at+len(key)+1, `":" instead of "="`,
				"write "+key+"="+clip(or(value, "value")))
			return i
		}
	}
	_, near := suggest.Nearest(t.key, spec.keyNames())
	_, named := spec.Key("name")
	switch {
	case near:
		s.unknownKey(t, spec)
		return i
	case named && i == 0 && len(tokens) == 1 && ValidName(t.key):
		s.report(diag.UnknownKey, t.at, t.end, noKey(t, spec), "did you mean name="+t.key+"? "+takes(spec))
		return i
	}
	last := i
	for last+1 < len(tokens) {
		n := tokens[last+1]
		_, isKey := spec.Key(n.key)
		if _, near := suggest.Nearest(n.key, spec.keyNames()); n.pair || n.fault != "" || isKey || near {
			break
		}
		last++
	}
	s.report(diag.UnknownKey, t.at, tokens[last].end, noKey(t, spec), takes(spec)+" Write // before a comment.")
	return last
}

func (s *scanner) unknownKey(t token, spec Spec) {
	hint := takes(spec)
	if near, ok := spec.near(t.key); ok {
		hint = fmt.Sprintf("did you mean %q? %s", near, hint)
	}
	s.report(diag.UnknownKey, t.at, t.at+len(t.key), noKey(t, spec), hint)
}

func noKey(t token, spec Spec) string { return "//af:" + spec.Name + " has no key " + quote(t.key) }

func takes(spec Spec) string {
	if len(spec.Keys) == 0 {
		return "It takes no keys."
	}
	return "It takes " + join("", spec.keyNames(), "and") + "."
}
