package emit_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/gen/ir"
)

// service returns a package with service S.
func service(methods ...ir.Method) *ir.Package {
	for i, m := range methods {
		if m.Name == "" {
			methods[i].Name = m.GoName
		}
		methods[i].Timeout = 30 * time.Second
	}
	return &ir.Package{
		Path:     shopPath,
		Name:     "shop",
		Services: []ir.Service{{Type: "S", Name: "s", Timeout: 30 * time.Second, Concurrency: 256, Methods: methods}},
		Imports:  map[string]string{},
		Taken:    []string{"S"},
	}
}

// worker returns a package with worker W.
func worker(payload ir.Type, result *ir.Type) *ir.Package {
	return &ir.Package{
		Path: shopPath,
		Name: "shop",
		Workers: []ir.Worker{{Type: "W", Name: "w", Max: 10, Weight: 1, Isolation: "goroutine", Payload: payload,
			Result: result}},
		Imports: map[string]string{},
		Taken:   []string{"W"},
	}
}

// importing adds imports by path and name, and taken names.
func importing(p *ir.Package, imports map[string]string, taken ...string) *ir.Package {
	maps.Copy(p.Imports, imports)
	p.Taken = append(p.Taken, taken...)
	return p
}

// wants reports lines that the Go file of p lacks.
func wants(t *testing.T, p *ir.Package, lines ...string) {
	t.Helper()
	got := mustEmit(t, p)
	have := map[string]bool{}
	for line := range strings.Lines(got) {
		have[strings.TrimSpace(line)] = true
	}
	for _, line := range lines {
		if !have[line] {
			t.Errorf("no line\n\t%s\nin\n%s", line, got)
		}
	}
}

