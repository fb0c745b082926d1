package contract

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// Kinds of endpoints.
const (
	service = "service"
	worker  = "worker"
)

// An endpoint is a service or a worker of an older contract or of the current code.
type endpoint struct {
	kind   string // service or worker
	name   string // on the wire
	typ    string
	client string // the package of its client half; "" for the type's package
	// sends identifies its wire format. If it is equal, an endpoint may have been renamed. If distinct is set, it was.
	sends    string
	distinct bool

	service Service // of a service
	worker  Worker  // of a worker

	// Only in the current code:
	pkg     *ir.Package
	allow   []ir.Allow
	methods []ir.Method // of a service
	payload ir.Type     // of a worker
	result  *ir.Type
}

// id is the key of an endpoint.
func (e endpoint) id() string { return e.kind + " " + e.name }

// endpoints returns the services of a contract by name, and then the workers.
func (c Contract) endpoints() []endpoint {
	var all []endpoint
	for _, name := range slices.Sorted(maps.Keys(c.Services)) {
		s := c.Services[name]
		all = append(all, endpoint{
			kind: service, name: name, typ: s.Type, client: s.Client, sends: s.sends(), service: s,
		})
	}
	for _, name := range slices.Sorted(maps.Keys(c.Workers)) {
		w := c.Workers[name]
		all = append(all, endpoint{kind: worker, name: name, typ: w.Type, client: w.Client, sends: w.sends(), worker: w})
	}
	return all
}

// endpointsNow returns the services and workers of a package.
func endpointsNow(p *ir.Package) []endpoint {
	var all []endpoint
	made := Of(p)
	for _, s := range p.Services {
		signed := slices.ContainsFunc(s.Methods, carries)
		all = append(all, endpoint{
			kind: service, name: s.Name, typ: s.Type, client: s.Client,
			sends: made.Services[s.Name].sends(), distinct: signed || len(s.Methods) > 1,
			service: made.Services[s.Name], pkg: p, allow: s.Allow, methods: s.Methods,
		})
	}
	for _, w := range p.Workers {
		all = append(all, endpoint{
			kind: worker, name: w.Name, typ: w.Type, client: w.Client,
			sends: made.Workers[w.Name].sends(), distinct: w.Payload.Kind != ir.Basic,
			worker: made.Workers[w.Name], pkg: p, allow: w.Allow, payload: w.Payload, result: w.Result,
		})
	}
	return all
}

// sends identifies the wire format of a service.
func (s Service) sends() string {
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(s.Methods)) {
		b.WriteString(name + " " + s.Methods[name].Fingerprint + "\n")
	}
	return b.String()
}

// sends identifies the wire format of a worker.
func (w Worker) sends() string {
	sends := w.Payload.Fingerprint
	if w.Result != nil {
		sends += " " + w.Result.Fingerprint
	}
	return sends
}

// A fate is the result of a search for a declaration of an older contract in the current code.
type fate int

const (
	kept        fate = iota // it has the same name
	renamedWire             // it has another name on the wire and the same in Go
	renamedGo               // it has other names on the wire and in Go, and the same wire format
	maybe                   // it may have been renamed: the wire format of another is equal, but too simple to be certain
	gone
)

// An endpointPair is an endpoint of an older contract with the current one, unless its fate is gone.
type endpointPair struct {
	fate     fate
	old, now endpoint
}

// endpointsOf returns a check for endpoints of one kind.
func endpointsOf(kind string, find func(endpointPair) []string) check {
	return on(func(p endpointPair) []string {
		if p.old.kind != kind {
			return nil
		}
		return find(p)
	})
}

func (p endpointPair) clientMoved() []string {
	if p.fate != kept || p.old.client == p.now.client {
		return nil
	}
	return message("client half of %s moved from %s to %s",
		p.old.name, clientPlace(p.old.client), clientPlace(p.now.client))
}

func clientPlace(client string) string {
	if client == "" {
		return "the type's package"
	}
	return client
}

func (p endpointPair) deleted() []string {
	what := fmt.Sprintf("%s %s (type %s) was removed", p.old.kind, p.old.name, p.old.typ)
	switch {
	case p.fate == gone:
		return []string{what}
	case p.fate == maybe && p.old.kind == worker:
		return message("%s; if it was renamed to %s, //af:worker name=%s keeps the queue name", what, p.now.typ, p.old.name)
	case p.fate == maybe:
		return message("%s; if it was renamed to %s, //af:rpc name=%s keeps the wire name", what, p.now.typ, p.old.name)
	}
	return nil
}

func (p endpointPair) renamed() []string {
	switch {
	case p.fate == renamedGo:
		return message("%s %s (type %s) was renamed to %s (type %s)",
			p.old.kind, p.old.name, p.old.typ, p.now.name, p.now.typ)
	case p.fate == renamedWire && p.old.kind == worker:
		return message("queue of worker %s was renamed from %s to %s", p.now.typ, p.old.name, p.now.name)
	case p.fate == renamedWire:
		return message("service %s was renamed to %s", p.old.name, p.now.name)
	}
	return nil
}

// findEndpoint finds an endpoint of the older contract in the current code.
func (c *comparison) findEndpoint(old endpoint) endpointPair {
	if now, ok := c.now[old.id()]; ok {
		return endpointPair{kept, old, now}
	}
	for _, now := range c.now {
		if now.kind == old.kind && now.pkg.Path == c.old.Package && now.typ == old.typ && !c.old.has(now) {
			return endpointPair{renamedWire, old, now}
		}
	}
	if now, ok := c.sameContent(old.kind)[old.name]; ok {
		if now.distinct {
			return endpointPair{renamedGo, old, now}
		}
		return endpointPair{maybe, old, now}
	}
	return endpointPair{fate: gone, old: old}
}

// has reports whether a contract has an endpoint with the kind and name of e.
func (c Contract) has(e endpoint) bool {
	if e.kind == service {
		_, ok := c.Services[e.name]
		return ok
	}
	_, ok := c.Workers[e.name]
	return ok
}

// sameContent returns endpoints of the compared package with the same wire format and another type name, by old name.
// It ignores types that the older contract has.
func (c *comparison) sameContent(kind string) map[string]endpoint {
	lost, fresh := map[string]string{}, map[string]endpoint{}
	for id, now := range c.now {
		if now.kind == kind && now.pkg.Path == c.old.Package && !c.known[id] {
			fresh[now.name] = now
		}
	}
	for _, old := range c.old.endpoints() {
		if old.kind != kind {
			continue
		}
		if _, still := c.now[old.id()]; !still {
			lost[old.name] = old.sends
		}
		maps.DeleteFunc(fresh, func(_ string, now endpoint) bool { return now.typ == old.typ })
	}
	return pairs(lost, fresh, func(e endpoint) string { return e.sends })
}

// pairs maps the names in lost to the values in fresh with an equal key. Keys must be unique on both sides.
func pairs[T any](lost map[string]string, fresh map[string]T, key func(T) string) map[string]T {
	byKey, count := map[string][]T{}, map[string]int{}
	for _, now := range fresh {
		byKey[key(now)] = append(byKey[key(now)], now)
	}
	for _, k := range lost {
		count[k]++
	}
	found := map[string]T{}
	for name, k := range lost {
		if len(byKey[k]) == 1 && count[k] == 1 {
			found[name] = byKey[k][0]
		}
	}
	return found
}
