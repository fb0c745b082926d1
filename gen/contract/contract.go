// Package contract describes the wire format of annotated packages and finds breaking changes.
//
// [Of] returns the [Contract] of a package. [Marshal] encodes it for the file af.contract.json, and [Unmarshal] decodes
// it. [Breaking] compares older contracts with current code and reports violations of [Rules].
//
// [MethodFingerprint] and [TypeFingerprint] identify the wire format of a method, payload or result by twelve hex
// digits. Peers compare them to detect that they were built from different code.
//
// # Fingerprints
//
// A fingerprint is the first 12 lower-case hex digits of the SHA-256 of a text. The text describes the JSON of
// encoding/json as follows:
//
//	bool string int int64 uint8 …   a basic type, by its name; byte is uint8 and rune is int32
//	any                             any
//	*T  []T  [3]T  map[K]V          pointer, slice, array, map
//	{"a":T,"b"?:T,"c":"T"}          a struct: members sorted by name, bytewise; ? follows the name of an optional one
//	                                (omitempty, omitzero), quotes enclose the type of one with the string option
//	{...T,"a":T}                    an embedded struct whose members are promoted, before the others, in source order
//	json(time.Time)  text(a/b.ID)   a type with MarshalJSON or MarshalText: its full name, see [ir.Type.ID]
//	std(net/mail.Address)           a non-generic struct of the standard library, whose fields may change
//	{"x":int}->{"result":int}       a method: the members of its request and of its reply, sorted by name
//	^2                              a reference to a type
//
// Names are replaced by their types: a named map is written as a map, an alias as its type. Structs, pointers, slices,
// arrays and maps are numbered from 0 in the order in which they begin in the text, not counting the request and the
// reply. A struct that has begun before is written as ^N, where N is its number. The same holds for other types inside
// themselves. Types with the same JSON at all depths are equal, regardless of their names. Examples:
//
//	func (*Calc) Add(ctx context.Context, x int, more ...int) (sum int, err error)    {"more":[]int,"x":int}->{"sum":int}
//	type Node struct { Next *Node `json:"next,omitempty"`; Tags []string }            {"Tags":[]string,"next"?:*^0}
//	type Tree map[string]Tree                                                         map[string]^0
//
// Renaming a Go type, reordering parameters or fields, and replacing a variadic parameter by a slice don't change a
// fingerprint. Renaming, adding or removing a member, changing its type (even int to int64), renaming a type with its
// own encoding, and moving a member to an embedded struct do.
package contract

import (
	"fmt"
	"strings"
	"time"
)

// Version is the version of the file format.
const Version = 1

// A Contract describes the wire format of one package. Types are written as Go source. Those of the package are
// unqualified, others have their full import path.
type Contract struct {
	Version  int                `json:"afgen"`
	Package  string             `json:"package"`            // import path
	Services map[string]Service `json:"services,omitempty"` // by name on the wire
	Workers  map[string]Worker  `json:"workers,omitempty"`  // by queue
	Types    map[string]Type    `json:"types,omitempty"`    // all named types that these use
	// Generated has checksums of the files that were generated together with the contract, by name, or by import path and
	// name for files in other packages. That of the contract covers the file up to this member.
	Generated map[string]string `json:"generated,omitempty"`
}

// A Service describes a service.
type Service struct {
	Type        string            `json:"type"`
	Client      string            `json:"client,omitempty"`     // import path of its client half; "" for its own package
	Constraint  string            `json:"constraint,omitempty"` // build constraint of its source as in a //go:build line
	Timeout     Duration          `json:"timeout,omitempty"`
	Concurrency int               `json:"concurrency,omitempty"`
	Methods     map[string]Method `json:"methods,omitempty"` // by name on the wire
}

// A Method describes a method. Params and Results are types by member name. A variadic parameter is a slice.
type Method struct {
	Go          string            `json:"go,omitempty"` // the name in Go, if it differs
	Idempotent  bool              `json:"idempotent,omitempty"`
	Timeout     Duration          `json:"timeout,omitempty"`
	Fingerprint string            `json:"fingerprint"`
	Params      map[string]string `json:"params,omitempty"`
	Results     map[string]string `json:"results,omitempty"`
	// ParamOrder and ResultOrder are the members in the order of the Go signature, such as "x, y", if there are several.
	ParamOrder  string `json:"paramOrder,omitempty"`
	ResultOrder string `json:"resultOrder,omitempty"`
}

// A Worker describes a worker.
type Worker struct {
	Type       string   `json:"type"`
	Client     string   `json:"client,omitempty"`     // as in Service
	Constraint string   `json:"constraint,omitempty"` // as in Service
	Max        int      `json:"max,omitempty"`
	Timeout    Duration `json:"timeout,omitempty"` // 0: none
	Retries    int      `json:"retries,omitempty"`
	MaxCrashes int      `json:"maxCrashes,omitempty"` // 0: the App's
	Backoff    Duration `json:"backoff,omitempty"`
	BackoffMax Duration `json:"backoffMax,omitempty"` // 0: the runtime's default
	Weight     int      `json:"weight"`
	Isolation  string   `json:"isolation,omitempty"`
	Payload    Value    `json:"payload"`
	Result     *Value   `json:"result,omitempty"` // nil if Run returns only an error
	// Jobs are the declared jobs of the worker, by id.
	Jobs map[string]Job `json:"jobs,omitempty"`
}

// A Job describes a declared job. It submits tasks with the zero payload.
type Job struct {
	Cron    string   `json:"cron"`
	Zone    string   `json:"zone"`
	Allow   []string `json:"allow,omitempty"`
	Missed  string   `json:"missed"`
	Overlap string   `json:"overlap"`
}

// A Value describes a payload or a result.
type Value struct {
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"`
}

// A Type describes the JSON of a named type. Either Encoding, Underlying, or Members and Embeds are set. All are empty
// for a struct without members.
type Type struct {
	Encoding   string            `json:"encoding,omitempty"`   // its own encoding: json or text
	Underlying string            `json:"underlying,omitempty"` // for other types than structs
	Embeds     []string          `json:"embeds,omitempty"`     // structs whose members are promoted, in source order
	Members    map[string]Member `json:"members,omitempty"`    // of a struct, by name in JSON
}

// A Member is a member of a struct. Its text is the type, followed by " quoted", " optional" or both.
type Member struct {
	Type     string
	Quoted   bool // sent as a JSON string
	Optional bool // omitted if empty
}

const quoted, optional = " quoted", " optional"

// MarshalText implements [encoding.TextMarshaler].
func (m Member) MarshalText() ([]byte, error) {
	text := m.Type
	if m.Quoted {
		text += quoted
	}
	if m.Optional {
		text += optional
	}
	return []byte(text), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler].
func (m *Member) UnmarshalText(text []byte) error {
	m.Type, m.Optional = strings.CutSuffix(string(text), optional)
	m.Type, m.Quoted = strings.CutSuffix(m.Type, quoted)
	return nil
}

// A Duration has the text of a time.Duration, such as 1m30s.
type Duration time.Duration

// MarshalText implements [encoding.TextMarshaler]. It omits zero units: 5m, not 5m0s.
func (d Duration) MarshalText() ([]byte, error) {
	text := time.Duration(d).String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return []byte(text), nil
}

// UnmarshalText implements [encoding.TextUnmarshaler]. It accepts the syntax of [time.ParseDuration].
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q: %w", text, err)
	}
	*d = Duration(parsed)
	return nil
}
