package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

// The lists of a command are read page by page, up to -limit items, so that memory is bounded.
const (
	listPage  = 200  // items of a request
	listLimit = 1000 // of -limit, by default
	listMost  = 100_000
)

// addLimit adds the flag -limit to a command.
func addLimit(cmd *cobra.Command, limit *int, byDefault int) {
	cmd.Flags().IntVar(limit, "limit", byDefault, "list at most `n`")
}

// collect returns the first items of a list that page reads, at most limit, and whether there are more.
func collect[T any](
	limit int, page func(limit int, cursor string) ([]T, string, error),
) (items []T, more bool, err error) {
	if limit < 1 || limit > listMost {
		return nil, false, fmt.Errorf("-limit %d: want 1 to %d", limit, listMost)
	}
	items = []T{} // [] in JSON
	for cursor := ""; ; {
		some, next, err := page(min(listPage, limit-len(items)), cursor)
		if err != nil {
			return nil, false, err
		}
		items = append(items, some...)
		if next == "" {
			return items, false, nil
		}
		if len(items) >= limit {
			return items, true, nil
		}
		cursor = next
	}
}

// printLine prints a value as JSON on one line, of a stream.
func (c *invocation) printLine(v any) error { return c.encode(v, "") }

// encode prints a value as JSON that is safe on a terminal.
func (c *invocation) encode(v any, indent string) error {
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", indent)
	if err := e.Encode(v); err != nil {
		return err
	}
	_, err := c.Out.Write(text.CleanJSON(out.Bytes()))
	return err
}

// messageOf returns the message of an error, without its code.
func messageOf(err error) string {
	if e, ok := errors.AsType[*af.Error](err); ok {
		return e.Message
	}
	return err.Error()
}

// printMore tells how many items were not listed.
func (c *invocation) printMore(shown int, total string) {
	c.note("%s of %s listed; -limit lists more", text.Number(int64(shown)), total)
}

// A listResult is a list that a command has read.
type listResult struct {
	page         any // what -o json prints
	shown, total int
	more         bool
	empty        string // the hint for an empty list
}

// printList prints a list as JSON or as a table, and tells what is missing.
func (c *invocation) printList(l listResult, t *text.Table) error {
	if l.more {
		defer c.printMore(l.shown, text.Number(int64(l.total)))
	}
	if c.json() {
		return c.printJSON(l.page)
	}
	if l.shown == 0 {
		c.note("%s", l.empty)
		return nil
	}
	return t.Print(&c.Out)
}

// jsonText returns a JSON value as people read it: strings without quotes, and everything on one line.
func jsonText(raw json.RawMessage) string {
	var s string
	if json.Unmarshal(raw, &s) == nil {
		return s
	}
	return string(raw)
}
