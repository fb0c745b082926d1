package registration

import (
	"reflect"
	"strings"
)

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
