package directive_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/afgen/afgen/gen/diag"
	"github.com/afgen/afgen/gen/directive"
)

// scan parses one comment at line 1, column 1. It returns the directive as text, or "", and the problems as code,
// column and underlined text.
func scan(t *testing.T, line string) (d string, is bool, problems []string) {
	t.Helper()
	got, is, list := directive.Scan(line, diag.Pos{File: "a.go", Line: 1, Column: 1})
	if got != nil {
		d = got.String()
		list = append(list, check(got)...)
	}
	list.Sort()
	for _, p := range list {
		problems = append(problems, fmt.Sprintf("%s %d %s", p.Code, p.Pos.Column, line[p.Pos.Column-1:][:p.Width]))
	}
	return d, is, problems
}

type scanCase struct {
	line     string
	want     string   // the directive
	problems []string // code, column, underlined text
}

func (c scanCase) test(t *testing.T) {
	t.Helper()
	d, is, problems := scan(t, c.line)
	if want := c.want != "" || c.problems != nil; is != want {
		t.Errorf("%s: is a directive: %v, want %v", c.line, is, want)
	}
	if d != c.want {
		t.Errorf("%s: got %q, want %q", c.line, d, c.want)
	}
	if d := cmp.Diff(c.problems, problems); d != "" {
		t.Errorf("%s:\n%s", c.line, d)
	}
	if is && !directive.MayContain([]byte("package a\n\n"+c.line+"\n")) {
		t.Errorf("%s: MayContain returns false", c.line)
	}
}

func TestScanValid(t *testing.T) {
	for _, c := range []scanCase{
		{line: "//af:rpc", want: "//af:rpc"},
		{line: "//af:skip", want: "//af:skip"},
		{line: "//af:rpc   name=calc\ttimeout=5s  ", want: "//af:rpc name=calc timeout=5s"},
		{line: "//af:rpc name=calc\r", want: "//af:rpc name=calc"},
		{line: "//af:rpc name=calc\r\n", want: "//af:rpc name=calc"},
		{line: "//af:rpc name=\"calc\" timeout=`5s`", want: "//af:rpc name=calc timeout=5s"},
		{line: `//af:rpc name="c\u0061lc"`, want: "//af:rpc name=calc"},
		{line: "//af:method idempotent timeout=250ms", want: "//af:method idempotent timeout=250ms"},
		{line: "//af:method idempotent=true", want: "//af:method idempotent"},
		{line: "//af:method idempotent=false", want: "//af:method idempotent=false"},
		{line: "//af:skip // not for others", want: "//af:skip"},
		{line: "//af:rpc name=calc // timeout=5s", want: "//af:rpc name=calc"},
		{line: "//af:rpc name=calc\t//timeout=5s", want: "//af:rpc name=calc"},
		{line: "//af:worker weight=-5", want: "//af:worker weight=-5"},
	} {
		c.test(t)
	}
}

func TestScanIgnoresOtherComments(t *testing.T) {
	for _, line := range []string{
		"", "/", "//", "/**/", "/*/", "/*", "// Calc adds.", "//go:generate go tool afgen ./...", "//nolint:all",
		"// af:rpc structs are scanned", "// af:rpc, af:worker and others", "// af:rpc.", "// af:rpc name=x and more",
		"// af:skip this one", "// af:method timeout", "// af:foo bar", "// af:foo", "// af:foo name=x", "// af: works",
		"//    af:rpc", "//\taf:rpc", "// \taf:rpc", "////af:rpc", "// //af:rpc name=calc",
		"//AF:foo", "//af: see the docs", "//af", "// af", "//after:rpc", "//xaf:rpc", "//af rpc",
		"/*\n//af:rpc\ntype Old struct{}\n*/", "/* af:rpc\n   name=x */", "/* Calc\naf:rpc */", "/* see af:rpc */",
		"af:rpc", "type Calc struct{} //af:rpc",
	} {
		scanCase{line: line}.test(t)
	}
}

