package scan

import "go/types"

// clientSpelling returns t as the client half in package to can write it. It replaces aliases that the package can't
// refer to by their types. If the client half is in the service's package, it returns t.
func (sc *scanner) clientSpelling(u *unit, to string, t types.Type) types.Type {
	if to == "" {
		return t
	}
	return (&clientSpeller{sc, u.Pkg.PkgPath, to}).replaceAliases(t)
}

// A clientSpeller replaces aliases for one client package.
type clientSpeller struct {
	scanner *scanner
	own, to string
}

func (c *clientSpeller) replaceAliases(t types.Type) types.Type {
	switch t := t.(type) {
	case *types.Alias:
		if t.Obj().Pkg() == nil { // any
			return t
		}
		if !c.mentions(t.Obj().Pkg().Path()) {
			return c.replaceAliases(t.Rhs())
		}
		return c.instance(t, t.Origin(), t.TypeArgs())
	case *types.Named:
		return c.instance(t, t.Origin(), t.TypeArgs())
	case *types.Pointer:
		if elem := c.replaceAliases(t.Elem()); elem != t.Elem() {
			return types.NewPointer(elem)
		}
	case *types.Slice:
		if elem := c.replaceAliases(t.Elem()); elem != t.Elem() {
			return types.NewSlice(elem)
		}
	case *types.Array:
		if elem := c.replaceAliases(t.Elem()); elem != t.Elem() {
			return types.NewArray(elem, t.Len())
		}
	case *types.Map:
		if key, elem := c.replaceAliases(t.Key()), c.replaceAliases(t.Elem()); key != t.Key() || elem != t.Elem() {
			return types.NewMap(key, elem)
		}
	case *types.Struct:
		return c.structure(t)
	}
	return t
}

// instance replaces aliases among the type arguments of a type.
func (c *clientSpeller) instance(t, origin types.Type, args *types.TypeList) types.Type {
	changed := false
	var spelled []types.Type
	for a := range args.Types() {
		s := c.replaceAliases(a)
		spelled, changed = append(spelled, s), changed || s != a
	}
	if !changed {
		return t
	}
	made, err := types.Instantiate(nil, origin, spelled, false)
	if err != nil {
		return t // the checker has reported it
	}
	return made
}

func (c *clientSpeller) structure(t *types.Struct) types.Type {
	changed := false
	var fields []*types.Var
	var tags []string
	for i := range t.NumFields() {
		f := t.Field(i)
		s := f.Type()
		if !f.Embedded() { // an embedded alias gives its name to the field
			s = c.replaceAliases(s)
		}
		changed = changed || s != f.Type()
		fields, tags = append(fields, types.NewField(f.Pos(), f.Pkg(), f.Name(), s, f.Embedded())), append(tags, t.Tag(i))
	}
	if !changed {
		return t
	}
	return types.NewStruct(fields, tags)
}

// mentions reports whether the client package may refer to types of the package path.
func (c *clientSpeller) mentions(path string) bool {
	return path == c.to || path != c.own && mayImport(c.to, path) &&
		c.scanner.importWay(path, c.to, c.scanner.notLeading(c.to)) == nil
}
