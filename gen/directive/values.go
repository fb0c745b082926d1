package directive

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/internal/suggest"
)

// A fault describes why a value is invalid. Its problem is the text after `key="value"`. If width isn't 0, the fault is
// in that part of the value.
type fault struct {
	code          diag.Code
	problem, hint string
	at, width     int
}

func bad(problem, hint string) *fault {
	return &fault{code: diag.BadValue, problem: problem, hint: hint}
}

// parse returns the value of a text. By the key's kind, that is a string, an int, a bool, a []string or a
// time.Duration.
func (k Key) parse(text string) (any, *fault) {
	switch k.Kind {
	case Name:
		return text, nameFault(text)
	case Duration:
		return k.duration(text)
	case Int:
		return k.int(text)
	case Flag:
		if text != "true" && text != "false" {
			return nil, bad("is neither true nor false", fmt.Sprintf("write %s, %[1]s=true or %[1]s=false", k.Name))
		}
		return text == "true", nil
	case Choice:
		return k.choice(text)
	case ImportPath:
		return text, importPathFault(text)
	case Cron:
		return text, cronFault(text)
	case Zone:
		return text, zoneFault(text)
	case Addresses:
		return addresses(text)
	default: // String
		if text == "" {
			return nil, bad("is empty", "write a value, or omit the key")
		}
		return text, nil
	}
}

func nameFault(text string) *fault {
	switch {
	case strings.HasPrefix(text, "_af"):
		return &fault{code: diag.ReservedName, problem: "is a reserved name",
			hint: "names that begin with _af are reserved for afgen; choose another name"}
	case !ValidName(text):
		return bad("is not a valid name", or(commaHint(text), NameRule))
	}
	return nil
}

// importPathFault returns why text is not the import path of a package that can be written, or nil. It doesn't check
// whether the package exists.
func importPathFault(text string) *fault {
	const write = "write the complete import path, such as example.com/shop/client"
	switch {
	case strings.HasPrefix(text, "."):
		return bad("is a relative path", write)
	case strings.Contains(text, `\`) || path.IsAbs(text):
		return bad("is a file path", write)
	case text == "" || path.Clean(text) != text || strings.ContainsFunc(text, func(r rune) bool {
		return r > unicode.MaxASCII || !wordByte(byte(r)) && !strings.ContainsRune("/.~+", r)
	}):
		return bad("is not an import path", write)
	}
	return nil
}

func (k Key) choice(text string) (any, *fault) {
	if slices.Contains(k.Choices, text) {
		return text, nil
	}
	hint := "write " + join(k.Name+"=", k.Choices, "or")
	if near, ok := suggest.Nearest(text, k.Choices); ok {
		hint = "did you mean " + k.Name + "=" + near + "?"
	}
	return nil, bad("is not "+join("", k.Choices, "or"), or(commaHint(text), hint))
}

func (k Key) int(text string) (any, *fault) {
	n, err := strconv.ParseInt(text, 10, 0)
	hint := fmt.Sprintf("write an integer from %d to %d", k.Min, k.Max)
	switch {
	case errors.Is(err, strconv.ErrRange), err == nil && (n < k.Min || n > k.Max):
		return nil, bad("is out of range", hint)
	case err != nil:
		return nil, bad("is not an integer", or(commaHint(text), hint))
	}
	return int(n), nil
}

func (k Key) duration(text string) (any, *fault) {
	const write = "write a number with a unit, such as 5s, 250ms or 2m30s"
	d, err := time.ParseDuration(text)
	switch {
	case err == nil && int64(d) >= k.Min && int64(d) <= k.Max:
		return d, nil
	case err == nil && int64(d) > k.Max:
		return nil, bad("is too long", "write at most "+short(time.Duration(k.Max)))
	case err == nil, text == "none", text == "never", text == "off":
		hint := "write more than 0, at most " + short(time.Duration(k.Max))
		if k.Absent != "" {
			hint += fmt.Sprintf(", or omit %s for the default (%s)", k.Name, k.Absent)
		}
		if err != nil {
			return nil, bad("is not a duration", hint)
		}
		return nil, bad("is not positive", hint)
	}
	hint := commaHint(text)
	if fixed, ok := k.fixDuration(text); ok {
		hint = fmt.Sprintf("did you mean %s? %s%s", fixed, strings.ToUpper(write[:1]), write[1:])
	}
	return nil, bad("is not a duration", or(hint, write))
}

// fixDuration returns the duration within the key's limits that an invalid text probably means. The text may lack a
// unit, contain spaces, or have a unit that Go doesn't know.
func (k Key) fixDuration(text string) (string, bool) {
	s := strings.ToLower(strings.NewReplacer(" ", "", "\t", "", "_", "").Replace(text))
	unit := strings.TrimLeft(s, "0123456789.")
	number := strings.TrimSuffix(s, unit)
	if n, err := strconv.ParseFloat(number, 64); err == nil {
		switch unit {
		case "", "sec", "secs", "second", "seconds":
			s = number + "s"
		case "min", "mins", "minute", "minutes":
			s = number + "m"
		case "hr", "hrs", "hour", "hours":
			s = number + "h"
		case "msec", "msecs", "millis", "millisecond", "milliseconds":
			s = number + "ms"
		case "d", "day", "days":
			s = strconv.FormatFloat(n*24, 'f', -1, 64) + "h"
		case "w", "week", "weeks":
			s = strconv.FormatFloat(n*24*7, 'f', -1, 64) + "h"
		}
	}
	d, err := time.ParseDuration(s)
	return s, err == nil && int64(d) >= k.Min && int64(d) <= k.Max
}

// commaHint returns a hint for a value that contains the next argument after a comma, or "" for others.
func commaHint(text string) string {
	if i := strings.IndexByte(text, ','); i >= 0 && (i+1 == len(text) || letter(text[i+1])) {
		return "separate arguments by spaces, without commas"
	}
	return ""
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}

// join lists words, each with a prefix, and a conjunction before the last: "a, b and c".
func join(prefix string, words []string, conjunction string) string {
	var b strings.Builder
	for i, w := range words {
		switch {
		case i == 0:
		case i == len(words)-1:
			b.WriteString(" " + conjunction + " ")
		default:
			b.WriteString(", ")
		}
		b.WriteString(prefix + w)
	}
	return b.String()
}

// short returns d without units that are zero: 24h, not 24h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// quote quotes a word for a message.
func quote(word string) string { return strconv.Quote(clip(word)) }

// clip shortens a very long word for a message.
func clip(word string) string {
	const most = 60
	if len(word) <= most {
		return word
	}
	return strings.ToValidUTF8(word[:most], "") + "..."
}
