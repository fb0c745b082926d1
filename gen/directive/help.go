package directive

import (
	"fmt"
	"strings"
	"text/tabwriter"
	"time"
)

// Help returns a plain text that documents all directives with their keys, defaults and limits.
func Help() string {
	var b strings.Builder
	b.WriteString(`A directive is a comment directly above its declaration, without a space after //. Its arguments are
separated by spaces. Each is key=value or a flag. A value that contains spaces is a quoted Go string. A space
and // begin a comment.
` + strings.ToUpper(NameRule[:1]) + NameRule[1:] + ".\n")
	for _, s := range table {
		fmt.Fprintf(&b, "\n//af:%s  on %s%s\n  %s\n", s.usage(), s.On, s.remarks(), s.Doc)
		w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
		if len(s.Keys) > 0 {
			fmt.Fprint(w, "    KEY\tVALUE\tDEFAULT\tMEANING\n")
		}
		for _, k := range s.Keys {
			fmt.Fprintf(w, "    %s\t%s\t%s\t%s\n", k.Name, k.takes(), or(k.Default, k.Absent), k.Doc)
		}
		w.Flush() // a strings.Builder never fails
	}
	return b.String()
}

// Markdown returns the text of [Help] without its introduction as Markdown, with a section for each directive.
func Markdown() string {
	var b strings.Builder
	for i, s := range table {
		if i > 0 {
			b.WriteString("\n")
		}
		fmt.Fprintf(&b, "### `//af:%s`\n\nOn %s%s. %s\n", s.usage(), s.On, s.remarks(), s.Doc)
		if len(s.Keys) == 0 {
			continue
		}
		b.WriteString("\n| key | value | default | meaning |\n|---|---|---|---|\n")
		for _, k := range s.Keys {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", k.Name, k.takes(), or(k.Default, k.Absent), k.Doc)
		}
	}
	return b.String()
}

// usage returns the name and the words, if any.
func (s Spec) usage() string { return strings.TrimSpace(s.Name + " " + s.Words) }

// remarks returns the text after s.On.
func (s Spec) remarks() string {
	if s.Repeatable {
		return ", any number of times"
	}
	return ""
}

// takes describes the values of a key.
func (k Key) takes() string {
	switch k.Kind {
	case Int:
		return fmt.Sprintf("%d to %d", k.Min, k.Max)
	case Duration:
		return "duration, at most " + short(time.Duration(k.Max))
	case Choice:
		return join("", k.Choices, "or")
	default:
		return string(k.Kind)
	}
}
