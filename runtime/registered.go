package runtime

import (
	"fmt"
	"reflect"
	"runtime"
	"strings"
)

// registered names a registered type with its package, for errors: a program may register types of the same name from
// several packages. pkg is "" if it is unknown. HandleJob registers functions as types whose names are not Go
// identifiers.
func registered(pkg, typ string) string {
	id, job := strings.CutPrefix(typ, handledType)
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

// registering names the function that registered a type: generated code declares it in the package of the type.
func registering(pkg, typ string) string {
	if strings.HasPrefix(typ, handledType) {
		return registered(pkg, typ)
	}
	return registered(pkg, "Register"+typ)
}

// packageOf returns the package that declares fn, or "" if that is unknown or fn is nil.
func packageOf(fn any) string {
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
