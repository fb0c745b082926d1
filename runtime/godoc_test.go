package runtime_test

import (
	"go/ast"
	"go/doc"
	"go/doc/comment"
	"go/parser"
	"go/printer"
	"go/token"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	af "github.com/afgen/afgen/runtime"
)

// An alias is a type of package backend that package runtime exports under its own name. Since go doc shows neither its
// fields nor its methods, its doc comment lists them. notForUsers has the exported ones that it omits.
type alias struct {
	typ         reflect.Type
	notForUsers []string
}

var aliases = map[string]alias{
	"Attempt":        {typ: reflect.TypeFor[af.Attempt]()},
	"AttemptOutcome": {typ: reflect.TypeFor[af.AttemptOutcome]()},
	"Backend":        {typ: reflect.TypeFor[af.Backend]()},
	"Code":           {typ: reflect.TypeFor[af.Code]()},
	"Condition":      {typ: reflect.TypeFor[af.Condition]()},
	"Count":          {typ: reflect.TypeFor[af.Count]()},
	"DeadLetter":     {typ: reflect.TypeFor[af.DeadLetter]()},
	"DeadReason":     {typ: reflect.TypeFor[af.DeadReason]()},
	"Error":          {typ: reflect.TypeFor[af.Error]()},
	"ErrorDetail":    {typ: reflect.TypeFor[af.ErrorDetail]()},
	"FailurePolicy":  {typ: reflect.TypeFor[af.FailurePolicy]()},
	"Instance":       {typ: reflect.TypeFor[af.Instance]()},
	"MethodInfo":     {typ: reflect.TypeFor[af.MethodInfo]()},
	"Outcome":        {typ: reflect.TypeFor[af.Outcome]()},
	"PayloadMatch":   {typ: reflect.TypeFor[af.PayloadMatch]()},
	"Request":        {typ: reflect.TypeFor[af.Request]()},
	"Status":         {typ: reflect.TypeFor[af.Status]()},
	// for stores and the engine
	"Task":       {reflect.TypeFor[af.Task](), []string{"Allowed", "Head", "Refund", "Size"}},
	"TaskError":  {typ: reflect.TypeFor[af.TaskError]()},
	"TaskFilter": {reflect.TypeFor[af.TaskFilter](), []string{"IsZero", "Matches"}},
	"TaskPage":   {typ: reflect.TypeFor[af.TaskPage]()},
	"TaskQuery":  {reflect.TypeFor[af.TaskQuery](), []string{"Check", "Takes"}}, // for stores
	"TaskSort":   {typ: reflect.TypeFor[af.TaskSort]()},
}

// ofInstrument are aliases of types of package instrument, which is for users: its documentation has their methods.
var ofInstrument = []string{"Instrumentation", "NoInstrument"}

var ofBackend = regexp.MustCompile(`\bbackend\.\w+`)

func TestAliasCommentsListFieldsAndMethods(t *testing.T) {
	pkg := packageDoc(t)
	for _, typ := range pkg.Types {
		a, ok := aliases[typ.Name]
		if !typ.Decl.Specs[0].(*ast.TypeSpec).Assign.IsValid() || slices.Contains(ofInstrument, typ.Name) {
			continue
		}
		if !ok {
			t.Errorf("%s is an alias: add it to aliases, and to its comment what go doc does not show", typ.Name)
			continue
		}
		want := map[string]string{}
		switch a.typ.Kind() {
		case reflect.Struct:
			for f := range a.typ.Fields() {
				if f.IsExported() {
					want[f.Name] = f.Type.String()
				}
			}
			a.typ = reflect.PointerTo(a.typ)
		}
		for m := range a.typ.Methods() {
			want[m.Name] = signature(m.Type, a.typ.Kind() != reflect.Interface)
		}
		for _, name := range a.notForUsers {
			if want[name] == "" {
				t.Errorf("%s.%s is in notForUsers, but does not exist", typ.Name, name)
			}
			delete(want, name)
		}
		got := listed(t, pkg, typ)
		for name, text := range want {
			text = ofBackend.ReplaceAllStringFunc(text, func(qualified string) string {
				name := strings.TrimPrefix(qualified, "backend.")
				if _, ok := aliases[name]; ok { // it is exported by package runtime
					return name
				}
				return qualified
			})
			if got[name] != text {
				t.Errorf("the comment of %s lists %q as %q, want %q", typ.Name, name, got[name], text)
			}
			delete(got, name)
		}
		for name := range got {
			t.Errorf("the comment of %s lists %s, which does not exist or is not for users", typ.Name, name)
		}
		for _, c := range typ.Consts {
			for _, name := range c.Names {
				if !strings.Contains(typ.Doc, "["+name+"]") {
					t.Errorf("the comment of %s lists its values without %s", typ.Name, name)
				}
			}
		}
	}
}

// listed returns the fields with their types and the methods with their signatures that are listed in the code blocks
// of a type's comment.
func listed(t *testing.T, pkg *doc.Package, typ *doc.Type) map[string]string {
	t.Helper()
	list := map[string]string{}
	for _, block := range pkg.Parser().Parse(typ.Doc).Content {
		code, ok := block.(*comment.Code)
		if !ok {
			continue
		}
		kind := "struct"
		if first, _, _ := strings.Cut(code.Text, " "); strings.Contains(first, "(") {
			kind = "interface"
		}
		expr, err := parser.ParseExpr(kind + " {\n" + code.Text + "}")
		if err != nil {
			t.Errorf("the list in the comment of %s: %v", typ.Name, err)
			continue
		}
		fields := &ast.FieldList{}
		switch expr := expr.(type) {
		case *ast.StructType:
			fields = expr.Fields
		case *ast.InterfaceType:
			fields = expr.Methods
		}
		for line := range strings.Lines(code.Text) {
			if _, meaning, ok := strings.Cut(line, "// "); !ok || meaning == "" {
				t.Errorf("the comment of %s does not explain %s", typ.Name, line)
			}
		}
		for _, f := range fields.List {
			ast.Inspect(f.Type, func(n ast.Node) bool { // names of parameters
				if p, ok := n.(*ast.Field); ok {
					p.Names = nil
				}
				return true
			})
			var text strings.Builder
			if err := printer.Fprint(&text, token.NewFileSet(), f.Type); err != nil {
				t.Fatal(err)
			}
			for _, name := range f.Names {
				list[name.Name] = text.String()
			}
		}
	}
	return list
}

// signature returns the type of a method without its receiver.
func signature(m reflect.Type, receiver bool) string {
	var in, out []reflect.Type
	for p := range m.Ins() {
		in = append(in, p)
	}
	for r := range m.Outs() {
		out = append(out, r)
	}
	if receiver {
		in = in[1:]
	}
	return reflect.FuncOf(in, out, m.IsVariadic()).String()
}

// packageDoc returns the documentation of package runtime.
func packageDoc(t *testing.T) *doc.Package {
	t.Helper()
	fset := token.NewFileSet()
	names, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	var files []*ast.File
	for _, name := range names {
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(fset, name, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, file)
	}
	pkg, err := doc.NewFromFiles(fset, files, "github.com/afgen/afgen/runtime")
	if err != nil {
		t.Fatal(err)
	}
	return pkg
}
