// Package contract describes what an annotated package promises on the wire, so that a change of the promise is seen.
//
// It has two faces. [Of] is the whole promise as plain data, which [Marshal] writes as af.contract.json, one fact a
// line, and [Unmarshal] reads back. [MethodFingerprint] and [TypeFingerprint] are the promise of one method, payload
// or result in twelve hex digits: peers compare them to notice that they were built from different code.
//
// # Fingerprints
//
// A fingerprint is the first 12 lower-case hex digits of the SHA-256 of a text that spells what encoding/json sends.
// Nothing else goes into it, so any tool can compute it:
//
//	bool string int int64 uint8 …   a basic type, by its name; byte is uint8 and rune is int32
//	any                             any
//	*T  []T  [3]T  map[K]V          pointer, slice, array, map
//	{"a":T,"b"?:T,"c":"T"}          a struct: its members sorted by name, bytewise; ? after the name of an optional
//	                                one (omitempty, omitzero), quotes around the type of one with the string option
//	{...T,"a":T}                    an embedded struct whose members are promoted, before the others, in source order
//	json(time.Time)  text(a/b.ID)   a type that marshals itself to JSON or to text: its full name, as in [ir.Type.ID]
//	std(net/mail.Address)           a struct of the standard library that is not generic: other versions of Go may have
//	                                given it other fields
//	{"x":int}->{"result":int}       a method: the members of its request and of its reply, sorted by name
//	^2                              a type that was written before
//
// A type's name stands for what it denotes: a named map is written as a map, an alias as its type. Structs, pointers,
// slices, arrays and maps are numbered from 0 in the order in which they first begin in the text (the request and the
// reply themselves don't count), and ^N is written for number N instead of a struct that has begun before, and instead
// of any of the others inside itself. Two types that send the same, all the way down, are one type for this, whatever
// they are called. Some texts:
//
//	func (*Calc) Add(ctx context.Context, x int, more ...int) (sum int, err error)     {"more":[]int,"x":int}->{"sum":int}
//	type Node struct { Next *Node `json:"next,omitempty"`; Tags []string }             {"Tags":[]string,"next"?:*^0}
//	type Tree map[string]Tree                                                          map[string]^0
//
// So renaming a Go type, reordering parameters or fields, and turning a variadic into a slice keep a fingerprint.
// Renaming, adding, removing or retyping a member changes it, int to int64 included, and so do renaming a type that
// marshals itself and moving a member into an embedded struct.
package contract

import (
	"fmt"
	"strings"
	"time"
)

// Version is the version of the file's format that this package reads and writes.
const Version = 1

// A Contract is what one package promises. Types are spelled as Go source, those of the package itself unqualified,
// all others with their full import path.
type Contract struct {
	Version  int                `json:"afgen"`
	Package  string             `json:"package"`            // its import path
	Services map[string]Service `json:"services,omitempty"` // by name on the wire
	Workers  map[string]Worker  `json:"workers,omitempty"`  // by queue
	Types    map[string]Type    `json:"types,omitempty"`    // every named type that the above reach, as it is spelled there
	// Generated has a sum of each file that was written with the contract, by name, or by import path and name where it is
	// in another package: so an edit can be detected. The contract's own is of what comes before.
	Generated map[string]string `json:"generated,omitempty"`
}

// A Service is one service.
type Service struct {
	Type        string            `json:"type"`
	Client      string            `json:"client,omitempty"`     // the package of its client half; "" for the type's own
	Constraint  string            `json:"constraint,omitempty"` // the build constraint of its source, as in a //go:build line
	Timeout     Duration          `json:"timeout,omitempty"`
	Concurrency int               `json:"concurrency,omitempty"`
	Methods     map[string]Method `json:"methods,omitempty"` // by name on the wire
}

// A Method is one method. Its members are types by name; a variadic parameter is a slice.
type Method struct {
	Go          string            `json:"go,omitempty"` // its name in Go, if that is another
	Idempotent  bool              `json:"idempotent,omitempty"`
	Timeout     Duration          `json:"timeout,omitempty"`
	Fingerprint string            `json:"fingerprint"`
	Params      map[string]string `json:"params,omitempty"`
	Results     map[string]string `json:"results,omitempty"`
	// The members in the order of the Go signature, if there are several: "x, y".
	ParamOrder  string `json:"paramOrder,omitempty"`
	ResultOrder string `json:"resultOrder,omitempty"`
}

// A Worker is one worker.
type Worker struct {
	Type       string   `json:"type"`
	Client     string   `json:"client,omitempty"`     // as of a Service
	Constraint string   `json:"constraint,omitempty"` // as of a Service
	Max        int      `json:"max,omitempty"`
	Timeout    Duration `json:"timeout,omitempty"` // 0: none
	Retries    int      `json:"retries,omitempty"`
	MaxCrashes int      `json:"maxCrashes,omitempty"` // 0: the App's
	Backoff    Duration `json:"backoff,omitempty"`
	Weight     int      `json:"weight"`
	Isolation  string   `json:"isolation,omitempty"`
	Payload    Value    `json:"payload"`
	Result     *Value   `json:"result,omitempty"` // nil where Run returns only an error
	// Jobs are those that are declared with the worker, by id.
	Jobs map[string]Job `json:"jobs,omitempty"`
}

// A Job submits the zero value of a worker's payload at set times.
type Job struct {
	Cron    string   `json:"cron"`
	Zone    string   `json:"zone"`
	Allow   []string `json:"allow,omitempty"`
	Missed  string   `json:"missed"`
	Overlap string   `json:"overlap"`
}

// A Value is a payload or a result.
type Value struct {
	Type        string `json:"type"`
	Fingerprint string `json:"fingerprint"`
}

// A Type is what encoding/json makes of one named type: one of Encoding, Underlying, or Members and Embeds. All are
// empty for a struct that sends nothing.
type Type struct {
	Encoding   string            `json:"encoding,omitempty"`   // how it marshals itself, json or text
	Underlying string            `json:"underlying,omitempty"` // of a type that is no struct
	Embeds     []string          `json:"embeds,omitempty"`     // structs whose members are promoted, in source order
	Members    map[string]Member `json:"members,omitempty"`    // of a struct, by name in JSON
}

// A Member is one member of a struct. In the file it is its type, followed by " quoted", " optional" or both.
type Member struct {
	Type     string
	Quoted   bool // sent inside a JSON string
	Optional bool // left out when empty
}

const quoted, optional = " quoted", " optional"

// MarshalText spells m as in the file.
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

// UnmarshalText reads what MarshalText spells.
func (m *Member) UnmarshalText(text []byte) error {
	m.Type, m.Optional = strings.CutSuffix(string(text), optional)
	m.Type, m.Quoted = strings.CutSuffix(m.Type, quoted)
	return nil
}

// A Duration is spelled like 1m30s in the file.
type Duration time.Duration

// MarshalText spells d without the zero units that time.Duration.String ends with: 5m, not 5m0s.
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

// UnmarshalText reads what time.ParseDuration reads.
func (d *Duration) UnmarshalText(text []byte) error {
	parsed, err := time.ParseDuration(string(text))
	if err != nil {
		return fmt.Errorf("duration %q: %w", text, err)
	}
	*d = Duration(parsed)
	return nil
}
