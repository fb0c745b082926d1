package registry

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// knownArgs caches the arguments of methods.
type knownArgs struct {
	mu      sync.Mutex
	methods map[string]*methodArgs // by service, slash, method
}

type methodArgs struct {
	names []string  // that at least one instance takes; nil if unknown
	at    time.Time // when they were read
}

const (
	maxKnown       = 1024             // methods in the cache
	knownFor       = 10 * time.Second // how long an entry is valid, also if reading failed
	lookMost       = time.Second      // how long a call waits for the registry
	maxListedNames = 20               // in an error
)

// CheckArgs returns an error if an argument of a call is misspelt: no instance that serves the method has announced it,
// and one of the announced arguments is missing. If the arguments are unknown, because the registry is unavailable or
// an instance was built with an older version of afgen, CheckArgs accepts all. Only callers check: servers ignore
// unknown arguments, so that newer callers can call older servers.
func (r *Registry) CheckArgs(ctx context.Context, service, method string, body json.RawMessage) error {
	var args map[string]json.RawMessage
	if len(body) > backend.MaxMessage || json.Unmarshal(body, &args) != nil || len(args) == 0 {
		return nil
	}
	key := service + "/" + method
	known, ok := r.known.get(key)
	if _, wrong := known.misspelt(args); ok && !wrong && time.Since(known.at) < knownFor {
		return nil
	}
	known = methodArgs{r.arguments(ctx, service, method), time.Now()}
	r.known.put(key, known)
	name, wrong := known.misspelt(args)
	if !wrong {
		return nil
	}
	return backend.Errorf(backend.ErrInvalidArgument, "%s.%s has no argument %q: it takes %s", service, method, name,
		strings.Join(known.names[:min(len(known.names), maxListedNames)], ", ")).With(backend.OutcomeNotSent)
}

// misspelt returns the first unknown argument, if one of the known arguments is missing. Like encoding/json, it ignores
// case.
func (k methodArgs) misspelt(args map[string]json.RawMessage) (string, bool) {
	given := slices.Sorted(maps.Keys(args))
	missing := slices.ContainsFunc(k.names, func(known string) bool { return !containsFold(given, known) })
	if i := slices.IndexFunc(given, func(name string) bool { return !containsFold(k.names, name) }); missing && i >= 0 {
		return given[i], true
	}
	return "", false
}

func containsFold(names []string, name string) bool {
	return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, name) })
}

// arguments returns the arguments that at least one running instance of a method takes, or nil if unknown.
func (r *Registry) arguments(ctx context.Context, service, method string) []string {
	ctx, cancel := context.WithTimeout(ctx, lookMost)
	defer cancel()
	if r.Ports.Coordinator == nil {
		return nil
	}
	all, err := r.Present(ctx)
	if err != nil {
		return nil // if more than the registry is unavailable, the call fails itself
	}
	var names []string
	read := map[string]bool{}
	for _, in := range all {
		for _, s := range in.Services {
			if s.Name != service || read[s.Contract] {
				continue
			}
			read[s.Contract] = true
			c, err := r.Contract(ctx, service, s.Contract)
			args, known := c.Args[method]
			if err != nil || !known {
				return nil
			}
			if names == nil {
				names = []string{}
			}
			names = append(names, args...)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

func (n *knownArgs) get(key string) (methodArgs, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known, ok := n.methods[key]
	if !ok {
		return methodArgs{}, false
	}
	return *known, true
}

func (n *knownArgs) put(key string, known methodArgs) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.methods == nil || len(n.methods) >= maxKnown {
		n.methods = map[string]*methodArgs{}
	}
	n.methods[key] = &known
}
