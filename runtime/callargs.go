package runtime

import (
	"context"
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// argNames returns the JSON members that encoding/json decodes into the arguments of a method. It returns nil if they
// can't be derived from the type, and an empty slice if there are none.
func argNames(args reflect.Type) []string {
	if args.Kind() != reflect.Struct {
		return nil
	}
	names := []string{}
	for f := range args.Fields() {
		tag := f.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		switch {
		case f.Anonymous:
			return nil
		case !f.IsExported() || tag == "-":
			continue
		case name == "":
			name = f.Name
		}
		names = append(names, name)
	}
	return names
}

// argumentsOf returns the names of the arguments of a service's methods, by method. Methods with unknown arguments are
// omitted.
func argumentsOf(methods []MethodSpec) map[string][]string {
	args := map[string][]string{}
	for _, m := range methods {
		if m.Args != nil {
			args[m.Info.Name] = m.Args
		}
	}
	return args
}

// announced caches the announced arguments of the methods that were called by [App.Call].
type announced struct {
	mu      sync.Mutex
	methods map[string]*announcedArgs // by service, slash, method
}

type announcedArgs struct {
	names []string  // that at least one instance takes; nil if unknown
	at    time.Time // when they were read
}

const (
	maxAnnounced   = 1024             // methods in the cache
	announcedFor   = 10 * time.Second // how long an entry is valid, also if reading failed
	announcedMost  = time.Second      // how long a call waits for the registry
	maxListedNames = 20               // in an error
)

// checkArgs returns an error if an argument of a call is misspelt: no instance that serves the method has announced it,
// and one of the announced arguments is missing. If the arguments are unknown, because the registry is unavailable or
// an instance was built with an older version of afgen, checkArgs accepts all. Only callers check: servers ignore
// unknown arguments, so that newer callers can call older servers.
func (a *App) checkArgs(ctx context.Context, service, method string, body json.RawMessage) error {
	var args map[string]json.RawMessage
	if len(body) > backend.MaxMessage || json.Unmarshal(body, &args) != nil || len(args) == 0 {
		return nil
	}
	key := service + "/" + method
	known, ok := a.announced.get(key)
	if _, wrong := known.misspelt(args); ok && !wrong && time.Since(known.at) < announcedFor {
		return nil
	}
	known = announcedArgs{a.announcedArgs(ctx, service, method), time.Now()}
	a.announced.put(key, known)
	name, wrong := known.misspelt(args)
	if !wrong {
		return nil
	}
	return Errorf(ErrInvalidArgument, "%s.%s has no argument %q: it takes %s", service, method, name,
		strings.Join(known.names[:min(len(known.names), maxListedNames)], ", ")).With(OutcomeNotSent)
}

// misspelt returns the first unknown argument, if one of the known arguments is missing. Like encoding/json, it ignores
// case.
func (k announcedArgs) misspelt(args map[string]json.RawMessage) (string, bool) {
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

// announcedArgs returns the arguments that at least one running instance of a method takes, or nil if unknown.
func (a *App) announcedArgs(ctx context.Context, service, method string) []string {
	ctx, cancel := context.WithTimeout(ctx, announcedMost)
	defer cancel()
	all, e, err := a.present(ctx)
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
			c, err := e.registry.contract(ctx, service, s.Contract)
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

func (n *announced) get(key string) (announcedArgs, bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known, ok := n.methods[key]
	if !ok {
		return announcedArgs{}, false
	}
	return *known, true
}

func (n *announced) put(key string, known announcedArgs) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.methods == nil || len(n.methods) >= maxAnnounced {
		n.methods = map[string]*announcedArgs{}
	}
	n.methods[key] = &known
}