func TestUserNamesTakePrecedence(t *testing.T) {
	integer, text := basic("int"), basic("string")
	tests := []struct {
		name   string
		method ir.Method
		want   []string
	}{
		{"unnamed", ir.Method{Params: []ir.Param{unnamed("arg0", integer), unnamed("arg1", text)},
			Results: []ir.Param{unnamed("result", integer)}}, []string{
			"M(context.Context, int, string) (int, error)",
			"func (c *SClient) M(ctx context.Context, arg0 int, arg1 string) (int, error) {",
			"r, err := afSM.Call(ctx, c.client, afSMArgs{arg0, arg1})",
			"return r.Result, err",
			`Signature:   "(int, string) (int)",`,
		}},
		{"partly_blank", ir.Method{Ctx: "ctx",
			Params: []ir.Param{param("x", integer), unnamed("arg1", integer), param("y", integer)}}, []string{
			"M(ctx context.Context, x, _, y int) error",
			"func (c *SClient) M(ctx context.Context, x, arg1, y int) error {",
			"_, err := afSM.Call(ctx, c.client, afSMArgs{x, arg1, y})",
			`Signature:   "(x, _, y int)",`,
		}},
		{"blank_context", ir.Method{Params: []ir.Param{param("ctx", text), param("callCtx", integer)}}, []string{
			"M(_ context.Context, ctx string, callCtx int) error",
			"func (c *SClient) M(callCtx2 context.Context, ctx string, callCtx int) error {",
		}},
		{"grouped_parameters", ir.Method{Ctx: "ctx", Variadic: true, Params: []ir.Param{
			param("x", integer), param("y", integer), param("s", text), param("z", integer), param("zs", slice(integer)),
			param("more", slice(integer)),
		}}, []string{
			"M(ctx context.Context, x, y int, s string, z int, zs []int, more ...int) error",
			"return struct{}{}, s.M(ctx, a.X, a.Y, a.S, a.Z, a.Zs, a.More...)",
		}},
		{"names_of_locals", ir.Method{Ctx: "err", Params: []ir.Param{param("c", text), param("r", text)},
			Results: []ir.Param{unnamed("result", text)}}, []string{
			"func (client *SClient) M(err context.Context, c, r string) (string, error) {",
			"reply, callErr := afSM.Call(err, client.client, afSMArgs{c, r})",
			"return reply.Result, callErr",
		}},
		{"names_of_fallback_locals", ir.Method{Ctx: "client", Params: []ir.Param{
			param("c", text), param("r", text), param("reply", text), param("err", text), param("callErr", text),
		}, Results: []ir.Param{unnamed("result", text)}}, []string{
			"reply2, callErr2 := afSM.Call(client, client2.client, afSMArgs{c, r, reply, err, callErr})",
		}},
		{"named_error", ir.Method{Ctx: "ctx", Named: true, Err: "err"}, []string{
			"func (c *SClient) M(ctx context.Context) (err error) {",
			"_, err = afSM.Call(ctx, c.client, struct{}{})",
		}},
		{"blank_error", ir.Method{Ctx: "ctx", Named: true}, []string{
			"M(ctx context.Context) (_ error)",
			"_, err := afSM.Call(ctx, c.client, struct{}{})",
		}},
		{"results_named_like_locals", ir.Method{Ctx: "ctx", Named: true, Err: "e", Results: []ir.Param{
			param("r", integer), param("err", integer), unnamed("result2", integer),
		}}, []string{
			"func (c *SClient) M(ctx context.Context) (r, err, _ int, e error) {",
			"reply, e := afSM.Call(ctx, c.client, struct{}{})",
			"return reply.R, reply.Err, reply.Result2, e",
			"r.R, r.Err, r.Result2, err = s.M(ctx)",
			`Signature:   "() (r, err, _ int)",`,
		}},
		{"all_results_blank", ir.Method{Ctx: "ctx", Named: true, Results: []ir.Param{unnamed("result", integer)}}, []string{
			"func (c *SClient) M(ctx context.Context) (_ int, _ error) {",
			"r, err := afSM.Call(ctx, c.client, struct{}{})",
		}},
		{"named_like_imports_and_types", ir.Method{
			Ctx: "context", Named: true, Err: "error",
			Params: []ir.Param{param("af", text), param("time", text), param("string", text), param("nil", text),
				param("true", integer), param("SClient", integer)},
			Results: []ir.Param{param("int", integer), param("struct_", integer), param("any", integer)},
		}, []string{
			"M(context context.Context, af, time, string, nil string, true, SClient int) (int, struct_, any int, error error)",
			"r, error := afSM.Call(context, c.client, afSMArgs{af, time, string, nil, true, SClient})",
			"return r.Int, r.Struct_, r.Any, error",
		}},
		{"named_like_helpers", ir.Method{Ctx: "afSM",
			Params: []ir.Param{param("afSM2Args", text), param("afSMHandler", text)}}, []string{
			"_, err := afSM2.Call(afSM, c.client, afSM2Args2{afSM2Args, afSMHandler})",
		}},
		{"members_without_field_names", ir.Method{Ctx: "ctx", Params: []ir.Param{
			param("_x", integer), param("日", integer), param("x", integer), param("X", integer), param("x2", integer),
			param("ǆ", integer), param("ß", integer),
		}}, []string{
			"X_x int `json:\"_x\"`",
			"X日  int `json:\"日\"`",
			"X   int `json:\"x\"`",
			"X2  int `json:\"X\"`",
			"X22 int `json:\"x2\"`",
			"Ǆ   int `json:\"ǆ\"`",
			"return struct{}{}, s.M(ctx, a.X_x, a.X日, a.X, a.X2, a.X22, a.Ǆ, a.Xß)",
		}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.method.GoName = "M"
			wants(t, service(test.method), test.want...)
		})
	}
}

func TestHelperNames(t *testing.T) {
	two := service(ir.Method{GoName: "GroupList"},
		ir.Method{GoName: "GroupListArgs", Params: []ir.Param{param("x", basic("int"))}})
	two.Services[0].Type, two.Services[0].Name = "User", "user"
	groups := service(ir.Method{GoName: "List", Params: []ir.Param{param("x", basic("int"))}},
		ir.Method{GoName: "ListHandler"}).Services[0]
	groups.Type, groups.Name = "UserGroup", "user_group"
	two.Services = append(two.Services, groups)
	two.Taken = []string{"User", "UserGroup"}
	wants(t, two,
		"af.Bind(&afUserGroupList, afUserGroupListHandler),",
		"af.Bind(&afUserGroupListArgs, afUserGroupListArgsHandler),",
		"type afUserGroupListArgsArgs struct {",
		"af.Bind(&afUserGroupList2, afUserGroupList2Handler),",
		"type afUserGroupList2Args struct {",
		"af.Bind(&afUserGroupListHandler2, afUserGroupListHandler2Handler),",
	)

	method := ir.Method{GoName: "M", Params: []ir.Param{param("x", basic("int"))}}
	wants(t, importing(service(method), nil, "afS", "afS2", "afSMArgs"),
		`var afS3 = af.Service{Name: "s", Type: "S", Concurrency: 256}`,
		"type afSMArgs2 struct {",
	)

	imported := service(method)
	imported.ImportNames = []string{"afS", "afSMArgs"}
	wants(t, imported, `var afS2 = af.Service{Name: "s", Type: "S", Concurrency: 256}`, "type afSMArgs2 struct {")
}

