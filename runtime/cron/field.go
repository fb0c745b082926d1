package cron

import (
	"fmt"
	"strconv"
	"strings"
)

// A word is a part of an expression, and where it stands.
type word struct {
	text string
	at   int
}

func (w word) wrong(format string, args ...any) error {
	return &Error{Problem: fmt.Sprintf(format, args...), Offset: w.at, Length: len(w.text)}
}

// cut splits a word at the first separator.
func (w word) cut(sep string) (before, after word, found bool) {
	b, a, found := strings.Cut(w.text, sep)
	return word{b, w.at}, word{a, w.at + len(b) + len(sep)}, found
}

// split returns what blanks separate.
func split(expr string) []word {
	var words []word
	for at := 0; at < len(expr); {
		n := strings.IndexAny(expr[at:], " \t")
		if n < 0 {
			n = len(expr) - at
		}
		if n > 0 {
			words = append(words, word{expr[at : at+n], at})
		}
		at += n + 1
	}
	return words
}

// A field is what there is to know of one of the six.
type field struct {
	name     string
	min, max int
	names    string // of the values from min on, three letters each
}

var fields = [...]field{
	{"second", 0, 59, ""}, {"minute", 0, 59, ""}, {"hour", 0, 23, ""}, {"day of month", 1, 31, ""},
	{"month", 1, 12, "janfebmaraprmayjunjulaugsepoctnovdec"}, {"day of week", 0, 7, "sunmontuewedthufrisat"},
}

const allHours = 1<<24 - 1

func (s *Schedule) parseFields(words []word) error {
	switch n := len(words); {
	case n < 5:
		last, are := words[n-1], "are"
		if n == 1 {
			are = "is"
		}
		return &Error{Offset: last.at + len(last.text),
			Problem: fmt.Sprintf("there %s %d of the five fields that are needed (or six, with seconds first)", are, n)}
	case n > 6:
		return words[6].wrong("there are %d fields: five, or six with seconds first, are all", n)
	}
	s.second = 1
	into := []*uint64{&s.second, &s.minute, &s.hour, &s.day, &s.month, &s.week}
	skip := len(fields) - len(words)
	for i, w := range words {
		set, err := fields[skip+i].parse(w)
		if err != nil {
			return err
		}
		*into[skip+i] = set
	}
	n := len(words)
	s.anyDay, s.anyWeek = isAny(words[n-3]), isAny(words[n-1])
	s.fixed = !isAny(words[n-4]) && s.hour != allHours
	s.week = s.week&0x7f | s.week>>7
	return nil
}

// isAny says whether a field begins with * (or ?): then it doesn't restrict the day, in steps neither, and the hour
// isn't fixed.
func isAny(w word) bool { return w.text[0] == '*' || w.text[0] == '?' }

// parse returns the values of a field as bits.
func (f field) parse(w word) (uint64, error) {
	var set uint64
	for rest, more := w, true; more; {
		var item word
		item, rest, more = rest.cut(",")
		part, err := f.item(item)
		if err != nil {
			return 0, err
		}
		set |= part
	}
	return set, nil
}

// item is one of a field's list: a value, a range or *, perhaps with a step.
func (f field) item(w word) (uint64, error) {
	span, stepText, stepped := w.cut("/")
	from, to, ranged := span.cut("-")
	low, high, step := f.min, f.max, 1
	var err error
	switch {
	case w.text == "":
		return 0, w.wrong("a value of the %s is missing", f.name)
	case span.text == "*" || span.text == "?":
		if f.max == 7 {
			high = 6 // Sunday is 0 already
		}
	default:
		if low, err = f.value(from); err != nil {
			return 0, err
		}
		switch {
		case ranged:
			if high, err = f.value(to); err != nil {
				return 0, err
			}
			if f.max == 7 && high == 0 && to.text != "0" {
				high = 7 // fri-sun
			}
		case !stepped:
			high = low
		}
	}
	if low > high {
		return 0, span.wrong("the range of the %s goes backwards", f.name)
	}
	if stepped {
		if step, err = strconv.Atoi(stepText.text); err != nil || step < 1 || step > f.max {
			return 0, stepText.wrong("the step %q of the %s is not a number from 1 to %d", stepText.text, f.name, f.max)
		}
	}
	var set uint64
	for v := low; v <= high; v += step {
		set |= 1 << v
	}
	return set, nil
}

// value is a number or a name.
func (f field) value(w word) (int, error) {
	if i := strings.Index(f.names, strings.ToLower(w.text)); len(w.text) == 3 && i >= 0 && i%3 == 0 {
		return f.min + i/3, nil
	}
	n, err := strconv.ParseUint(w.text, 10, 16)
	switch {
	case err != nil && w.text == "":
		return 0, w.wrong("a value of the %s is missing", f.name)
	case err != nil:
		return 0, w.wrong("%q is not a %s", w.text, f.name)
	case int(n) < f.min || int(n) > f.max:
		return 0, w.wrong("%s %d is out of range: %d to %d", f.name, n, f.min, f.max)
	}
	return int(n), nil
}
