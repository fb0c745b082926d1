package directive

import (
	"time"

	"github.com/afgen/afgen/gen/diag"
)

// RPC holds the values of an //af:rpc directive.
type RPC struct {
	Name        string // of the service; "" to derive it from the type
	Timeout     time.Duration
	Concurrency int
	Client      string // import path of the package for its client half; "" for the type's package
}

// A Method holds the values of an //af:method directive.
type Method struct {
	Name       string        // on the wire; "" for the name in Go
	Timeout    time.Duration // 0 for the service's
	Idempotent bool
}

// A Worker holds the values of an //af:worker directive.
type Worker struct {
	Name    string // of its queue; "" to derive it from the type
	Max     int
	Timeout time.Duration // 0 for none
	Retries int
	Backoff time.Duration
	// BackoffMax is 0 for the default of the runtime. It is not less than Backoff.
	BackoffMax time.Duration
	Weight     int
	// MaxCrashes is 0 for the default of the App.
	MaxCrashes int
	Isolation  string // goroutine or process
	Client     string // as in RPC
}

// Allow holds the values of an //af:allow directive.
type Allow struct {
	Rule   string // not checked
	Reason string
}

// Allow returns the values of d, an //af:allow directive. [Scan] has reported missing ones.
func (d *Directive) Allow() Allow {
	rule, _ := d.Arg("rule")
	reason, _ := d.Arg("reason")
	return Allow{rule.Value, reason.Value}
}

// RPC returns the values of d, an //af:rpc directive, including defaults, and the problems of its values. An invalid
// value counts as missing.
func (d *Directive) RPC() (RPC, diag.List) {
	of, problems := d.values()
	return RPC{
		Name:        value[string](of, "name"),
		Timeout:     value[time.Duration](of, "timeout"),
		Concurrency: value[int](of, "concurrency"),
		Client:      value[string](of, "client"),
	}, problems
}

// Method returns the values of d, an //af:method directive, including defaults, and the problems of its values. An
// invalid value counts as missing.
func (d *Directive) Method() (Method, diag.List) {
	of, problems := d.values()
	return Method{
		Name:       value[string](of, "name"),
		Timeout:    value[time.Duration](of, "timeout"),
		Idempotent: value[bool](of, "idempotent"),
	}, problems
}

// Worker returns the values of d, an //af:worker directive, including defaults, and the problems of its values. An
// invalid value counts as missing.
func (d *Directive) Worker() (Worker, diag.List) {
	of, problems := d.values()
	least, most := value[time.Duration](of, "backoff"), value[time.Duration](of, "backoff_max")
	if a, _ := d.Arg("backoff_max"); most != 0 && most < least {
		problems = append(problems, diag.Diagnostic{
			Code: diag.BadValue, Pos: a.ValuePos, Width: a.ValueWidth,
			Message: "backoff_max=" + quote(a.Value) + " is less than backoff, " + short(least),
			Hint:    "write at least " + short(least) + ", or lower backoff",
		})
		most = 0
	}
	return Worker{
		Name:       value[string](of, "name"),
		Max:        value[int](of, "max"),
		Timeout:    value[time.Duration](of, "timeout"),
		Retries:    value[int](of, "retries"),
		MaxCrashes: value[int](of, "max_crashes"),
		Backoff:    least,
		BackoffMax: most,
		Weight:     value[int](of, "weight"),
		Isolation:  value[string](of, "isolation"),
		Client:     value[string](of, "client"),
	}, problems
}

// values returns the values of all keys that are given or have a default, and the problems of values.
func (d *Directive) values() (map[string]any, diag.List) {
	var problems diag.List
	of := map[string]any{}
	spec, _ := Lookup(d.Name)
	for _, k := range spec.Keys {
		if k.Default != "" {
			of[k.Name], _ = k.parse(k.Default) // TestDefaultsAreValid parses all defaults
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

// within returns the position and width of a part of the value, or of the whole value if the part is empty or unknown.
func (a Arg) within(at, width int) (diag.Pos, int) {
	quotes := (a.ValueWidth - len(a.Value)) / 2
	if width == 0 || a.ValueWidth != len(a.Value)+2*quotes || quotes > 1 { // there are escapes
		return a.ValuePos, a.ValueWidth
	}
	pos := a.ValuePos
	pos.Column += quotes + at
	return pos, width
}

// value returns the value of a key, or the zero value.
func value[T any](of map[string]any, key string) T {
	v, _ := of[key].(T)
	return v
}
