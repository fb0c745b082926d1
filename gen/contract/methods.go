package contract

import (
	"maps"
	"slices"

	"github.com/afgen/afgen/gen/ir"
)

// A methodPair is a method of an older contract with the current one, unless its fate is gone.
type methodPair struct {
	fate          fate
	service, name string // old names on the wire
	old           Method
	now           ir.Method
}

func (p methodPair) deleted() []string {
	switch p.fate {
	case gone:
		return message("method %s of service %s was removed", p.name, p.service)
	case maybe:
		return message("method %s of service %s was removed; "+
			"if it was renamed to %s, //af:method name=%s keeps the wire name",
			p.name, p.service, p.now.GoName, p.name)
	}
	return nil
}

func (p methodPair) renamed() []string {
	switch p.fate {
	case renamedWire:
		return message("method %s of service %s was renamed to %s on the wire", p.name, p.service, p.now.Name)
	case renamedGo:
		return message("method %s of service %s was renamed to %s", p.name, p.service, p.now.Name)
	}
	return nil
}

func (p methodPair) notIdempotent() []string {
	if p.fate >= maybe || !p.old.Idempotent || p.now.Idempotent {
		return nil
	}
	return message("%s.%s is no longer idempotent", p.service, p.name)
}

// methodPairs pairs the methods of a service with those of the current code.
func methodPairs(p endpointPair) []methodPair {
	var all []methodPair
	renamed := renamedMethods(p.old.service, p.now)
	for _, name := range slices.Sorted(maps.Keys(p.old.service.Methods)) {
		one := methodPair{gone, p.old.name, name, p.old.service.Methods[name], ir.Method{}}
		i := slices.IndexFunc(p.now.methods, func(m ir.Method) bool { return m.Name == name })
		other, found := renamed[name]
		switch goName := goNamed(p.old.service, name, p.now); {
		case i >= 0:
			one.fate, one.now = kept, p.now.methods[i]
		case goName >= 0:
			one.fate, one.now = renamedWire, p.now.methods[goName]
		case found && carries(other):
			one.fate, one.now = renamedGo, other
		case found:
			one.fate, one.now = maybe, other
		}
		all = append(all, one)
	}
	return all
}

// carries reports whether a method has parameters or results.
func carries(m ir.Method) bool { return len(m.Params)+len(m.Results) > 0 }

// renamedMethods returns methods that have other names in Go and on the wire, by old wire name. It matches them by
// signature.
func renamedMethods(old Service, now endpoint) map[string]ir.Method {
	lost, fresh := map[string]string{}, map[string]ir.Method{}
	for _, m := range now.methods {
		fresh[m.Name] = m
	}
	for name, m := range old.Methods {
		_, still := now.service.Methods[name]
		if i := goNamed(old, name, now); !still && i < 0 {
			lost[name] = m.Fingerprint
		} else if !still {
			delete(fresh, now.methods[i].Name)
		}
		delete(fresh, name)
	}
	return pairs(lost, fresh, func(m ir.Method) string { return now.service.Methods[m.Name].Fingerprint })
}

// goNamed returns the index of the method with the same name in Go and a new one on the wire, or -1.
func goNamed(old Service, name string, now endpoint) int {
	goName := old.Methods[name].Go
	if goName == "" {
		goName = name
	}
	return slices.IndexFunc(now.methods, func(m ir.Method) bool {
		_, known := old.Methods[m.Name]
		return m.GoName == goName && !known
	})
}
