// Package ir is the generator's intermediate representation: what the annotated Go code says, as plain data.
//
// It holds no go/types objects and no positions, so it marshals to JSON and back without loss, compares with
// reflect.DeepEqual and means the same on every machine. Package scan makes it; emit and contract read it; nothing
// changes it in between. Everything that needs a position (diagnostics) has been said before an ir.Package exists, so
// its readers may rely on what scan has checked: names are valid and unique, types can travel.
//
// A Package holds Services and Workers. A Service has Methods, a Method has Params and Results, and each of those has
// a Type, which can be spelled as Go source. Defs describes, once each, the named types that Types mention, down to
// what encoding/json sends of them: it is what fingerprints and the contract file are made of.
package ir

import "time"

// A Package is one Go package with at least one annotated type.
type Package struct {
	// Path is the import path, Name what its package clause says.
	Path string `json:"path"`
	Name string `json:"name"`
	// Services and Workers are sorted by Type.
	Services []Service `json:"services,omitempty"`
	Workers  []Worker  `json:"workers,omitempty"`
	// Defs has the named types reachable through exported fields from Params, Results and payloads, by Type.ID.
	Defs map[string]Def `json:"defs,omitempty"`
	// Imports has the package name (as its clause says, not as its path suggests) of every import path that a Type
	// mentions, its own package excepted.
	Imports map[string]string `json:"imports,omitempty"`
	// Taken lists, sorted, the identifiers declared at package level in any file of the directory: generated package-level
	// names and import names must avoid them. ImportNames lists those that files of the directory import by: only generated
	// package-level names must avoid these.
	Taken       []string `json:"taken,omitempty"`
	ImportNames []string `json:"importNames,omitempty"`
}

// A Client is a package that client halves go into, of services and workers of other packages. It need not exist yet.
type Client struct {
	Path string `json:"path"`
	Name string `json:"name"`
	// Taken and ImportNames are as those of a Package.
	Taken       []string `json:"taken,omitempty"`
	ImportNames []string `json:"importNames,omitempty"`
}

// A Service is a struct type with //af:rpc.
type Service struct {
	Type        string        `json:"type"` // the Go type's name
	Name        string        `json:"name"` // the service's name on the wire
	Doc         string        `json:"doc,omitempty"`
	Timeout     time.Duration `json:"timeout"`
	Concurrency int           `json:"concurrency"`
	Client      string        `json:"client,omitempty"` // the Path of the Client for its client half; "" for its own package
	Methods     []Method      `json:"methods"`          // sorted by GoName
	Allow       []Allow       `json:"allow,omitempty"`
	// Constraint is the build constraint of its source, as a //go:build line spells it; "" for none. ClientConstraint is
	// that of its client half: the same if a type that its methods mention is behind a constraint, else "".
	Constraint       string `json:"constraint,omitempty"`
	ClientConstraint string `json:"clientConstraint,omitempty"`
}

// A Method is a remote method of a Service.
type Method struct {
	GoName     string        `json:"goName"`
	Name       string        `json:"name"` // on the wire
	Doc        string        `json:"doc,omitempty"`
	Timeout    time.Duration `json:"timeout"` // its own, or its service's
	Idempotent bool          `json:"idempotent,omitempty"`
	Ctx        string        `json:"ctx,omitempty"` // the user's name of the context parameter; "" where unnamed or blank
	Params     []Param       `json:"params,omitempty"`
	Variadic   bool          `json:"variadic,omitempty"` // the last Param is variadic; its Type is the slice
	Results    []Param       `json:"results,omitempty"`  // without the error
	// Named reports whether the results are named in the source; Err is the error's name then ("" for the blank one).
	Named bool    `json:"named,omitempty"`
	Err   string  `json:"err,omitempty"`
	Allow []Allow `json:"allow,omitempty"`
}

// A Param is one parameter after the context, or one result before the error.
type Param struct {
	Name   string `json:"name,omitempty"` // in the source; "" where unnamed or blank
	Member string `json:"member"`         // its member of the JSON object on the wire
	Type   Type   `json:"type"`
}

