package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/runtime/admin/filter"
)

// filterHelp returns the help topic of filters.
func (c *invocation) filterHelp() *cobra.Command {
	return &cobra.Command{Use: "filter", Short: "Filters select tasks", Long: filterText()}
}

// filterText returns the description of filters, which is made of the keys.
func filterText() string {
	var b strings.Builder
	b.WriteString(`A filter selects tasks by terms, all of which must hold:

  af ls queue:resize status:failed,stopped since:1h text:"disk full"
  af retry -where 'queue:resize code:unavailable payload.user.id=7'

`)
	width := 0
	for _, k := range filter.Keys() {
		width = max(width, len(k.Example))
	}
	for _, k := range filter.Keys() {
		fmt.Fprintf(&b, "  %-*s  %s\n", width, k.Example, k.Doc)
	}
	b.WriteString("\n")
	for _, k := range filter.Keys() {
		if k.Values == nil {
			continue
		}
		line := fmt.Sprintf("Values of %s:", k.Name)
		for i, v := range k.Values {
			if i < len(k.Values)-1 {
				v += ","
			}
			if len(line)+1+len(v) > 80 {
				b.WriteString(line + "\n")
				line = " "
			}
			line += " " + v
		}
		b.WriteString(line + "\n")
	}
	b.WriteString(`
Times are a duration before now (90s, 30m, 1h30m, 2d, 1w), a date (2026-11-30), or a date and a time
(2026-11-30T02:15, or with a zone as in RFC 3339). Without a zone they are local.

Values with spaces are quoted: text:"disk full". The other terms than queue, status, code, since,
before, source and sort have no index: add some of these so that fewer tasks must be looked at.`)
	return b.String()
}
