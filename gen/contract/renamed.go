package contract

import (
	"maps"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// advice fills the name of the older contract in the advice of a rule: "name=…" becomes "name=Sub".
func advice(r Rule, name string) string { return strings.Replace(r.Why, "name=…", "name="+name, 1) }

// A pair is what has gone and the one new thing that could be the same under another name.
type pair[T any] struct {
	now    T
	signed bool // what both carry is enough to take one for the other
}

// pairs finds, for what has gone, the one new thing of an equal key, if nothing else has that key on either side. A key
// is made of what is carried; the second result reports whether it says anything.
func pairs[T any](gone map[string]string, fresh map[string]T, key func(T) (string, bool)) map[string]pair[T] {
	byKey := map[string][]T{}
	for _, name := range slices.Sorted(maps.Keys(fresh)) {
		k, _ := key(fresh[name])
		byKey[k] = append(byKey[k], fresh[name])
	}
	count := map[string]int{}
	for _, k := range gone {
		count[k]++
	}
	found := map[string]pair[T]{}
	for name, k := range gone {
		if len(byKey[k]) == 1 && count[k] == 1 {
			_, signed := key(byKey[k][0])
			found[name] = pair[T]{byKey[k][0], signed}
		}
	}
	return found
}

// renamedMethods finds methods of a service that have another name in Go and so on the wire, by their signatures.
func renamedMethods(old Service, now nowService) map[string]pair[ir.Method] {
	gone, fresh := map[string]string{}, map[string]ir.Method{}
	for _, m := range now.Methods {
		fresh[m.Name] = m
	}
	for name, m := range old.Methods {
		_, still := now.contract.Methods[name]
		if i := goNamed(old, name, now); !still && i < 0 {
			gone[name] = m.Fingerprint
		} else if !still {
			delete(fresh, now.Methods[i].Name)
		}
		delete(fresh, name)
	}
	return pairs(gone, fresh, func(m ir.Method) (string, bool) {
		return now.contract.Methods[m.Name].Fingerprint, len(m.Params)+len(m.Results) > 0
	})
}

// goNamed returns the index of the method that has kept its name in Go and has a new one on the wire; -1 if there is none.
func goNamed(old Service, name string, now nowService) int {
	goName := old.Methods[name].Go
	if goName == "" {
		goName = name
	}
	return slices.IndexFunc(now.Methods, func(m ir.Method) bool {
		_, known := old.Methods[m.Name]
		return m.GoName == goName && !known
	})
}

// renamedServices finds services of the package being compared whose type has another name, by their methods. A type
// that the older contract has too is none of them.
func (c *comparison) renamedServices() map[string]pair[nowService] {
	gone, fresh := map[string]string{}, map[string]nowService{}
	for name, s := range c.services {
		if s.pkg.Path == c.old.Package && !c.known["service "+name] {
			fresh[name] = s
		}
	}
	for name, s := range c.old.Services {
		if _, still := c.services[name]; !still {
			gone[name] = methodsKey(s)
		}
		maps.DeleteFunc(fresh, func(_ string, now nowService) bool { return now.Type == s.Type })
	}
	return pairs(gone, fresh, func(s nowService) (string, bool) {
		signed := slices.ContainsFunc(s.Methods, func(m ir.Method) bool { return len(m.Params)+len(m.Results) > 0 })
		return methodsKey(s.contract), signed || len(s.Methods) > 1
	})
}

// methodsKey spells the methods of a service with what they carry.
func methodsKey(s Service) string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.Methods)) {
		b.WriteString(name + " " + s.Methods[name].Fingerprint + "\n")
	}
	return b.String()
}

// renamedWorkers does the same for workers, by payload and result.
func (c *comparison) renamedWorkers() map[string]pair[nowWorker] {
	gone, fresh := map[string]string{}, map[string]nowWorker{}
	for name, w := range c.workers {
		if w.pkg.Path == c.old.Package && !c.known["worker "+name] {
			fresh[name] = w
		}
	}
	for name, w := range c.old.Workers {
		if _, still := c.workers[name]; !still {
			gone[name] = workerKey(w)
		}
		maps.DeleteFunc(fresh, func(_ string, now nowWorker) bool { return now.Type == w.Type })
	}
	return pairs(gone, fresh, func(w nowWorker) (string, bool) { return workerKey(w.contract), w.Payload.Kind != ir.Basic })
}

func workerKey(w Worker) string {
	key := w.Payload.Fingerprint
	if w.Result != nil {
		key += " " + w.Result.Fingerprint
	}
	return key
}
