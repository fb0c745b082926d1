package diag

import (
	"cmp"
	"slices"
	"strings"
)

// An Entry documents one Code.
type Entry struct {
	Code Code
	// Title is a short phrase without a period.
	Title string
	// Explanation describes the problem, its reason and its fix, in lines of at most 100 columns.
	Explanation string
	// Example is a wrong piece of Go and its correction, each indented below a heading. It may be empty.
	Example string
}

// Entries returns the whole catalogue, sorted by Code. The caller may change the result.
func Entries() []Entry { return slices.Clone(catalogue) }

// Lookup returns the entry of code and reports whether it exists.
func Lookup(code Code) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(catalogue, code, func(e Entry, c Code) int { return cmp.Compare(e.Code, c) })
	if !ok {
		return Entry{}, false
	}
	return catalogue[i], true
}

// String returns the entry as `afgen explain` prints it, ending in a newline.
func (e Entry) String() string {
	var b strings.Builder
	b.WriteString(string(e.Code) + ": " + e.Title + "\n\n" + e.Explanation + "\n")
	if e.Example != "" {
		b.WriteString("\n" + e.Example + "\n")
	}
	return b.String()
}

// Markdown returns the catalogue as a page of documentation.
func Markdown() string {
	families := map[string]string{
		"AF01": "Directives", "AF02": "Annotated types", "AF03": "Methods and their types", "AF04": "Workers",
		"AF05": "Files and packages", "AF09": "afgen itself",
	}
	var b strings.Builder
	b.WriteString("# Diagnostics\n\nThis page lists the problems that afgen reports, by code. " +
		"`afgen explain CODE` prints the same text. The page is generated from gen/diag.\n")
	family := ""
	for _, e := range catalogue {
		if f := string(e.Code[:4]); f != family {
			family = f
			b.WriteString("\n## " + families[f] + "\n")
		}
		b.WriteString("\n### " + string(e.Code) + ": " + e.Title + "\n\n" + e.Explanation + "\n")
		if e.Example != "" {
			b.WriteString("\n```go\n" + e.Example + "\n```\n")
		}
	}
	return b.String()
}

// fix returns an Example.
func fix(before, after string) string {
	indented := func(code string) string { return "    " + strings.ReplaceAll(code, "\n", "\n    ") }
	return "before:\n" + indented(before) + "\nafter:\n" + indented(after)
}