func TestImportNames(t *testing.T) {
	use := func(types ...ir.Type) *ir.Package {
		m := ir.Method{GoName: "M"}
		for _, typ := range types {
			m.Params = append(m.Params, unnamed("arg"+string(rune('0'+len(m.Params))), typ))
		}
		return service(m)
	}
	tests := []struct {
		name string
		pkg  *ir.Package
		want []string
	}{
		{"name_differs_from_path",
			importing(use(other("example.com/go-user/v2", "T")), map[string]string{"example.com/go-user/v2": "user"}),
			[]string{`"example.com/go-user/v2"`, "M(context.Context, user.T) error"}},
		{"same_name_with_different_parents", importing(
			use(other("example.com/admin/user/v2", "T"), other("example.com/shop/user", "T"), other("example.com/user", "T")),
			map[string]string{"example.com/admin/user/v2": "user", "example.com/shop/user": "user", "example.com/user": "user"}),
			[]string{
				`"example.com/admin/user/v2"`, `shopuser "example.com/shop/user"`, `user2 "example.com/user"`,
				"M(context.Context, user.T, shopuser.T, user2.T) error",
				`Signature:   "(example.com/admin/user/v2.T, example.com/shop/user.T, example.com/user.T)",`,
			}},
		{"import_names_declared", importing(use(), nil, "af", "context", "time", "time2"),
			[]string{`context2 "context"`, `time3 "time"`, `af2 "github.com/afgen/afgen/runtime"`, "const _ = af2.Generated1",
				"Timeout:     30 * time3.Second,"}},
		{"import_names_in_other_files", func() *ir.Package {
			p := use()
			p.ImportNames = []string{"af", "context", "time"}
			return p
		}(), []string{`"context"`, `"time"`, `af "github.com/afgen/afgen/runtime"`}},
		{"packages_named_like_imports", importing(
			use(other("a.b/af", "T"), other("a.b/x/context", "T"), other("a.b/x/time", "T")),
			map[string]string{"a.b/af": "af", "a.b/x/context": "context", "a.b/x/time": "time"}),
			[]string{`af2 "a.b/af"`, `xcontext "a.b/x/context"`, `xtime "a.b/x/time"`}},
		{"packages_named_like_predeclared", importing(
			use(other("a.b/string", "T"), other("a.b/err", "T"), other("a.b/init", "T"), other("a.b/c", "T"),
				other("a.b/r", "T"), basic("string")),
			map[string]string{"a.b/string": "string", "a.b/err": "err", "a.b/init": "init", "a.b/c": "c", "a.b/r": "r"}),
			[]string{`string2 "a.b/string"`, `err2 "a.b/err"`, `init2 "a.b/init"`, `"a.b/c"`, `"a.b/r"`}},
		{"packages_named_like_declarations", importing(use(other("a.b/x", "T"), other("a.b/y", "T")),
			map[string]string{"a.b/x": "afS", "a.b/y": "SClient"}),
			[]string{`afS2 "a.b/x"`, `SClient2 "a.b/y"`}},
		{"default_imports", use(other("time", "Duration"), other("context", "Context"), other(runtimePath, "Task")),
			[]string{`"time"`, `"context"`, "M(context.Context, time.Duration, context.Context, af.Task) error",
				`Signature:   "(time.Duration, context.Context, af.Task)",`}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) { wants(t, test.pkg, test.want...) })
	}
}

func TestNoUnusedImports(t *testing.T) {
	p := importing(worker(basic("int"), nil), map[string]string{"example.com/deep": "deep"})
	got := mustEmit(t, p)
	if strings.Contains(got, "deep") || strings.Contains(got, `"time"`) {
		t.Errorf("unused import in\n%s", got)
	}
}

func TestQueueParameterName(t *testing.T) {
	tests := []struct {
		name string
		pkg  *ir.Package
	}{
		{"own_type", worker(own("t"), nil)},
		{"package", importing(worker(other("a.b/t", "T"), nil), map[string]string{"a.b/t": "t"})},
		{"inside", worker(basic("int"), new(slice(own("Page", pointer(own("t"))))))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			wants(t, test.pkg,
				"// NewWQueue returns queue w over tasks, usually an *af.App, without doing I/O.",
				"func NewWQueue(tasks af.TaskClient) *WQueue {")
		})
	}
}