func TestScanMisspelled(t *testing.T) {
	for _, c := range []scanCase{
		{"//af:rcp", "//af:rpc", []string{"AF0101 6 rcp"}},
		{"//af:rcp name=x", "//af:rpc name=x", []string{"AF0101 6 rcp"}},
		{"//af:RPC", "//af:rpc", []string{"AF0101 6 RPC"}},
		{"//af:workers mx=3", "//af:worker", []string{"AF0101 6 workers", "AF0105 14 mx"}},
		{"//af:foo name=x", "", []string{"AF0101 6 foo"}},
		{"//af:, name=x", "", []string{"AF0101 6 ,"}},
		{"//af:größe", "", []string{"AF0101 6 größe"}},
		{"//af:", "", []string{"AF0101 1 //af:"}},
		{"//af:  ", "", []string{"AF0101 1 //af:"}},
		{"//AF:rpc", "//af:rpc", []string{"AF0101 1 //AF:rpc"}},
		{"//Af:Rpc name=x", "//af:rpc name=x", []string{"AF0101 1 //Af:Rpc"}},
		{"//AF:rcp name=x", "//af:rpc name=x", []string{"AF0101 1 //AF:rcp"}},
		{"//AF:rcp for others", "", nil},
		{"//af: rpc", "//af:rpc", []string{"AF0101 1 //af: rpc"}},
		{"//af:\trpc", "//af:rpc", []string{"AF0101 1 //af:\trpc"}},
		{"//af :rpc", "//af:rpc", []string{"AF0101 1 //af :rpc"}},
		{"//af: rpc name = x", "//af:rpc", []string{"AF0101 1 //af: rpc", "AF0108 15  ="}},
		{"//afgen:rpc", "//af:rpc", []string{"AF0101 1 //afgen:rpc"}},
	} {
		c.test(t)
	}
}

func TestScanPlainComments(t *testing.T) {
	for _, c := range []scanCase{
		{"// af:rpc", "//af:rpc", []string{"AF0102 1 // af:rpc"}},
		{"//  af:rpc", "//af:rpc", []string{"AF0102 1 //  af:rpc"}},
		{"//   af:rpc", "//af:rpc", []string{"AF0102 1 //   af:rpc"}},
		{"// af:rpc name=x", "//af:rpc name=x", []string{"AF0102 1 // af:rpc"}},
		{"// af:rpc name=x // remark", "//af:rpc name=x", []string{"AF0102 1 // af:rpc"}},
		{"// af:rpc name=\"x y\" timout=5s", "//af:rpc name=\"x y\"",
			[]string{"AF0102 1 // af:rpc", "AF0106 16 \"x y\"", "AF0105 22 timout"}},
		{"// af:method idempotent", "//af:method idempotent", []string{"AF0102 1 // af:method"}},
		{"// af:rcp name=x", "//af:rpc name=x", []string{"AF0102 1 // af:rcp"}},
		{"// AF:rpc", "//af:rpc", []string{"AF0102 1 // AF:rpc"}},
		{"/*af:rpc*/", "//af:rpc", []string{"AF0102 1 /*af:rpc"}},
		{"/* af:rpc name=x */", "//af:rpc name=x", []string{"AF0102 1 /* af:rpc"}},
		{"/*af:rpc", "//af:rpc", []string{"AF0102 1 /*af:rpc"}},
	} {
		c.test(t)
	}
}

func TestScanBlockComment(t *testing.T) {
	d, is, problems := directive.Scan("/*\n\n  af:rpc nme=x\n*/", diag.Pos{File: "a.go", Line: 5, Column: 3})
	if !is || d == nil || len(problems) != 2 {
		t.Fatal(d, is, problems)
	}
	want := []diag.Pos{{File: "a.go", Line: 7, Column: 3}, {File: "a.go", Line: 7, Column: 10}}
	if d := cmp.Diff(want, []diag.Pos{problems[0].Pos, problems[1].Pos}); d != "" {
		t.Error(d)
	}
}

