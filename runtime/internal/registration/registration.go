// Package registration names the types that a program registers, and finds names that it registers twice.
package registration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"reflect"
	"runtime"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
)

// Job begins the type of a registered job, which is a function; the job's id follows. It is not a Go identifier.
const Job = "Job "

// Type names a registered type with its package, for errors: a program may register types of the same name from several
// packages. pkg is "" if it is unknown. A typ that begins with [Job] is a function given to HandleJob.
func Type(pkg, typ string) string {
	id, job := strings.CutPrefix(typ, Job)
	switch {
	case job && pkg == "":
		return fmt.Sprintf("HandleJob %q", id)
	case job:
		return fmt.Sprintf("HandleJob %q in %s", id, pkg)
	case pkg == "":
		return typ
	}
	return pkg + "." + typ
}

// Func names the function that registered a type: generated code declares it in the package of the type.
func Func(pkg, typ string) string {
	if strings.HasPrefix(typ, Job) {
		return Type(pkg, typ)
	}
	return Type(pkg, "Register"+typ)
}

// PackageOf returns the package that declares fn, or "" if that is unknown or fn is nil.
func PackageOf(fn any) string {
	v := reflect.ValueOf(fn)
	if v.Kind() != reflect.Func || v.IsNil() {
		return ""
	}
	f := runtime.FuncForPC(v.Pointer())
	if f == nil {
		return ""
	}
	name := f.Name() // example.com/shop.main.func1
	slash := strings.LastIndex(name, "/") + 1
	base, _, _ := strings.Cut(name[slash:], ".")
	return name[:slash] + base
}

// A Check collects the errors of registrations. The zero value is ready to use.
type Check struct {
	Errs []error
	seen map[string]string // which type has a name, by kind and name
}

// Add checks a registration with a name, of a kind such as worker, which must be unique among its kind. unique is what
// the name is called, such as queue. err is an error of the registration itself.
func (c *Check) Add(kind, unique, name, pkg, typ string, err error) {
	if err != nil {
		c.Errs = append(c.Errs, err)
	}
	if name == "" {
		c.Errs = append(c.Errs, backend.Errorf(backend.ErrInvalidArgument, "%s: the %s has no name", Func(pkg, typ), kind))
	}
	by := Type(pkg, typ)
	if other, ok := c.seen[kind+" "+name]; ok {
		c.Errs = append(c.Errs, backend.Errorf(backend.ErrAlreadyExists, "%s %q is registered twice: by %s and %s", unique,
			name, other, by))
	}
	if c.seen == nil {
		c.seen = map[string]string{}
	}
	c.seen[kind+" "+name] = by
}

// ArgNames returns the JSON members that encoding/json decodes into the arguments of a method. It returns nil if they
// can't be derived from the type, and an empty slice if there are none.
func ArgNames(args reflect.Type) []string {
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

// Strictly returns a function that returns an error if a payload does not decode as a P, or has unknown members.
func Strictly[P any]() func(json.RawMessage) error {
	return func(payload json.RawMessage) error {
		d := json.NewDecoder(bytes.NewReader(payload))
		d.DisallowUnknownFields()
		return d.Decode(new(P))
	}
}
