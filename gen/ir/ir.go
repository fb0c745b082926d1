// Package ir defines the generator's intermediate representation of annotated Go code.
//
// The representation is plain data without go/types objects and positions. It can be encoded as JSON without loss and
// compared with reflect.DeepEqual, and is the same on every machine. Package scan creates it, and emit and contract
// read it. They may rely on the checks of scan: names are valid and unique, and values of all types can be sent.
//
// A [Package] has services and workers. A [Service] has methods, a [Method] has parameters and results, and these have
// a [Type], which can be formatted as Go source. Package.Defs describes the JSON of the named types that types mention.
// It is the base of fingerprints and contracts.
package ir

import "time"

// A Package is one Go package with at least one annotated type.
type Package struct {
	// Path is the import path, and Name the name in the package clause.
	Path string `json:"path"`
	Name string `json:"name"`
	// Services and Workers are sorted by Type.
	Services []Service `json:"services,omitempty"`
	Workers  []Worker  `json:"workers,omitempty"`
	// Defs has the named types that are reachable through exported fields from parameters, results and payloads, by
	// Type.ID.
	Defs map[string]Def `json:"defs,omitempty"`
	// Imports has the names of packages that types mention, by import path, without this package. They are the names in
	// the package clauses.
	Imports map[string]string `json:"imports,omitempty"`
	// Taken are the package-level identifiers in all files of the directory, sorted. Generated declarations and imports
	// must not use them. ImportNames are the names of imports in these files, sorted. Generated declarations must not use
	// them.
	Taken       []string `json:"taken,omitempty"`
	ImportNames []string `json:"importNames,omitempty"`
}

// A Client is a package for client halves of services and workers in other packages. It need not exist.
type Client struct {
	Path string `json:"path"`
	Name string `json:"name"`
	// Taken and ImportNames are as in Package.
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
	Client      string        `json:"client,omitempty"` // import path of the package for its client half; "" for its own
	Methods     []Method      `json:"methods"`          // sorted by GoName
	Allow       []Allow       `json:"allow,omitempty"`
	// Constraint is the build constraint of its source as in a //go:build line, or "". ClientConstraint is the constraint
	// of its client half: the same if a type that its methods mention has a constraint, otherwise "".
	Constraint       string `json:"constraint,omitempty"`
	ClientConstraint string `json:"clientConstraint,omitempty"`
}

// A Method is a remote method of a Service.
type Method struct {
	GoName     string        `json:"goName"`
	Name       string        `json:"name"` // on the wire
	Doc        string        `json:"doc,omitempty"`
	Timeout    time.Duration `json:"timeout"` // its own or that of the service
	Idempotent bool          `json:"idempotent,omitempty"`
	Ctx        string        `json:"ctx,omitempty"` // name of the context parameter; "" if unnamed or blank
	Params     []Param       `json:"params,omitempty"`
	Variadic   bool          `json:"variadic,omitempty"` // the last parameter is variadic; its type is the slice
	Results    []Param       `json:"results,omitempty"`  // without the error
	// Named reports whether the results are named in the source. If so, Err is the name of the error, or "" if blank.
	Named bool    `json:"named,omitempty"`
	Err   string  `json:"err,omitempty"`
	Allow []Allow `json:"allow,omitempty"`
}

// A Param is one parameter after the context, or one result before the error.
type Param struct {
	Name   string `json:"name,omitempty"` // in the source; "" if unnamed or blank
	Member string `json:"member"`         // name of the JSON member on the wire
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
	BackoffMax time.Duration `json:"backoffMax,omitempty"` // 0: the runtime's default
	Weight     int           `json:"weight"`
	Isolation  string        `json:"isolation"`        // "goroutine" or "process"
	Client     string        `json:"client,omitempty"` // as in Service
	Payload    Type          `json:"payload"`
	Result     *Type         `json:"result,omitempty"` // nil if Run returns only an error
	// SubtasksDone reports whether the type has the optional method with that name.
	SubtasksDone bool `json:"subtasksDone,omitempty"`
	// OwnBackoff reports whether the type has the optional method Backoff.
	OwnBackoff bool    `json:"ownBackoff,omitempty"`
	Allow      []Allow `json:"allow,omitempty"`
	// Jobs are its //af:schedule directives, sorted by ID.
	Jobs []Job `json:"jobs,omitempty"`
	// Constraint and ClientConstraint are as in Service.
	Constraint       string `json:"constraint,omitempty"`
	ClientConstraint string `json:"clientConstraint,omitempty"`
}

// An Allow is an //af:allow directive. afgen breaking ignores the findings of a rule in a service with its methods, a
// method or a worker.
type Allow struct {
	Rule   string `json:"rule"`
	Reason string `json:"reason"`
}

// A Job is an //af:schedule directive of a Worker.
type Job struct {
	ID      string   `json:"id"`
	Cron    string   `json:"cron"` // see package cron
	Zone    string   `json:"zone"` // an IANA name
	Allow   []string `json:"allow,omitempty"`
	Missed  string   `json:"missed"`
	Overlap string   `json:"overlap"`
}

// A Kind is the kind of a Type. It determines which fields are set.
type Kind string

const (
	Basic   Kind = "basic"   // Name: a predeclared type, as written in the source (byte, not uint8)
	Named   Kind = "named"   // Path, Name, Args: a defined type or an alias, as written in the source
	Pointer Kind = "pointer" // Elem
	Slice   Kind = "slice"   // Elem
	Array   Kind = "array"   // Len, Elem
	Map     Kind = "map"     // Key, Elem
	Struct  Kind = "struct"  // Fields: an anonymous struct
	Any     Kind = "any"     // Name: any or interface{}
)

// A Type is a Go type as written in the source.
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

// A Field is a field of an anonymous struct. Unexported fields are included, since they are part of the type.
type Field struct {
	Name     string `json:"name"`
	Embedded bool   `json:"embedded,omitempty"`
	Tag      string `json:"tag,omitempty"` // unquoted
	Type     Type   `json:"type"`
}

// Encodings of a Def.
const (
	EncodingJSON = "json" // MarshalJSON and UnmarshalJSON
	EncodingText = "text" // MarshalText and UnmarshalText
)

// A Def describes the JSON of a named type. One of Encoding, Members and Underlying is set, or none for a struct
// without exported fields.
type Def struct {
	Encoding   string   `json:"encoding,omitempty"`
	Members    []Member `json:"members,omitempty"`
	Underlying *Type    `json:"underlying,omitempty"` // if it is not a struct
	// Standard is set for structs of the standard library, which may have other fields in other versions of Go.
	Standard bool `json:"standard,omitempty"`
}

// A Member is an exported field of a struct. Members are in source order.
type Member struct {
	Name     string `json:"name"`               // in JSON; "" for an embedded struct whose members are promoted
	Optional bool   `json:"optional,omitempty"` // omitempty or omitzero
	Quoted   bool   `json:"quoted,omitempty"`   // the "string" option
	Type     Type   `json:"type"`
}
