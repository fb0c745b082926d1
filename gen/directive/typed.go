package directive

import (
	"time"

	"github.com/afgen/afgen/gen/diag"
)

// RPC is what an //af:rpc directive says.
type RPC struct {
	Name        string // of the service; "" to derive it from the type's
	Timeout     time.Duration
	Concurrency int
	Client      string // import path of the package for its client half; "" for the type's own
}

// Method is what an //af:method directive says.
type Method struct {
	Name       string        // on the wire; "" for that in Go
	Timeout    time.Duration // 0 for the service's
	Idempotent bool
}

// Worker is what an //af:worker directive says.
type Worker struct {
	Name    string // of its queue; "" to derive it from the type's
	Max     int
	Timeout time.Duration // 0 for none
	Retries int
	Backoff time.Duration
	Weight  int
	// MaxCrashes is 0 where the App decides.
	MaxCrashes int
	Isolation  string // goroutine or process
	Client     string // as of RPC
}

// Allow is what an //af:allow directive says.
type Allow struct {
	Rule   string // as it is written; whether there is such a rule is for others to say
	Reason string
}

// Allow returns what d says, d being an //af:allow directive. Scan has reported what it lacks.
func (d *Directive) Allow() Allow {
	rule, _ := d.Arg("rule")
	reason, _ := d.Arg("reason")
	return Allow{rule.Value, reason.Value}
}

// RPC returns what d says, defaults included, d being an //af:rpc directive, and what is wrong with its values. A wrong
// value counts as not given.
func (d *Directive) RPC() (RPC, diag.List) {
	of, problems := d.values()
	return RPC{
		Name:        value[string](of, "name"),
		Timeout:     value[time.Duration](of, "timeout"),
		Concurrency: value[int](of, "concurrency"),
		Client:      value[string](of, "client"),
	}, problems
}

// Method returns what d says, defaults included, d being an //af:method directive, and what is wrong with its values. A
// wrong value counts as not given.
func (d *Directive) Method() (Method, diag.List) {
	of, problems := d.values()
	return Method{
		Name:       value[string](of, "name"),
		Timeout:    value[time.Duration](of, "timeout"),
		Idempotent: value[bool](of, "idempotent"),
	}, problems
}

// Worker returns what d says, defaults included, d being an //af:worker directive, and what is wrong with its values. A
// wrong value counts as not given.
func (d *Directive) Worker() (Worker, diag.List) {
	of, problems := d.values()
	return Worker{
		Name:       value[string](of, "name"),
		Max:        value[int](of, "max"),
		Timeout:    value[time.Duration](of, "timeout"),
		Retries:    value[int](of, "retries"),
		MaxCrashes: value[int](of, "max_crashes"),
		Backoff:    value[time.Duration](of, "backoff"),
		Weight:     value[int](of, "weight"),
		Isolation:  value[string](of, "isolation"),
		Client:     value[string](of, "client"),
	}, problems
}

// values returns the value of each key that was given or has a default, as Key.parse does, and what is wrong with them.
func (d *Directive) values() (map[string]any, diag.List) {
	var problems diag.List
	of := map[string]any{}
	spec, _ := Lookup(d.Name)
	for _, k := range spec.Keys {
		if k.Default != "" {
			of[k.Name], _ = k.parse(k.Default) // the table's own, which TestDefaultsAreGoodValues looks at
		}
		a, given := d.Arg(k.Name)
		if !given {
			if k.Absent == required {
				problems = append(problems, diag.Diagnostic{Code: diag.MissingKey, Pos: d.Pos, Width: d.Width,
					Message: "//af:" + d.Name + " has no " + k.Name, Hint: "write " + k.Name + "=…: " + k.Doc})
			}
			continue
		}
		v, wrong := k.parse(a.Value)
		if wrong != nil {
			pos, width := a.within(wrong.at, wrong.width)
			problems = append(problems, diag.Diagnostic{
				Code: wrong.code, Pos: pos, Width: width,
				Message: k.Name + "=" + quote(a.Value) + " " + wrong.problem, Hint: wrong.hint,
			})
			continue
		}
		of[k.Name] = v
	}
	return of, problems
}

// within returns where a part of the value is, or the whole value if the part is empty or can't be found.
func (a Arg) within(at, width int) (diag.Pos, int) {
	quotes := (a.ValueWidth - len(a.Value)) / 2
	if width == 0 || a.ValueWidth != len(a.Value)+2*quotes || quotes > 1 { // there are escapes
		return a.ValuePos, a.ValueWidth
	}
	pos := a.ValuePos
	pos.Column += quotes + at
	return pos, width
}

// value returns the value of a key, zero if it has none.
func value[T any](of map[string]any, key string) T {
	v, _ := of[key].(T)
	return v
}
