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

// argNames returns the members that encoding/json reads into the arguments of a method, never nil; nil if they can't be
// told from the type alone.
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

// argumentsOf returns the names of the arguments of a service's methods, by method; those that are unknown are missing.
func argumentsOf(methods []MethodSpec) map[string][]string {
	args := map[string][]string{}
	for _, m := range methods {
		if m.Args != nil {
			args[m.Info.Name] = m.Args
		}
	}
	return args
}

// announced are the arguments of methods that an App has called untyped, as instances announce them.
type announced struct {
	mu      sync.Mutex
	methods map[string]*announcedArgs // by service, slash, method
}

type announcedArgs struct {
	names []string  // of any instance; nil if unknown
	at    time.Time // when they were read
}

const (
	maxAnnounced   = 1024             // methods remembered
	announcedFor   = 10 * time.Second // what was read is good for so long, also that nothing could be read
	announcedMost  = time.Second      // how long a call waits for the registry
	maxListedNames = 20               // in an error
)

// checkArgs refuses a call with a misspelt argument: one that no instance which serves the method takes, while one that
// they take is missing. It goes by what instances have announced. If that can't be told, since the registry is unavailable or
// an instance is of an older version of afgen, every argument passes. Servers never check: an older one ignores what a newer
// caller sends.
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

// misspelt returns the first of the arguments that is none of those known, if one of those is missing. encoding/json ignores
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

// announcedArgs returns the arguments that a method takes at any of the instances that serve it now; nil if unknown.
func (a *App) announcedArgs(ctx context.Context, service, method string) []string {
	ctx, cancel := context.WithTimeout(ctx, announcedMost)
	defer cancel()
	all, e, err := a.present(ctx)
	if err != nil {
		return nil // the call will tell, if that is no matter of the registry alone
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
