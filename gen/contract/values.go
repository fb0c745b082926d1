package contract

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// Kinds of values.
const (
	parameter = "parameter"
	result    = "result"
)

// values are the parameters or the results of a method in an older contract and in the current code.
type values struct {
	kind    string // parameter or result
	of      string // the method, for messages
	defs    *ir.Package
	nowDefs *ir.Package // of the current code
	was, is map[string]ir.Type
	params  []ir.Param        // current ones, in order
	order   []string          // old names, in order
	moved   map[string]string // from the old to the new name of a renamed one
	changes []memberChange    // of those with the same name
}

// A memberChange is a change in the type of a member.
type memberChange struct {
	member string
	change
}

// valuesOf returns a check for values of one kind.
func valuesOf(kind string, find func(values) []string) check {
	return on(func(v values) []string {
		if v.kind != kind {
			return nil
		}
		return find(v)
	})
}

// values compares the parameters or the results of a method.
func (c *comparison) values(
	kind, of string, old map[string]string, order string, now *ir.Package, params []ir.Param,
) (values, error) {
	v := values{
		kind: kind, of: of, defs: c.defs, nowDefs: now, was: map[string]ir.Type{}, is: map[string]ir.Type{},
		params: params, order: strings.Split(order, ", "),
	}
	for member, spelled := range old {
		t, err := c.old.parse(spelled)
		if err != nil {
			return v, err
		}
		v.was[member] = t
	}
	for _, p := range params {
		v.is[p.Member] = p.Type
	}
	v.moved = v.renamedMember()
	for _, member := range slices.Sorted(maps.Keys(v.was)) {
		if n, still := v.is[member]; still {
			for _, ch := range differences(c.defs, now, v.was[member], n) {
				v.changes = append(v.changes, memberChange{member, ch})
			}
		}
	}
	return v, nil
}

// renamedMember returns the old and new name of a renamed member: one member was removed, and one with the same JSON
// added.
func (v values) renamedMember() map[string]string {
	lost := slices.DeleteFunc(slices.Sorted(maps.Keys(v.was)), func(name string) bool {
		_, ok := v.is[name]
		return ok
	})
	fresh := slices.DeleteFunc(slices.Sorted(maps.Keys(v.is)), func(name string) bool {
		_, ok := v.was[name]
		return ok
	})
	if len(lost) == 1 && len(fresh) == 1 && sameWire(v.defs, v.nowDefs, v.was[lost[0]], v.is[fresh[0]]) {
		return map[string]string{lost[0]: fresh[0]}
	}
	return nil
}

// named returns the name of a member for a message.
func (v values) named(member string) string {
	if member == v.kind { // an unnamed result
		return member
	}
	return v.kind + " " + member
}

func (v values) added() (messages []string) {
	taken := slices.Collect(maps.Values(v.moved))
	for _, p := range v.params {
		if _, before := v.was[p.Member]; !before && !slices.Contains(taken, p.Member) {
			messages = append(messages, fmt.Sprintf("%s (%s) of %s was added",
				v.named(p.Member), spelling(v.nowDefs, p.Type), v.of))
		}
	}
	return messages
}

func (v values) removed() (messages []string) {
	for _, member := range slices.Sorted(maps.Keys(v.was)) {
		if _, still := v.is[member]; !still && v.moved[member] == "" {
			messages = append(messages, fmt.Sprintf("%s (%s) of %s was removed",
				v.named(member), spelling(v.defs, v.was[member]), v.of))
		}
	}
	return messages
}

func (v values) renamed() (messages []string) {
	for member, name := range v.moved { // at most one
		messages = append(messages, fmt.Sprintf("%s of %s was renamed to %s", v.named(member), v.of, name))
	}
	return messages
}

func (v values) reordered() []string {
	a, b := swapped(v.order, v.params)
	if a == "" {
		return nil
	}
	return message("%ss %s and %s of %s have the same type and swapped positions", v.kind, a, b, v.of)
}

// swapped returns two members of the same type that have swapped positions, or "".
func swapped(order []string, params []ir.Param) (first, second string) {
	place := map[string]int{}
	for i, member := range order {
		place[member] = i
	}
	for i, p := range params {
		for _, q := range params[i+1:] {
			pi, known := place[p.Member]
			qi, alsoKnown := place[q.Member]
			if known && alsoKnown && pi > qi && p.Type.Equal(q.Type) {
				return q.Member, p.Member
			}
		}
	}
	return "", ""
}

// retyped reports changed types of members, fieldsRetyped those of fields in them.
func (v values) retyped() []string {
	return v.changed(func(ch change) bool { return ch.kind == retyped && !ch.inField() })
}

func (v values) fieldsRetyped() []string {
	return v.changed(func(ch change) bool { return ch.kind == retyped && ch.inField() })
}

func (v values) fieldsAdded() []string {
	return v.changed(func(ch change) bool { return ch.kind == added })
}

func (v values) fieldsRemoved() []string {
	return v.changed(func(ch change) bool { return ch.kind == removed })
}

// changed returns messages for the changes that satisfy is.
func (v values) changed(is func(change) bool) (messages []string) {
	for _, ch := range v.changes {
		if is(ch.change) {
			messages = append(messages, fmt.Sprintf("%s of %s: %s", v.named(ch.member), v.of, ch.change))
		}
	}
	return messages
}

// inField reports whether a change is in a field, not in the type itself or its elements.
func (c change) inField() bool { return strings.Contains(c.path, ".") }