// catalogue is sorted by Code and never modified.
var catalogue = []Entry{
	{"AF0101", "misspelled directive",
		`The comment looks like an afgen directive but is misspelled. Ignoring it would silently leave the
type without a client. A directive is //af: followed by its name, in lower case and without spaces:
//af:rpc, //af:method, //af:skip, //af:worker, //af:schedule, //af:allow.`,
		fix("//af:rcp name=calc\ntype Calc struct{}", "//af:rpc name=calc\ntype Calc struct{}")},
	{"AF0102", "plain comment instead of a directive",
		`Go treats a comment as a directive only if its text follows // without a space. gofmt and go doc
treat other comments as text, and so does afgen. Remove the space, or turn the block comment into a
// comment. If the comment is meant as text, reword it so that it doesn't begin with af: and the
name of a directive.`,
		fix("// af:rpc name=calc\ntype Calc struct{}", "//af:rpc name=calc\ntype Calc struct{}")},
	{"AF0103", "directive without a declaration",
		`A directive applies to the declaration directly below its comment. A blank line in between detaches
it, and at the end of a file no declaration follows. Remove the blank line or the directive.`,
		fix("//af:rpc\n\ntype Calc struct{}", "//af:rpc\ntype Calc struct{}")},
	{"AF0104", "directive on the wrong declaration",
		`//af:rpc, //af:worker and //af:schedule apply to package-level struct types, //af:method and
//af:skip to exported methods of //af:rpc types. They have no effect on functions, variables,
constants, imports, fields, aliases, local types, the package clause or methods of other types. Move
the directive to the intended declaration, or remove it.`,
		fix("//af:rpc\nfunc NewCalc() *Calc { … }\n\ntype Calc struct{}",
			"func NewCalc() *Calc { … }\n\n//af:rpc\ntype Calc struct{}")},
	{"AF0105", "unknown key",
		`The directive has no key with that name. Keys are in lower case and separated by spaces. Each
directive has its own keys; "afgen help directives" lists them.`,
		fix("//af:rpc timout=5s", "//af:rpc timeout=5s")},
	{"AF0106", "invalid value",
		`The value is not valid for its key. A duration is a number with a unit, such as 250ms, 5s or 1h30m.
A number is an integer without a unit. A choice is one of the listed words. A name begins with a
letter and contains letters, digits, _, - and single dots, at most 100 bytes. Limits are part of the
contract, so a value outside them is rejected here, not adjusted at run time. "afgen help
directives" lists the values of each key.`,
		fix("//af:rpc timeout=5", "//af:rpc timeout=5s")},
	{"AF0107", "key given twice",
		`Each key has one value. If the last one won, it could hide an outdated one. Keep the intended value.`,
		fix("//af:rpc timeout=5s timeout=10s", "//af:rpc timeout=10s")},
	{"AF0108", "syntax error in a directive",
		`A directive is its name followed by key=value pairs and flags, separated by spaces. The = has no
spaces around it. A value that contains spaces is a quoted Go string, "like this", with quotes
around the whole value. A space followed by // begins a comment.`,
		fix("//af:rpc name = calc\n//af:worker name=\"resize", "//af:rpc name=calc\n//af:worker name=\"resize\"")},
	{"AF0109", "conflicting directives",
		`Two directives exclude each other. A type is either a service or a worker. A method is either remote
(//af:method) or not (//af:skip). Only //af:schedule and //af:allow may be repeated. Keep one of the
two.`,
		fix("//af:rpc\n//af:worker\ntype Resize struct{}", "//af:worker\ntype Resize struct{}")},
	{"AF0111", "unknown rule",
		`//af:allow takes the name of a rule of "afgen breaking", in capitals with underscores, and a reason.
No rule has that name, so the directive would allow nothing. docs/breaking.md lists the rules.`,
		fix("//af:allow METHOD_REMOVED unused since May\n//af:rpc\ntype Calc struct{}",
			"//af:allow METHOD_DELETED unused since May\n//af:rpc\ntype Calc struct{}")},
	{"AF0115", "missing key",
		`The directive requires that key. A job needs an id, which identifies it across restarts, and a cron
expression, which determines when it is due.`,
		fix("//af:schedule cron=\"0 6 * * *\"", "//af:schedule id=report cron=\"0 6 * * *\"")},
	{"AF0116", "invalid cron expression",
		`A cron expression has five fields (minute, hour, day of month, month, day of week), or six with
seconds first. It can also be @every with a duration of whole seconds, or @yearly, @monthly,
@weekly, @daily or @hourly. A field has values, ranges a-b and *, each with an optional step /n,
separated by commas. If a day field begins with *, a day must match both day fields; otherwise it
must match either of them. The key tz sets the time zone. An expression that is never due, such as
one for February 30, is also rejected.`,
		fix("//af:schedule id=report cron=\"60 6 * * *\"", "//af:schedule id=report cron=\"0 6 * * *\"")},
	{"AF0117", "unknown time zone",
		`A time zone is an IANA name, such as UTC, Europe/Berlin or America/New_York. Local is not allowed,
because it differs between machines.`,
		fix(
			"//af:schedule id=report cron=\"0 6 * * *\" tz=Berlin",
			"//af:schedule id=report cron=\"0 6 * * *\" tz=Europe/Berlin",
		)},
	{"AF0118", "invalid address or network",
		`allow lists the instances that may run the job's tasks, as IP addresses (10.0.0.7, fd00::7) and
networks (10.1.0.0/16) separated by commas. Host names are not resolved.`,
		fix(
			"//af:schedule id=report cron=@daily allow=reports.example.com",
			"//af:schedule id=report cron=@daily allow=10.0.0.7",
		)},

	{"AF0201", "annotated type is not exported",
		`Other packages use the client, and generated functions mention the type. Its name must begin with an
upper-case letter.`,
		fix("//af:rpc\ntype calc struct{}", "//af:rpc\ntype Calc struct{}")},
	{"AF0202", "annotated type is generic",
		`A generic type describes many types, but a service or queue has one name. Annotate a type without
type parameters. It may embed or wrap an instance of the generic type.`,
		fix("//af:worker\ntype Index[T any] struct{}", "//af:worker\ntype UserIndex struct{ Index[User] }")},
	{"AF0203", "annotated type is not a struct",
		`A service or worker is a struct type whose fields hold what its methods need. Other types, such as
interfaces, are not supported. Use a struct that holds the value.`,
		fix("//af:rpc\ntype Calc func(x int) int", "//af:rpc\ntype Calc struct{ Do func(x int) int }")},
	{"AF0204", "name used twice",
		`Two services or two workers of one run have the same name. On the wire only the name identifies
them, so calls for one would reach the other. Rename one of them. A service and a worker may share a
name.`,
		fix("//af:rpc name=calc\ntype Calc struct{}\n\n//af:rpc name=calc\ntype FastCalc struct{}",
			"//af:rpc name=calc\ntype Calc struct{}\n\n//af:rpc name=fast_calc\ntype FastCalc struct{}")},
	{"AF0205", "generated name is taken",
		`af_gen.go would declare a name that the package already declares. For a service X the generated
names are XAPI, XClient, NewXClient and RegisterX; for a worker X they are XQueue, NewXQueue and
RegisterX. Rename your declaration or the annotated type.`,
		fix(
			"//af:rpc\ntype Calc struct{}\n\ntype CalcClient struct{}",
			"//af:rpc\ntype Calc struct{}\n\ntype CalcProxy struct{}",
		)},
	{"AF0206", "service without methods",
		`The methods of a service are the exported methods declared on the type itself, except those marked
//af:skip. Methods of embedded fields don't count. This service has no methods, so nothing can be
called. Export or declare a method, or remove the directive.`,
		fix("//af:rpc\ntype Calc struct{}\n\nfunc (c *Calc) add(ctx context.Context, x, y int) (int, error) { … }",
			"//af:rpc\ntype Calc struct{}\n\nfunc (c *Calc) Add(ctx context.Context, x, y int) (int, error) { … }")},
	{"AF0207", "reserved name",
		`Names that begin with _af are reserved for afgen, which adds _af/ping, _af/info and _af/stats to
each service. Choose another name.`,
		fix("//af:rpc name=_af_calc", "//af:rpc name=calc")},
	{"AF0208", "job id used twice",
		`Two jobs of one run have the same id. Jobs are stored by id, regardless of the worker, so they would
replace each other whenever a program starts. Give one of them another id.`,
		fix("//af:schedule id=report cron=@daily\n//af:schedule id=report cron=@monthly",
			"//af:schedule id=report_daily cron=@daily\n//af:schedule id=report_monthly cron=@monthly")},
	{"AF0211", "invalid client package",
		`With client=PATH, afgen writes the client half of the type into the package at PATH. The package
must be importable and belong to the module that afgen runs in or to another module of its
workspace. It need not exist yet. Each service or worker in it needs its own file. The message names
the condition that is not met.`,
		fix("//af:rpc client=client\ntype Calc struct{}", "//af:rpc client=example.com/shop/client\ntype Calc struct{}")},
	{"AF0212", "type that the client package can't use",
		`A client half in its own package mentions the types of parameters, results and payloads. Types of
the service's package are rejected, because they would make every client link the service. Types
that the client package can't refer to are rejected as well: those of internal packages that it may
not import, and anonymous structs with unexported fields. Move the type to a package that both sides
import, such as the client package.`,
		fix(
			"package shop\n\n//af:rpc client=example.com/shop/client\ntype Shop struct{}\n\n"+
				"type Item struct{ ID string }\n\nfunc (s *Shop) Find(ctx context.Context, id string) (Item, error)",
			"package shop\n\n//af:rpc client=example.com/shop/client\ntype Shop struct{}\n\n"+
				"func (s *Shop) Find(ctx context.Context, id string) (client.Item, error)",
		)},
	{"AF0213", "client package would import itself",
		`The client half imports the packages of its parameters, results and payloads. One of them imports
the client package, directly or indirectly, and Go doesn't allow import cycles. Move the type to a
package that doesn't import the client package, or choose another client package.`,
		fix(
			"package shop\n\n//af:rpc client=example.com/shop/client\n"+
				"type Shop struct{} // Find returns an item.Item, and package item imports client",
			"package shop\n\n//af:rpc client=example.com/shop/shopclient\ntype Shop struct{}",
		)},

	{"AF0301", "missing context",
		`The first parameter of a remote method is a context.Context. It carries the deadline, cancellation
and metadata of the call. Add it, or mark the method //af:skip if it must not be called remotely.`,
		fix("func (c *Calc) Add(x, y int) (int, error)", "func (c *Calc) Add(ctx context.Context, x, y int) (int, error)")},
	{"AF0302", "missing error",
		`The last result of a remote method is an error, because any call can fail in transit. Add it, or
mark the method //af:skip if it must not be called remotely.`,
		fix(
			"func (c *Calc) Add(ctx context.Context, x, y int) int",
			"func (c *Calc) Add(ctx context.Context, x, y int) (int, error)",
		)},
	{"AF0303", "type that can't be sent",
		`Parameters, results and payloads are sent as JSON and must arrive unchanged. The rules of
encoding/json apply to each value where it occurs: in a field, an element or a map key. Channels,
functions, complex numbers, unsafe.Pointer and interfaces other than any have no JSON form. A type
with its own encoding needs both MarshalJSON and UnmarshalJSON, or both MarshalText and
UnmarshalText. The unmarshal method needs a pointer receiver; in a map, the marshal method needs a
value receiver. A struct that embeds such a type inherits its methods, so its other fields are not
sent. A map key must be a string, an integer or a type with MarshalText and UnmarshalText.
docs/generator.md lists all cases. Use another type, tag the field json:"-", declare the methods, or
mark the method //af:skip.`,
		fix(
			"type Job struct {\n\tName string\n\tDone chan bool\n}",
			"type Job struct {\n\tName string\n\tDone chan bool `json:\"-\"`\n}",
		)},
	{"AF0304", "method name used twice",
		`Two methods of a service have the same name on the wire, so a call would be ambiguous. Change or
remove one of the names. By default a method is called as in Go.`,
		fix(
			"//af:method name=Get\nfunc (s *Shop) Find(ctx context.Context, id string) (Item, error)\n\n"+
				"func (s *Shop) Get(ctx context.Context) (Shop, error)",
			"func (s *Shop) Find(ctx context.Context, id string) (Item, error)\n\n"+
				"func (s *Shop) Get(ctx context.Context) (Shop, error)",
		)},
	{"AF0305", "member name used twice",
		`The parameters of a method are the members of one JSON object, and so are its results. They are
named as in Go. Unnamed ones are called arg0, arg1 … and result, or result0, result1 …. Two of them
have the same name. Rename one.`,
		fix(
			"func (c *Calc) Add(ctx context.Context, _ int, arg0 int) error",
			"func (c *Calc) Add(ctx context.Context, _ int, x int) error",
		)},
	{"AF0306", "type error",
		`Go's type checker rejects a type in an annotated signature, or in a type that is sent: a name is
undefined, or an import is missing. afgen can't generate code until this is fixed. Errors elsewhere,
such as in function bodies, don't matter.`,
		fix(
			"func (s *Shop) Find(ctx context.Context, id string) (Itm, error)",
			"func (s *Shop) Find(ctx context.Context, id string) (Item, error)",
		)},
	{"AF0307", "field that would be lost",
		`A field of a type that is sent is not encoded, or has another name in JSON than its tag suggests. It
is not exported, another field with the same JSON name hides it, two fields with one name cancel
each other out, or encoding/json ignores its tag. The value would be lost without an error. Export
the field, give it a unique name, or tag it json:"-" if it needn't be sent. An unexported field
whose values are all equal, such as struct{}, is allowed.`,
		fix("type Order struct {\n\tID    string\n\ttotal int\n}", "type Order struct {\n\tID    string\n\tTotal int\n}")},
	{"AF0308", "values lose their Go types (a warning)",
		`JSON has fewer types than Go. In any, a struct arrives as map[string]any, a time as a string and an
int as a float64. Integers beyond 2^53 keep their digits and arrive as int64, uint64 or json.Number.
Other numbers have the precision of a float64. A big.Float is decoded with a precision of 64 bits.
Code is generated anyway. Use a concrete type if you can, or json.RawMessage for values that are
only passed on.`,
		fix(
			"func (s *Shop) Put(ctx context.Context, item map[string]any) error",
			"func (s *Shop) Put(ctx context.Context, item Item) error",
		)},
	{"AF0309", "unnamed parameter (a warning)",
		`Parameters are members of a JSON object and are named as in Go. An unnamed one is called by its
position: arg0, arg1 and so on. Naming or moving it later changes the wire format and breaks older
callers. Code is generated anyway. Name the parameter.`,
		fix(
			"func (c *Calc) Add(context.Context, int, int) (int, error)",
			"func (c *Calc) Add(ctx context.Context, x, y int) (int, error)",
		)},

	{"AF0401", "worker without Run",
		`A worker's Run method handles one task of its queue. Declare it on the type itself; methods of
embedded types don't count.`,
		fix("//af:worker\ntype Resize struct{}",
			"//af:worker\ntype Resize struct{}\n\nfunc (r *Resize) Run(ctx context.Context, p Picture) (Thumb, error) { … }")},
	{"AF0402", "wrong signature of Run",
		`Run takes a context.Context and one payload, and returns an error, or a result and an error. Submit
stores the payload, and Wait returns the result. Use a struct to pass several values.`,
		fix(
			"func (r *Resize) Run(ctx context.Context, p Picture, width int) error",
			"type Order struct {\n\tPicture Picture\n\tWidth   int\n}\n\n"+
				"func (r *Resize) Run(ctx context.Context, o Order) error",
		)},
	{"AF0403", "wrong signature of SubtasksDone",
		`A worker's SubtasksDone method runs after the last subtask of a task has ended. It takes a
context.Context, the payload type of Run and af.Subtasks, and returns an error. With another
signature it would never be called. Change the signature, or rename the method.`,
		fix("func (r *Resize) SubtasksDone(ctx context.Context, p Picture) error",
			"func (r *Resize) SubtasksDone(ctx context.Context, p Picture, s af.Subtasks) error")},
	{"AF0404", "wrong signature of Backoff",
		`A worker's Backoff method returns the delay before a task is tried again. It takes the number of the
failed attempt and its error, and returns a time.Duration. With another signature it would never be
called. Change the signature, or rename the method.`,
		fix("func (r *Resize) Backoff(attempt int) time.Duration",
			"func (r *Resize) Backoff(attempt int, err error) time.Duration")},

	{"AF0501", "file in the way",
		`afgen writes af_gen.go and af.contract.json next to the annotated package, and overwrites only its
own files. A file with one of these names exists and doesn't begin like a generated file. Move or
rename it. If afgen generated it and its header is lost, delete it.`,
		fix("af_gen.go: package shop", "af_gen.go: // Code generated by afgen. DO NOT EDIT.")},
	{"AF0502", "syntax error",
		`A file of an annotated package is not valid Go, so afgen can't find its methods. gofmt -l lists such
files, too. The rest of the package was not checked. Fix the file and run afgen again.`,
		fix("type Calc struct{", "type Calc struct{}")},
	{"AF0503", "package can't be loaded",
		`The go command can't list the package, or can't load a package that a signature mentions. For
example, a pattern matches nothing, a module is missing, or go.mod is invalid. "go list" with the
same arguments reports the same error.`,
		fix("import \"example.com/picture\" // not in go.mod", "go get example.com/picture")},
	{"AF0504", "several packages in one directory",
		`The Go files of a directory have different package clauses. Go allows one package per directory, and
its _test package. The rest of the directory was not checked. Move the files of the other package,
or fix the package clause.`,
		fix("a.go: package shop\nb.go: package store", "a.go: package shop\nb.go: package shop")},

	{"AF0505", "method that is missing on some systems",
		`A remote method is in a file with a build constraint (a //go:build line, a name such as
calc_linux.go, import "C"), and its type is also compiled without that file. Every instance of a
service has all of its methods, so the contract can't depend on the system of afgen or of an
instance. Declare the method for the other systems, put the type behind the same constraint, or mark
the method //af:skip.`,
		fix(
			"calc.go: type Calc struct{}\ncalc_linux.go: func (c *Calc) Load(…) error",
			"calc.go: type Calc struct{}\ncalc_linux.go: func (c *Calc) Load(…) error\ncalc_other.go: //go:build !linux\n"+
				"              func (c *Calc) Load(…) error",
		)},

	{"AF0506", "directory outside the module",
		`The directory of the package is, or is below, a symbolic link that leads out of the module. afgen
would write af_gen.go into a directory outside the module, so it writes nothing. Run afgen in the
module that contains the directory, or move the directory into this module.`,
		fix("ln -s ../other/shop shop; afgen ./shop", "cd ../other; afgen ./shop")},

	{"AF0507", "declaration that differs between systems",
		`Several files declare a service, a worker, a remote method or a type that is sent, for different
systems by their build constraints, and the declarations differ. Callers and instances on different
systems would have different contracts, and afgen check would report different files on each. Give
all declarations the same options, methods, parameters, results and members, or give them different
names.`,
		fix(
			"calc_linux.go: func (c *Calc) Load(ctx context.Context, path string) error\n"+
				"calc_other.go: func (c *Calc) Load(ctx context.Context, file string) error",
			"calc_linux.go: func (c *Calc) Load(ctx context.Context, path string) error\n"+
				"calc_other.go: func (c *Calc) Load(ctx context.Context, path string) error",
		)},

	{"AF0508", "output depends on a file that can't be analyzed",
		`The package has an annotated file with a build constraint that this go command can't satisfy on any
system, for example because it requires a newer Go version. afgen keeps the output for that file.
But other code of the package has changed, and its output shares files with the output for that
file. Run afgen with a Go version that compiles the file, or remove the file.`,
		fix("go.mod: go 1.26\nnext.go: //go:build go1.27", "go.mod: go 1.27\nnext.go: //go:build go1.27")},

	{"AF0901", "internal error of afgen",
		`afgen has a bug; your code may be correct. Nothing was written. Please report the message and, if
possible, the declaration that it names.`, ""},
}
