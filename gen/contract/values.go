package contract

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// What values a method has.
const (
	parameter = "parameter"
	result    = "result"
)

// values are the parameters or the results of one method, then and now.
type values struct {
	kind    string // parameter or result
	of      string // the method, in messages
	defs    *ir.Package
	nowDefs *ir.Package // as defs, what the types of now are
	was, is map[string]ir.Type
	params  []ir.Param        // those of now, in order
	order   []string          // those of then, in order
	moved   map[string]string // the new name of the one that was renamed
	changes []memberChange    // in the types of those that have kept their names
}

// A memberChange is a change in the type of one member.
type memberChange struct {
	member string
	change
}

// valuesOf makes a check for values of one kind.
func valuesOf(kind string, look func(values) []string) check {
	return on(func(v values) []string {
		if v.kind != kind {
			return nil
		}
		return look(v)
	})
}

// values compares the parameters or the results of a method with what an older contract says of them.
func (c *comparison) values(kind, of string, old map[string]string, order string, now *ir.Package, params []ir.Param) (values, error) {
	v := values{kind: kind, of: of, defs: c.defs, nowDefs: now, was: map[string]ir.Type{}, is: map[string]ir.Type{}, params: params,
		order: strings.Split(order, ", ")}
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

// renamedMember finds the one new member that sends what the one lost member did.
func (v values) renamedMember() map[string]string {
	lost := slices.DeleteFunc(slices.Sorted(maps.Keys(v.was)), func(name string) bool { _, ok := v.is[name]; return ok })
	fresh := slices.DeleteFunc(slices.Sorted(maps.Keys(v.is)), func(name string) bool { _, ok := v.was[name]; return ok })
	if len(lost) == 1 && len(fresh) == 1 && sameWire(v.defs, v.nowDefs, v.was[lost[0]], v.is[fresh[0]]) {
		return map[string]string{lost[0]: fresh[0]}
	}
	return nil
}

// named is a member in a message.
func (v values) named(member string) string {
	if member == v.kind { // of a result without a name
		return member
	}
	return v.kind + " " + member
}

func (v values) added() (messages []string) {
	taken := slices.Collect(maps.Values(v.moved))
	for _, p := range v.params {
		if _, before := v.was[p.Member]; !before && !slices.Contains(taken, p.Member) {
			messages = append(messages, fmt.Sprintf("%s (%s) of %s is new", v.named(p.Member), spelling(v.nowDefs, p.Type), v.of))
		}
	}
	return messages
}

func (v values) removed() (messages []string) {
	for _, member := range slices.Sorted(maps.Keys(v.was)) {
		if _, still := v.is[member]; !still && v.moved[member] == "" {
			messages = append(messages, fmt.Sprintf("%s (%s) of %s is gone", v.named(member), spelling(v.defs, v.was[member]), v.of))
		}
	}
	return messages
}

func (v values) renamed() (messages []string) {
	for member, name := range v.moved { // one at most
		messages = append(messages, fmt.Sprintf("%s of %s is called %s now", v.named(member), v.of, name))
	}
	return messages
}

func (v values) reordered() []string {
	a, b := swapped(v.order, v.params)
	if a == "" {
		return nil
	}
	return message("%ss %s and %s of %s are of one type and have changed places", v.kind, a, b, v.of)
}

// swapped returns two neighbours of one type that have changed places; "" if there are none.
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

// retyped is about members whose own types have changed, and fieldsRetyped about those of fields in them.
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

// changed returns a message for each change of some kind.
func (v values) changed(is func(change) bool) (messages []string) {
	for _, ch := range v.changes {
		if is(ch.change) {
			messages = append(messages, fmt.Sprintf("%s of %s: %s", v.named(ch.member), v.of, ch.change))
		}
	}
	return messages
}

// inField reports whether a change is in a field, and not in the whole type or in its elements.
func (c change) inField() bool { return strings.Contains(c.path, ".") }