// A Worker is a struct type with //af:worker.
type Worker struct {
	Type       string        `json:"type"`
	Name       string        `json:"name"` // of its queue
	Doc        string        `json:"doc,omitempty"`
	Max        int           `json:"max"`
	Timeout    time.Duration `json:"timeout,omitempty"` // 0: none
	Retries    int           `json:"retries,omitempty"`
	MaxCrashes int           `json:"maxCrashes,omitempty"` // 0: the App's
	Backoff    time.Duration `json:"backoff"`
	Weight     int           `json:"weight"`
	Isolation  string        `json:"isolation"`        // "goroutine" or "process"
	Client     string        `json:"client,omitempty"` // as of Service
	Payload    Type          `json:"payload"`
	Result     *Type         `json:"result,omitempty"` // nil where Run returns only an error
	// SubtasksDone reports whether the type has the optional method of that name, in its one right shape.
	SubtasksDone bool    `json:"subtasksDone,omitempty"`
	Allow        []Allow `json:"allow,omitempty"`
	// Jobs are its //af:schedule directives, sorted by ID.
	Jobs []Job `json:"jobs,omitempty"`
	// Constraint and ClientConstraint are as those of a Service.
	Constraint       string `json:"constraint,omitempty"`
	ClientConstraint string `json:"clientConstraint,omitempty"`
}

// An Allow lets afgen breaking pass over what it finds by one rule, at a service and all its methods, a method, or a
// worker.
type Allow struct {
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
}

// A Job submits the zero value of a Worker's payload at set times.
type Job struct {
	ID      string   `json:"id"`
	Cron    string   `json:"cron"` // as package cron reads it
	Zone    string   `json:"zone"` // an IANA name
	Allow   []string `json:"allow,omitempty"`
	Missed  string   `json:"missed"`
	Overlap string   `json:"overlap"`
}

// A Kind says which of a Type's fields count.
type Kind string

const (
	Basic   Kind = "basic"   // Name, a predeclared type; any and comparable spellings such as byte and rune are kept
	Named   Kind = "named"   // Path, Name, Args; a defined type or an alias, spelled as the user did
	Pointer Kind = "pointer" // Elem
	Slice   Kind = "slice"   // Elem
	Array   Kind = "array"   // Len, Elem
	Map     Kind = "map"     // Key, Elem
	Struct  Kind = "struct"  // Fields: an anonymous struct
	Any     Kind = "any"     // any or interface{}; Name is the spelling
)

// A Type is a Go type as the source spells it.
type Type struct {
	Kind   Kind    `json:"kind"`
	Path   string  `json:"path,omitempty"` // import path of a Named type; never ""
	Name   string  `json:"name,omitempty"`
	Args   []Type  `json:"args,omitempty"` // type arguments of a Named type
	Key    *Type   `json:"key,omitempty"`
	Elem   *Type   `json:"elem,omitempty"`
	Len    int64   `json:"len,omitempty"`
	Fields []Field `json:"fields,omitempty"`
}

// A Field is one field of an anonymous struct, unexported ones included: they belong to the type's identity.
type Field struct {
	Name     string `json:"name"`
	Embedded bool   `json:"embedded,omitempty"`
	Tag      string `json:"tag,omitempty"` // unquoted
	Type     Type   `json:"type"`
}

// How a Def travels.
const (
	EncodingJSON = "json" // by its own MarshalJSON and UnmarshalJSON
	EncodingText = "text" // by its own MarshalText and UnmarshalText
)

// A Def is what encoding/json makes of one named type. Exactly one of Encoding, Members and Underlying says it
// (a struct without exported fields has none of them).
type Def struct {
	Encoding   string   `json:"encoding,omitempty"`
	Members    []Member `json:"members,omitempty"`
	Underlying *Type    `json:"underlying,omitempty"` // if it is not a struct
	// Standard reports a struct of the standard library, which may have other fields in other versions of Go.
	Standard bool `json:"standard,omitempty"`
}

// A Member is one exported field of a Def that is a struct, in source order.
type Member struct {
	Name     string `json:"name"`               // in JSON; "" for an embedded struct whose members are promoted
	Optional bool   `json:"optional,omitempty"` // omitempty or omitzero
	Quoted   bool   `json:"quoted,omitempty"`   // the "string" option
	Type     Type   `json:"type"`
}
