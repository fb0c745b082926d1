package diag

import (
	"slices"
	"strings"
)

// An Entry is what the catalogue says of one Code.
type Entry struct {
	Code Code
	// Title is a short phrase.
	Title string
	// Explanation is what the mistake is, why it is one, and how to fix it, in lines of at most 100 columns.
	Explanation string
	// Example shows a wrong piece of Go and the same piece mended, each indented under its heading.
	Example string
}

// Entries returns the whole catalogue, sorted by Code. The caller may change the result.
func Entries() []Entry { return slices.Clone(catalogue) }

// Lookup returns the entry of code, and whether there is one.
func Lookup(code Code) (Entry, bool) {
	i, ok := slices.BinarySearchFunc(catalogue, code, func(e Entry, c Code) int { return strings.Compare(string(e.Code), string(c)) })
	if !ok {
		return Entry{}, false
	}
	return catalogue[i], true
}

// String returns the entry as `afgen explain` prints it, with a newline at its end.
func (e Entry) String() string {
	var b strings.Builder
	b.WriteString(string(e.Code) + ": " + e.Title + "\n\n" + e.Explanation + "\n")
	if e.Example != "" {
		b.WriteString("\n" + e.Example + "\n")
	}
	return b.String()
}

// Markdown returns the whole catalogue as a page, for the documentation.
func Markdown() string {
	families := map[string]string{
		"AF01": "Directives", "AF02": "Annotated types", "AF03": "Methods and what they carry", "AF04": "Workers",
		"AF05": "Files and packages", "AF09": "afgen itself",
	}
	var b strings.Builder
	b.WriteString("# Diagnostics\n\nWhat afgen reports, by code. `afgen explain CODE` prints the same. This page is made from the catalogue in gen/diag.\n")
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

// fix makes an Example of a wrong and a right piece of Go.
func fix(before, after string) string {
	indented := func(code string) string { return "    " + strings.ReplaceAll(code, "\n", "\n    ") }
	return "before:\n" + indented(before) + "\nafter:\n" + indented(after)
}

// The one table of codes, sorted by Code. Its entries are never changed.
var catalogue = []Entry{
	{"AF0101", "misspelt directive",
		`The comment looks like one of afgen's directives, but it is not spelt like one. Were it passed over in
silence, the type would simply have no client. A directive is //af: and its name, in lower case and
without blanks: //af:rpc, //af:method, //af:skip, //af:worker, //af:schedule, //af:allow.`,
		fix("//af:rcp name=calc\ntype Calc struct{}", "//af:rpc name=calc\ntype Calc struct{}")},
	{"AF0102", "a plain comment that should be a directive",
		`Go takes a comment for a directive only if its text follows the // at once; gofmt and go doc treat
anything else as prose, and so does afgen. Remove the blank, or make the block comment a // comment.
If prose is what you meant, word it so that it does not begin with af: and a directive.`,
		fix("// af:rpc name=calc\ntype Calc struct{}", "//af:rpc name=calc\ntype Calc struct{}")},
	{"AF0103", "directive without a declaration",
		`A directive belongs to the declaration right below its comment. A blank line between the two detaches
it, and at the end of a file there is nothing for it to belong to. Remove the blank line, or the
directive.`,
		fix("//af:rpc\n\ntype Calc struct{}", "//af:rpc\ntype Calc struct{}")},
	{"AF0104", "directive on the wrong declaration",
		`//af:rpc, //af:worker and //af:schedule belong to a struct type declared at package level, //af:method
and //af:skip to an exported method of an //af:rpc type. On a function, variable, constant, import,
field, alias, a type inside a function, the package clause, or a method of any other type, they would
mean nothing. Move the directive to the declaration that it is about, or remove it.`,
		fix("//af:rpc\nfunc NewCalc() *Calc { … }\n\ntype Calc struct{}",
			"func NewCalc() *Calc { … }\n\n//af:rpc\ntype Calc struct{}")},
	{"AF0105", "unknown key",
		`The directive has no key of that name. Keys are in lower case and separated by blanks; each directive
has its own. "afgen help directives" lists them all.`,
		fix("//af:rpc timout=5s", "//af:rpc timeout=5s")},
	{"AF0106", "bad value",
		`The value does not suit its key. A duration is a number with a unit, such as 250ms, 5s or 1h30m; a
number is a whole one, without unit; a choice is one of the words listed for it; a name begins with a
letter and has letters, digits, _, - and single dots, at most 100 bytes. Limits are part of the
contract: a value outside of them is refused here rather than cut when the program runs.
"afgen help directives" lists what each key takes.`,
		fix("//af:rpc timeout=5", "//af:rpc timeout=5s")},
	{"AF0107", "key given twice",
		`A key has one value. Were the last one to win, an old value could hide behind a new one. Keep the one
that you mean.`,
		fix("//af:rpc timeout=5s timeout=10s", "//af:rpc timeout=10s")},
	{"AF0108", "syntax of a directive",
		`After its name a directive has key=value pairs and single words (flags), separated by blanks. There is
no blank around the =. A value with blanks is quoted as a Go string, "like this", and the quotes
surround the whole value. What follows a blank and // is a comment.`,
		fix("//af:rpc name = calc\n//af:worker name=\"resize", "//af:rpc name=calc\n//af:worker name=\"resize\"")},
	{"AF0109", "conflicting directives",
		`Two directives exclude each other: a type is either a service or a worker, a method is either remote
(//af:method) or not (//af:skip), and only //af:schedule may be repeated. Keep one of the two.`,
		fix("//af:rpc\n//af:worker\ntype Resize struct{}", "//af:worker\ntype Resize struct{}")},
	{"AF0111", "unknown rule",
		`//af:allow names a rule of "afgen breaking", in capitals with underscores, and then a reason. There is
no rule of that name, so nothing would be allowed. docs/breaking.md lists the rules.`,
		fix("//af:allow METHOD_REMOVED nobody calls it\n//af:rpc\ntype Calc struct{}",
			"//af:allow METHOD_DELETED nobody calls it\n//af:rpc\ntype Calc struct{}")},
	{"AF0115", "key missing",
		`The directive means nothing without that key. A job has an id, by which it is told from all others and
found again after a restart, and a cron expression that says when it is due.`,
		fix("//af:schedule cron=\"0 6 * * *\"", "//af:schedule id=report cron=\"0 6 * * *\"")},
	{"AF0116", "bad cron expression",
		`A cron expression is five fields, minute, hour, day of month, month and day of week, or six with seconds
before them; or @every and a duration of whole seconds; or @yearly, @monthly, @weekly, @daily or @hourly.
A field has values, ranges a-b and *, each with a step /n, separated by commas. A day has to suit both
fields of days where one of these begins with *, and either of them where none does. The time zone is
the key tz. An expression that is never due, such as one for February 30, is refused as well.`,
		fix("//af:schedule id=report cron=\"60 6 * * *\"", "//af:schedule id=report cron=\"0 6 * * *\"")},
	{"AF0117", "unknown time zone",
		`A time zone has an IANA name, such as UTC, Europe/Berlin or America/New_York. Local is none: it would be
another one on each machine.`,
		fix("//af:schedule id=report cron=\"0 6 * * *\" tz=Berlin", "//af:schedule id=report cron=\"0 6 * * *\" tz=Europe/Berlin")},
	{"AF0118", "neither an ip nor a network",
		`allow lists the instances that may run the job's tasks, by their addresses (10.0.0.7, fd00::7) or by
networks (10.1.0.0/16), separated by commas. Names of hosts are not looked up.`,
		fix("//af:schedule id=report cron=@daily allow=reports.example.com", "//af:schedule id=report cron=@daily allow=10.0.0.7")},

	{"AF0201", "annotated type is not exported",
		`Clients are used from other packages, and the generated functions mention the type, so its name has to
begin with an upper-case letter.`,
		fix("//af:rpc\ntype calc struct{}", "//af:rpc\ntype Calc struct{}")},
	{"AF0202", "annotated type is generic",
		`A generic type is a family of types; a service or a queue is one thing with one name. Annotate a type
without type parameters, which may embed or wrap an instance of the generic one.`,
		fix("//af:worker\ntype Index[T any] struct{}", "//af:worker\ntype UserIndex struct{ Index[User] }")},
	{"AF0203", "annotated type is not a struct",
		`A service or worker is a struct type, whose fields are what its methods need. A type of another kind,
an interface for one, cannot be one. Make it a struct that holds the value.`,
		fix("//af:rpc\ntype Calc func(x int) int", "//af:rpc\ntype Calc struct{ Do func(x int) int }")},
	{"AF0204", "name used twice",
		`Two services, or two workers, of one run have the same name. On the wire the name is all there is:
calls for the one would reach the other. Give one of them another name. A service and a worker may
share a name.`,
		fix("//af:rpc name=calc\ntype Calc struct{}\n\n//af:rpc name=calc\ntype FastCalc struct{}",
			"//af:rpc name=calc\ntype Calc struct{}\n\n//af:rpc name=fast_calc\ntype FastCalc struct{}")},
	{"AF0205", "generated name is taken",
		`af_gen.go would declare a name that the package has already; for a service X these are XAPI, XClient,
NewXClient and RegisterX, for a worker XQueue, NewXQueue and RegisterX. Rename your declaration, or
the annotated type.`,
		fix("//af:rpc\ntype Calc struct{}\n\ntype CalcClient struct{}", "//af:rpc\ntype Calc struct{}\n\ntype CalcProxy struct{}")},
	{"AF0206", "service without methods",
		`A service's methods are the exported methods declared on the type itself, those marked //af:skip
excepted. This one has none, so that nothing could be called. Embedded fields' methods do not count.
Export or declare a method, or remove the directive.`,
		fix("//af:rpc\ntype Calc struct{}\n\nfunc (c *Calc) add(ctx context.Context, x, y int) (int, error) { … }",
			"//af:rpc\ntype Calc struct{}\n\nfunc (c *Calc) Add(ctx context.Context, x, y int) (int, error) { … }")},
	{"AF0207", "reserved name",
		`Names that begin with _af belong to afgen, which answers _af/ping, _af/info and _af/stats beside each
service. Choose another name.`,
		fix("//af:rpc name=_af_calc", "//af:rpc name=calc")},
	{"AF0208", "job id used twice",
		`Two jobs of one run have the same id. A job is stored under its id, whatever worker it is for, so that
the one would replace the other each time a program starts. Give one of them another id.`,
		fix("//af:schedule id=report cron=@daily\n//af:schedule id=report cron=@monthly",
			"//af:schedule id=report_daily cron=@daily\n//af:schedule id=report_monthly cron=@monthly")},
	{"AF0211", "client package that cannot be written",
		`With client=PATH afgen writes the client half of the type into the package at PATH. That has to be an
importable package, existing or not, of the module that afgen runs in or of another one in its
workspace, and each service or worker in it needs a file of its own. The message says which of this is
not so.`,
		fix("//af:rpc client=client\ntype Calc struct{}", "//af:rpc client=example.com/shop/client\ntype Calc struct{}")},
	{"AF0212", "type out of a client package's reach",
		`The client half of a service or worker in a package of its own mentions the types of parameters,
results and payloads. Types of the service's own package would make every client link the service, so
they are refused, and so is what the client package may not name: types of internal packages that it
is not below of, and structs without a name that have unexported fields. Move the type to a package
that both sides import; the client package itself is a good place.`,
		fix("package shop\n\n//af:rpc client=example.com/shop/client\ntype Shop struct{}\n\ntype Item struct{ ID string }\n\nfunc (s *Shop) Find(ctx context.Context, id string) (Item, error)",
			"package shop\n\n//af:rpc client=example.com/shop/client\ntype Shop struct{}\n\nfunc (s *Shop) Find(ctx context.Context, id string) (client.Item, error)")},
	{"AF0213", "client package that would import itself",
		`The client half imports the packages of its parameters, results and payloads. One of these imports,
directly or not, the client package, which Go does not allow. Move the type to a package that does not,
or name another package for the client.`,
		fix("package shop\n\n//af:rpc client=example.com/shop/client\ntype Shop struct{} // Find returns an item.Item, and package item imports client",
			"package shop\n\n//af:rpc client=example.com/shop/shopclient\ntype Shop struct{}")},

	{"AF0301", "no context",
		`A remote method takes a context.Context first: it carries the deadline, the cancellation and the
metadata of the call. Add it, or mark the method //af:skip if it is not to be called remotely.`,
		fix("func (c *Calc) Add(x, y int) (int, error)", "func (c *Calc) Add(ctx context.Context, x, y int) (int, error)")},
	{"AF0302", "no error",
		`The last result of a remote method is an error: any call may fail on its way, even if the method itself
cannot. Add it, or mark the method //af:skip if it is not to be called remotely.`,
		fix("func (c *Calc) Add(ctx context.Context, x, y int) int", "func (c *Calc) Add(ctx context.Context, x, y int) (int, error)")},
	{"AF0303", "type cannot travel",
		`Parameters, results and payloads travel as JSON, and have to arrive as they were sent. That is decided by
the rules of encoding/json for the place of the value: a field, an element, a map key. A channel, a
function, a complex number, an unsafe.Pointer and an interface other than any have no JSON form. A type
that encodes itself needs both methods of a pair, MarshalJSON and UnmarshalJSON or MarshalText and
UnmarshalText, the latter with a pointer receiver; in a map the former needs a value receiver. A struct
that embeds such a type has its methods, and then sends nothing else. A map's key has to be a string, an
integer or a type with MarshalText and UnmarshalText. The table in docs/generator.md lists all cases.
Use another type, tag the field json:"-", give the type methods, or mark the method //af:skip.`,
		fix("type Job struct {\n\tName string\n\tDone chan bool\n}", "type Job struct {\n\tName string\n\tDone chan bool `json:\"-\"`\n}")},
	{"AF0304", "two methods of one name",
		`Two methods of a service have the same name on the wire, so that a call could mean either. Give one of
them another name, or none: without one it has that of the Go method.`,
		fix("//af:method name=Get\nfunc (s *Shop) Find(ctx context.Context, id string) (Item, error)\n\nfunc (s *Shop) Get(ctx context.Context) (Shop, error)",
			"func (s *Shop) Find(ctx context.Context, id string) (Item, error)\n\nfunc (s *Shop) Get(ctx context.Context) (Shop, error)")},
	{"AF0305", "two members of one name",
		`The parameters of a method are the members of one JSON object, and so are its results. They are called
as in Go; those without a name are called arg0, arg1 … and result, or result0, result1 …. Two of them
came to the same name. Rename one.`,
		fix("func (c *Calc) Add(ctx context.Context, _ int, arg0 int) error", "func (c *Calc) Add(ctx context.Context, _ int, x int) error")},
	{"AF0306", "type error",
		`Go's type checker does not accept a type in an annotated signature, or in a type that travels: a name
that is not defined, an import that is missing, and the like. Until it does, afgen cannot know what to
generate. Mistakes elsewhere, in function bodies for instance, do not matter here.`,
		fix("func (s *Shop) Find(ctx context.Context, id string) (Itm, error)", "func (s *Shop) Find(ctx context.Context, id string) (Item, error)")},
	{"AF0307", "field that would be lost",
		`A field of something that travels is not sent, or not under the name that it seems to have: it is
not exported, another field of the same name in JSON hides it, two fields of one name annul each
other, or encoding/json ignores what its tag says. Its value would be lost without an error. Export
it, give it a name of its own, or tag it json:"-" if it needn't be sent. An unexported field whose
values are all equal, such as struct{}, does no harm.`,
		fix("type Order struct {\n\tID    string\n\ttotal int\n}", "type Order struct {\n\tID    string\n\tTotal int\n}")},
	{"AF0308", "values lose their Go types (a warning)",
		`In any, JSON keeps its own types only: a struct arrives as map[string]any, a time as a string, an
int as a float64. Integers beyond 2^53 keep their digits and arrive as int64, uint64 or json.Number;
other numbers have the precision of a float64. A big.Float is read with a precision of 64 bits. The
code is generated all the same. Use a concrete type where you can, or json.RawMessage for what is
only passed on.`,
		fix("func (s *Shop) Put(ctx context.Context, item map[string]any) error", "func (s *Shop) Put(ctx context.Context, item Item) error")},
	{"AF0309", "parameter without a name (a warning)",
		`Parameters are members of a JSON object and called as in Go. One without a name is called by its
position: arg0, arg1 and so on. Naming or moving it later changes the wire and breaks older callers.
The code is generated all the same. Give it a name.`,
		fix("func (c *Calc) Add(context.Context, int, int) (int, error)", "func (c *Calc) Add(ctx context.Context, x, y int) (int, error)")},

	{"AF0401", "worker without Run",
		`A worker's Run handles one task of its queue; the type has no such method of its own. Declare one on
the type itself: what it embeds does not count.`,
		fix("//af:worker\ntype Resize struct{}",
			"//af:worker\ntype Resize struct{}\n\nfunc (r *Resize) Run(ctx context.Context, p Picture) (Thumb, error) { … }")},
	{"AF0402", "Run of the wrong shape",
		`Run takes a context.Context and one payload, and returns an error or a result and an error: the
payload is what Submit stores, the result what Wait returns. Put several values into a struct.`,
		fix("func (r *Resize) Run(ctx context.Context, p Picture, width int) error",
			"type Order struct {\n\tPicture Picture\n\tWidth   int\n}\n\nfunc (r *Resize) Run(ctx context.Context, o Order) error")},
	{"AF0403", "SubtasksDone of the wrong shape",
		`A worker's method called SubtasksDone runs after the last subtask of a task has ended. It takes a
context.Context, the payload that Run takes, and af.Subtasks, and returns an error. In another shape it
would never be called. Change it, or give it another name.`,
		fix("func (r *Resize) SubtasksDone(ctx context.Context, p Picture) error",
			"func (r *Resize) SubtasksDone(ctx context.Context, p Picture, s af.Subtasks) error")},

	{"AF0501", "file in the way",
		`afgen writes af_gen.go and af.contract.json beside the annotated package, and overwrites only what it
has written itself. A file of that name exists which does not say so in its first line. Move or rename
it; if it was afgen's and has lost its header, delete it.`,
		fix("af_gen.go: package shop", "af_gen.go: // Code generated by afgen. DO NOT EDIT.")},
	{"AF0502", "syntax error",
		`A file of an annotated package is not valid Go, so that afgen cannot tell which methods there are.
gofmt -l names such files too. Nothing else of the package was checked: fix the file and run afgen
again.`,
		fix("type Calc struct{", "type Calc struct{}")},
	{"AF0503", "package cannot be loaded",
		`The go command could not tell what belongs to a package, or could not provide one that a signature
mentions: a pattern matches nothing, a module is missing, go.mod is broken. "go list" with the same
arguments shows the same fault.`,
		fix("import \"example.com/picture\" // not in go.mod", "go get example.com/picture")},
	{"AF0504", "several packages in one folder",
		`The Go files of a folder have different package clauses. Go allows one package a folder, and its _test
package beside it. Nothing else of the folder was checked. Move the files of the other package, or
correct the clause.`,
		fix("a.go: package shop\nb.go: package store", "a.go: package shop\nb.go: package shop")},

	{"AF0505", "a method that is not on all systems of its type",
		`A remote method is in a file with a build constraint (a //go:build line, a name such as calc_linux.go,
import "C"), and its type is also compiled where that file isn't. Each instance of a service has all of
its methods, so the contract can't depend on where afgen or the instance runs. Declare the method for the
other systems, too, move the type behind the same constraint, or mark the method //af:skip.`,
		fix("calc.go: type Calc struct{}\ncalc_linux.go: func (c *Calc) Load(…) error",
			"calc.go: type Calc struct{}\ncalc_linux.go: func (c *Calc) Load(…) error\ncalc_other.go: //go:build !linux\n              func (c *Calc) Load(…) error")},

	{"AF0506", "outside the module",
		`The directory of the package is a symbolic link, or below one, that leads out of the module. afgen
would write af_gen.go into a directory that is not this module's, so it writes nothing. Run afgen in
the module that the directory is in, or move the directory into this module.`,
		fix("ln -s ../other/shop shop; afgen ./shop", "cd ../other; afgen ./shop")},

	{"AF0507", "another declaration on another system",
		`Several files declare a service, a worker, a remote method or a type that is sent, each for other
systems by its build constraint, and not alike. Callers and instances on different systems would have
different contracts, and afgen check would find other files out of date on each. Give all declarations
the same options, methods, parameters, results and members, or give them different names.`,
		fix("calc_linux.go: func (c *Calc) Load(ctx context.Context, path string) error\ncalc_other.go: func (c *Calc) Load(ctx context.Context, file string) error",
			"calc_linux.go: func (c *Calc) Load(ctx context.Context, path string) error\ncalc_other.go: func (c *Calc) Load(ctx context.Context, path string) error")},

	{"AF0508", "output depends on a file that can't be analysed here",
		`The package has an annotated file whose build constraint no system satisfies that this go command
knows (a newer Go version, for one), and output that was generated for it. That stays as it is, but other
code of the package has changed, and its output shares files with it. Run afgen with a Go version that
compiles the file, or remove the file.`,
		fix("go.mod: go 1.26\nnext.go: //go:build go1.27", "go.mod: go 1.27\nnext.go: //go:build go1.27")},

	{"AF0901", "internal error of afgen",
		`afgen has found itself at fault; your code may be entirely right. Nothing was written. Please report
it, with the message and, if you can, the declaration that it names.`, ""},
}