func TestScanInvalidArguments(t *testing.T) {
	for _, c := range []scanCase{
		{"//af:rpc timout=5s name=x", "//af:rpc name=x", []string{"AF0105 10 timout"}},
		{"//af:skip name=x", "//af:skip", []string{"AF0105 11 name"}},
		{"//af:skip it is ours", "//af:skip", []string{"AF0105 11 it is ours"}},
		{"//af:rpc it is ours name=x", "//af:rpc name=x", []string{"AF0105 10 it is ours"}},
		{"//af:rpc calc", "//af:rpc", []string{"AF0105 10 calc"}},
		{"//af:rpc nmae max", "//af:rpc", []string{"AF0105 10 nmae", "AF0105 15 max"}},
		{"//af:method client=a/b", "//af:method", []string{"AF0105 13 client"}},
		{"//af:rpc name=x name=y", "//af:rpc name=x", []string{"AF0107 17 name"}},
		{"//af:rpc name=x name=x name=x", "//af:rpc name=x", []string{"AF0107 17 name", "AF0107 24 name"}},
		{"//af:method idempotent idempotent=false", "//af:method idempotent", []string{"AF0107 24 idempotent"}},
		{"//af:rpc=calc", "//af:rpc", []string{"AF0108 9 =calc"}},
		{"//af:rpc,name=x timeout=1s", "//af:rpc timeout=1s", []string{"AF0108 9 ,name=x"}},
		{"//af:rpc//remark", "//af:rpc", []string{"AF0108 9 //remark"}},
		{"//af:rpc name", "//af:rpc", []string{"AF0108 10 name"}},
		{"//af:rpc name=", "//af:rpc", []string{"AF0108 10 name="}},
		{"//af:rpc name= // x", "//af:rpc", []string{"AF0108 10 name="}},
		{"//af:rpc name= timeout=5s", "//af:rpc timeout=5s", []string{"AF0108 10 name="}},
		{"//af:method name= idempotent", "//af:method idempotent", []string{"AF0108 13 name="}},
		{"//af:rpc name= x", "//af:rpc", []string{"AF0108 14 = "}},
		{"//af:rpc name = x", "//af:rpc", []string{"AF0108 14  ="}},
		{"//af:rpc name =x timeout=5s", "//af:rpc timeout=5s", []string{"AF0108 14  ="}},
		{"//af:rpc name =", "//af:rpc", []string{"AF0108 14  ="}},
		{"//af:rpc =x", "//af:rpc", []string{"AF0108 10 ="}},
		{"//af:rpc =", "//af:rpc", []string{"AF0108 10 ="}},
		{"//af:rpc name:x", "//af:rpc", []string{"AF0108 14 :"}},
		{`//af:rpc name="x`, "//af:rpc", []string{`AF0108 15 "`}},
		{"//af:rpc name=`x", "//af:rpc", []string{"AF0108 15 `"}},
		{`//af:rpc name="x\"`, "//af:rpc", []string{`AF0108 15 "`}},
		{`//af:rpc name="\`, "//af:rpc", []string{`AF0108 15 "`}},
		{`//af:rpc name="x"y timeout=5s`, "//af:rpc timeout=5s", []string{`AF0108 18 y`}},
		{`//af:rpc name="\q"`, "//af:rpc", []string{`AF0108 15 "\q"`}},
		{`//af:rpc name='x'`, "//af:rpc", []string{`AF0108 15 '`}},
		{`//af:rpc name=x"y"`, "//af:rpc", []string{`AF0108 16 "`}},
		{`//af:rpc name"x"`, "//af:rpc", []string{`AF0108 14 "x"`}},
		{`//af:rpc "x" timeout=5s`, "//af:rpc timeout=5s", []string{`AF0108 10 "x"`}},
		{"//af:rpc client=example.com/x name=y", "//af:rpc client=example.com/x name=y", nil},
		{"//af:rpc client", "//af:rpc", []string{"AF0108 10 client"}},
		{`//af:schedule cron="* *" id= x`, `//af:schedule cron="* *"`, []string{`AF0108 28 = `}},
	} {
		c.test(t)
	}
}

func TestScanPositions(t *testing.T) {
	d, _, problems := directive.Scan("//af:rpc name=`x` nme=y", diag.Pos{File: "a.go", Line: 9, Column: 4})
	at := func(column int) diag.Pos { return diag.Pos{File: "a.go", Line: 9, Column: column} }
	want := &directive.Directive{Name: "rpc", Pos: at(4), Width: 8, Args: []directive.Arg{
		{Key: "name", Value: "x", Pos: at(13), Width: 4, ValuePos: at(18), ValueWidth: 3},
	}}
	if d := cmp.Diff(want, d); d != "" {
		t.Error(d)
	}
	if len(problems) != 1 || problems[0].Pos != at(22) || problems[0].Width != 3 {
		t.Error(problems)
	}
	if a, ok := d.Arg("name"); !ok || a.Value != "x" {
		t.Error(a, ok)
	}
	if a, ok := d.Arg("timeout"); ok {
		t.Error(a, ok)
	}
}

func TestMayContain(t *testing.T) {
	for _, src := range []string{
		"", ":", "f:", "af", "package a\n\nvar x = map[string]int{\"a\": 1}\n\n//go:build linux\n\n" +
			"func f() { s := t[1:2]; leaf: for {} }\n",
	} {
		want := strings.Contains(src, "leaf:") // a false positive
		if got := directive.MayContain([]byte(src)); got != want {
			t.Errorf("%q: %v", src, got)
		}
	}
}

func FuzzScan(f *testing.F) {
	for _, line := range []string{
		"//af:rpc name=test_server timeout=5s", "//af:method idempotent timeout=250ms // remark", "//af:skip",
		`//af:worker name="resize" max=10 backoff=5 s isolation=process`, "//af:schedule cron=`0 6 * * *`",
		"//af:allow METHOD_DELETED unused // any more", "//af:allow RULE", "//af:allow", "// af:allow A_B c",
		"//af:worker client=a.b/c",
		"//af:rcp", "//AF:rpc", "//af: rpc", "//af :rpc", "// af:rpc name = x", "/*\naf:rpc*/", "/*/",
		`//af:rpc name="\`, "//af:rpc name=x name= =\"\"y 'z' \xff\x00\u00a0", "//af:skip=\r\t",
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		start := diag.Pos{File: "a.go", Line: 1, Column: 1}
		d, is, problems := directive.Scan(line, start)
		if !is {
			if d != nil || problems != nil {
				t.Fatalf("not a directive, but got %v, %v", d, problems)
			}
			return
		}
		if !directive.MayContain([]byte(line)) {
			t.Fatal("MayContain returns false")
		}
		wellFormed := len(problems) == 0
		lines := strings.Split(line, "\n")
		inside := func(p diag.Pos, width int) {
			if p.Line < 1 || p.Line > len(lines) || p.Column < 1 || width < 1 || p.Column-1+width > len(lines[p.Line-1]) {
				t.Fatalf("%v, %d bytes, is outside %q", p, width, line)
			}
		}
		if d != nil {
			inside(d.Pos, d.Width)
			for _, a := range d.Args {
				inside(a.Pos, a.Width)
				inside(a.ValuePos, a.ValueWidth)
			}
			problems = append(problems, check(d)...)
		}
		for _, p := range problems {
			inside(p.Pos, p.Width)
			if p.Message == "" || p.Hint == "" {
				t.Fatalf("no message or hint: %v", p)
			}
		}
		if !wellFormed {
			return
		}
		again, is, problems := directive.Scan(d.String(), start)
		if !is || len(problems) > 0 {
			t.Fatalf("%q parses as %v, %v", d, is, problems)
		}
		ignore := cmpopts.IgnoreFields(directive.Arg{}, "Pos", "Width", "ValuePos", "ValueWidth")
		if d := cmp.Diff(d, again, ignore, cmpopts.IgnoreFields(directive.Directive{}, "Pos", "Width")); d != "" {
			t.Fatal(d)
		}
	})
}
