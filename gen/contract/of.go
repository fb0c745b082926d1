package contract

import (
	"strings"

	"github.com/afgen/afgen/gen/ir"
)

// Of returns the contract of p.
func Of(p *ir.Package) Contract {
	s := speller{pkg: p, graph: sharedGraph(p), types: map[string]Type{}}
	return Contract{
		Version:  Version,
		Package:  p.Path,
		Services: index(p.Services, s.service),
		Workers:  index(p.Workers, s.worker),
		Types:    s.types,
	}
}

// index returns a map of items. It is nil if there are none, as after decoding a file.
func index[T, V any](items []T, entry func(T) (string, V)) map[string]V {
	if len(items) == 0 {
		return nil
	}
	entries := make(map[string]V, len(items))
	for _, item := range items {
		key, value := entry(item)
		entries[key] = value
	}
	return entries
}

// A speller formats types and collects the named ones.
type speller struct {
	pkg   *ir.Package
	graph *graph // of the fingerprints
	types map[string]Type
}

func (s speller) service(service ir.Service) (name string, _ Service) {
	return service.Name, Service{
		Type:        service.Type,
		Client:      service.Client,
		Constraint:  service.Constraint,
		Timeout:     Duration(service.Timeout),
		Concurrency: service.Concurrency,
		Methods:     index(service.Methods, s.method),
	}
}

func (s speller) method(m ir.Method) (name string, _ Method) {
	method := Method{
		Idempotent:  m.Idempotent,
		Timeout:     Duration(m.Timeout),
		Fingerprint: digest(s.graph.text(s.graph.method(m))),
		Params:      index(m.Params, s.param),
		Results:     index(m.Results, s.param),
		ParamOrder:  orderOf(m.Params),
		ResultOrder: orderOf(m.Results),
	}
	if m.GoName != m.Name {
		method.Go = m.GoName
	}
	return m.Name, method
}

func orderOf(params []ir.Param) string {
	if len(params) < 2 {
		return ""
	}
	members := make([]string, len(params))
	for i, p := range params {
		members[i] = p.Member
	}
	return strings.Join(members, ", ")
}

func (s speller) param(p ir.Param) (member, typ string) { return p.Member, s.spell(p.Type) }

func (s speller) worker(w ir.Worker) (queue string, _ Worker) {
	worker := Worker{
		Type:       w.Type,
		Client:     w.Client,
		Constraint: w.Constraint,
		Max:        w.Max,
		Timeout:    Duration(w.Timeout),
		Retries:    w.Retries,
		MaxCrashes: w.MaxCrashes,
		Backoff:    Duration(w.Backoff),
		BackoffMax: Duration(w.BackoffMax),
		Weight:     w.Weight,
		Isolation:  w.Isolation,
		Payload:    s.value(w.Payload),
		Jobs: index(w.Jobs, func(j ir.Job) (string, Job) {
			return j.ID, Job{Cron: j.Cron, Zone: j.Zone, Allow: j.Allow, Missed: j.Missed, Overlap: j.Overlap}
		}),
	}
	if w.Result != nil {
		result := s.value(*w.Result)
		worker.Result = &result
	}
	return w.Name, worker
}

func (s speller) value(t ir.Type) Value {
	return Value{Type: s.spell(t), Fingerprint: digest(s.graph.text(s.graph.value(t)))}
}

// spell formats t and collects the named types in it.
func (s speller) spell(t ir.Type) string {
	t.Walk(func(t ir.Type) {
		if t.Kind == ir.Named {
			s.collect(t)
		}
	})
	return s.spelling(t)
}

func (s speller) spelling(t ir.Type) string {
	return t.Spell(func(path, name string) string {
		if path == s.pkg.Path {
			return name
		}
		return path + "." + name
	})
}

// collect adds the named type t and the types that it uses.
func (s speller) collect(t ir.Type) {
	name := s.spelling(t)
	def, ok := s.pkg.Defs[t.ID()]
	if _, done := s.types[name]; done || !ok {
		return
	}
	s.types[name] = Type{} // types may be recursive
	described := Type{Encoding: def.Encoding}
	if def.Underlying != nil {
		described.Underlying = s.spell(*def.Underlying)
	}
	for _, m := range def.Members {
		spelled := s.spell(m.Type)
		if m.Name == "" {
			described.Embeds = append(described.Embeds, spelled)
			continue
		}
		if described.Members == nil {
			described.Members = map[string]Member{}
		}
		described.Members[m.Name] = Member{Type: spelled, Quoted: m.Quoted, Optional: m.Optional}
	}
	s.types[name] = described
}
