package cron

import (
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	robfig "github.com/robfig/cron/v3"
)

// A word is a blank-separated part of an expression with its position.
type word struct {
	text string
	at   int
}

func (w word) wrong(format string, args ...any) error {
	return &Error{Problem: fmt.Sprintf(format, args...), Offset: w.at, Length: len(w.text)}
}

// cut splits w around the first separator.
func (w word) cut(sep string) (before, after word, found bool) {
	b, a, found := strings.Cut(w.text, sep)
	return word{b, w.at}, word{a, w.at + len(b) + len(sep)}, found
}

// split returns the words of expr.
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

// A field describes one of the six fields.
type field struct {
	name     string
	min, max int           // of the values in expressions
	names    robfig.Parser // of this field alone, if its values have names
}

var fields = [...]field{
	{name: "second", max: 59}, {name: "minute", max: 59}, {name: "hour", max: 23}, {name: "day of month", min: 1, max: 31},
	{"month", 1, 12, robfig.NewParser(robfig.Month)}, {"day of week", 0, sunday, robfig.NewParser(robfig.Dow)},
}

// table parses all six fields.
var table = robfig.NewParser(robfig.Second | robfig.Minute | robfig.Hour | robfig.Dom | robfig.Month | robfig.Dow)

const (
	allHours = 1<<24 - 1
	star     = 1 << 63 // robfig/cron sets it for *
	sunday   = 7       // last day of the week; robfig/cron only has 0
)

func (s *Schedule) parseFields(words []word) error {
	const wrongCount = "field count %d is wrong, want five, or six with seconds first"
	switch n := len(words); {
	case n < 5:
		last := words[n-1]
		return &Error{Offset: last.at + len(last.text), Problem: fmt.Sprintf(wrongCount, n)}
	case n > 6:
		return words[6].wrong(wrongCount, n)
	}
	expr := ""
	if len(words) == 5 {
		expr = "0"
	}
	for i, w := range words {
		f, err := fields[len(fields)-len(words)+i].normal(w)
		if err != nil {
			return err
		}
		expr += " " + f
	}
	t, err := table.Parse(expr)
	if err != nil { // unreachable after the checks above
		return words[0].wrong("%v", err)
	}
	s.take(t.(*robfig.SpecSchedule))
	n := len(words)
	s.anyDay, s.anyWeek = isAny(words[n-3]), isAny(words[n-1])
	s.fixed = !isAny(words[n-4]) && s.hour != allHours
	return nil
}

// isAny reports whether a field begins with * or ?. Such a field doesn't restrict the day, even with a step, and
// doesn't fix the hour.
func isAny(w word) bool { return w.text[0] == '*' || w.text[0] == '?' }

// normal returns the field in robfig/cron's syntax. It locates mistakes, and refuses what robfig/cron accepts by
// accident.
func (f field) normal(w word) (string, error) {
	var b strings.Builder
	for rest, more := w, true; more; {
		var item word
		item, rest, more = rest.cut(",")
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		if err := f.item(&b, item); err != nil {
			return "", err
		}
	}
	return b.String(), nil
}

// item writes one item of a list: a value, a range or *, with an optional step.
func (f field) item(b *strings.Builder, w word) error {
	span, stepText, stepped := w.cut("/")
	from, to, ranged := span.cut("-")
	if w.text == "" {
		return w.wrong("%s has an empty value", f.name)
	}
	anyValue := span.text == "*" || span.text == "?"
	step, low, high := 1, 0, 0
	var err error
	if !anyValue {
		if low, err = f.value(from); err != nil {
			return err
		}
		switch high = low; {
		case ranged:
			if high, err = f.value(to); err != nil {
				return err
			}
			if f.max == sunday && high == 0 && to.text != "0" {
				high = sunday // fri-sun
			}
		case stepped:
			high = f.max
		}
		if low > high {
			return span.wrong("%s range is reversed", f.name)
		}
	}
	if stepped {
		if step, err = strconv.Atoi(stepText.text); err != nil || step < 1 || step > f.max {
			return stepText.wrong("%s step %q is not a number from 1 to %d", f.name, stepText.text, f.max)
		}
	}
	if f.max == sunday && high == sunday {
		if (sunday-low)%step == 0 {
			b.WriteByte('0')
			if low < sunday {
				b.WriteByte(',')
			}
		}
		if high--; low > high {
			return nil
		}
	}
	switch {
	case anyValue:
		b.WriteByte('*')
	case low == high:
		b.WriteString(strconv.Itoa(low))
		return nil
	default:
		b.WriteString(strconv.Itoa(low) + "-" + strconv.Itoa(high))
	}
	if step > 1 {
		b.WriteString("/" + strconv.Itoa(step))
	}
	return nil
}

// value parses a number or a name.
func (f field) value(w word) (int, error) {
	if f.names != (robfig.Parser{}) && strings.Trim(strings.ToLower(w.text), "abcdefghijklmnopqrstuvwxyz") == "" {
		if t, err := f.names.Parse(w.text); err == nil {
			set := t.(*robfig.SpecSchedule).Month
			if f.max == sunday {
				set = t.(*robfig.SpecSchedule).Dow
			}
			return bits.TrailingZeros64(set), nil
		}
	}
	n, err := strconv.ParseUint(w.text, 10, 16)
	switch {
	case err != nil && w.text == "":
		return 0, w.wrong("%s has an empty value", f.name)
	case err != nil:
		return 0, w.wrong("%q is not a %s", w.text, f.name)
	case int(n) < f.min || int(n) > f.max:
		return 0, w.wrong("%s %d out of range [%d, %d]", f.name, n, f.min, f.max)
	}
	return int(n), nil
}
