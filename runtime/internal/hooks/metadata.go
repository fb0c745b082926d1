package hooks

import (
	"context"
	"maps"

	"github.com/afgen/afgen/runtime/backend"
)

// HeaderTrace is the name of a W3C traceparent in headers and metadata.
const HeaderTrace = "traceparent"

// Join returns the metadata of a task or message: what it inherits, what the instruments inject and what the program
// has set itself, own. Later ones replace earlier ones. If that exceeds the limits of metadata, Join leaves out what
// the instruments inject, and what is inherited under these names, since that is of another span. The result may be
// own or inherited. trace is the traceparent of the current span, or "". Tasks and messages have it anyway, so
// metadata doesn't repeat it: most have no other, and are cheaper to store and to read without. A nil Set injects
// nothing.
func (s *Set) Join(ctx context.Context, inherited, own map[string]string) (metadata map[string]string, trace string) {
	injected := s.inject(ctx)
	trace = s.traceOf(ctx, injected)
	return s.join(inherited, injected, own, trace), trace
}

// join is Join of what was injected. A traceparent equal to trace, which may be "", is left out.
func (s *Set) join(inherited, injected, own map[string]string, trace string) map[string]string {
	plain := inherited
	if len(injected) > 0 {
		all := merge(inherited, injected, own)
		if trace != "" && all[HeaderTrace] == trace {
			delete(all, HeaderTrace) // merge has made the map
		}
		switch {
		case len(all) == 0:
			return nil
		case backend.ValidateMetadata(all) == nil:
			return all
		}
		plain = maps.Clone(inherited)
		for name := range injected {
			delete(plain, name)
		}
	}
	switch {
	case len(plain) == 0:
		plain = own
	case len(own) > 0:
		plain = merge(plain, nil, own)
	}
	if trace != "" && plain[HeaderTrace] == trace {
		if len(plain) == 1 {
			return nil
		}
		plain = maps.Clone(plain) // it may be the program's, or inherited
		delete(plain, HeaderTrace)
	}
	if len(injected) > 0 && backend.ValidateMetadata(plain) == nil { // otherwise the program's own is at fault
		s.leftOut("metadata")
	}
	return plain
}

// Headers returns the headers of a call: what the instruments inject, the traceparent of the caller, if it has one, and
// own, which come from middleware. Later ones replace earlier ones. The headers and the call's metadata have a common
// limit; beyond it, Headers leaves out what the instruments inject. The result may be own. outside returns the
// traceparent of a caller without a span. A nil Set injects nothing.
func (s *Set) Headers(
	ctx context.Context, own, metadata map[string]string, outside func(context.Context) string,
) map[string]string {
	injected := s.inject(ctx)
	trace := s.traceOf(ctx, injected)
	if trace == "" {
		trace = outside(ctx)
	}
	if len(injected) > 0 {
		all := merge(nil, injected, own)
		if all[HeaderTrace] == "" && trace != "" {
			all[HeaderTrace] = trace
		}
		if size(all)+size(metadata) <= backend.MaxMetadata && !has(all, "") {
			return all
		}
		s.leftOut("headers")
	}
	if trace == "" || own[HeaderTrace] != "" {
		return own
	}
	all := make(map[string]string, len(own)+1)
	maps.Copy(all, own)
	all[HeaderTrace] = trace
	return all
}

// merge returns a new map, or injected with the others. An empty value in injected removes an inherited name.
func merge(inherited, injected, own map[string]string) map[string]string {
	if injected != nil && len(inherited) == 0 {
		maps.DeleteFunc(injected, func(_, value string) bool { return value == "" })
		maps.Copy(injected, own)
		return injected
	}
	all := make(map[string]string, len(inherited)+len(injected)+len(own))
	maps.Copy(all, inherited)
	for name, value := range injected {
		if value == "" {
			delete(all, name)
		} else {
			all[name] = value
		}
	}
	maps.Copy(all, own)
	return all
}

func has(m map[string]string, name string) bool {
	_, ok := m[name]
	return ok
}

// size returns the size of metadata as its limit counts it.
func size(md map[string]string) (n int) {
	for name, value := range md {
		n += len(name) + len(value)
	}
	return n
}

func (s *Set) leftOut(what string) {
	if s.warned.First("left out") {
		s.log.Warn("what an instrument injects exceeds the limits of metadata and is left out; further cases are not logged",
			"of", what)
	}
}

// Carrier returns what the instruments inject, within the limits of metadata, for a child process. A nil Set injects
// nothing.
func (s *Set) Carrier(ctx context.Context) map[string]string {
	return s.join(nil, s.inject(ctx), nil, "")
}

// inject returns what all instruments inject; of a name that several of them inject, the value of the first one. The
// map is the caller's.
func (s *Set) inject(ctx context.Context) map[string]string {
	if s == nil {
		return nil
	}
	all := s.injectOne(ctx, 0)
	for i := 1; i < len(s.all); i++ {
		next := s.injectOne(ctx, i)
		if len(all) == 0 {
			all = next
			continue
		}
		for name, value := range next {
			if !has(all, name) {
				all[name] = value
			}
		}
	}
	return all
}

func (s *Set) injectOne(ctx context.Context, i int) map[string]string {
	defer s.recover("Inject")
	return s.all[i].Inject(ctx)
}

// Extract returns a context with what the instruments of the sender have injected: metadata, with its traceparent (see
// [Traced]).
func (s *Set) Extract(ctx context.Context, metadata map[string]string) context.Context {
	for i := range s.all {
		ctx = s.extractOne(ctx, i, metadata)
	}
	return ctx
}

// Traced returns metadata with the traceparent of the sender, trace, unless it has one or trace is malformed. The
// result may be metadata.
func Traced(metadata map[string]string, trace string) map[string]string {
	if !ValidTrace(trace) || metadata[HeaderTrace] != "" {
		return metadata
	}
	all := make(map[string]string, len(metadata)+1)
	maps.Copy(all, metadata)
	all[HeaderTrace] = trace
	return all
}

func (s *Set) extractOne(ctx context.Context, i int, metadata map[string]string) (next context.Context) {
	defer func() {
		if p := recover(); p != nil {
			s.panicked("Extract", p)
		}
		if next == nil {
			next = ctx
		}
	}()
	return s.all[i].Extract(ctx, metadata)
}

// Trace returns the traceparent of the current span, or "". A nil Set returns "".
func (s *Set) Trace(ctx context.Context) string {
	if s == nil {
		return ""
	}
	for i := range s.all {
		if trace := s.traceOne(ctx, i); ValidTrace(trace) {
			return trace
		}
	}
	return ""
}

// traceOf is Trace for a span that was injected. What its instrument has injected needs not be made again.
func (s *Set) traceOf(ctx context.Context, injected map[string]string) string {
	if s != nil && len(s.all) == 1 {
		if trace := injected[HeaderTrace]; ValidTrace(trace) {
			return trace
		}
	}
	return s.Trace(ctx)
}

func (s *Set) traceOne(ctx context.Context, i int) string {
	defer s.recover("Trace")
	return s.all[i].Trace(ctx)
}
