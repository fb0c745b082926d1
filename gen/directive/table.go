package directive

import (
	"slices"
	"time"
)

// A Kind is the kind of a key's values.
type Kind string

// The kinds of keys.
const (
	Name       Kind = "name"        // as ValidName says
	Duration   Kind = "duration"    // as time.ParseDuration reads it
	Int        Kind = "number"      // a whole number
	Flag       Kind = "flag"        // the key alone, or true or false
	Choice     Kind = "choice"      // one of Choices
	ImportPath Kind = "import path" // of a Go package
	String     Kind = "text"        // anything but nothing
	Cron       Kind = "cron"        // as package cron reads it
	Zone       Kind = "time zone"   // an IANA name
	Addresses  Kind = "ips"         // addresses and networks, separated by commas
)

// A Spec is what there is to know of one directive.
type Spec struct {
	// Name is what follows //af:.
	Name string
	// On is what it belongs to, as a phrase that fits behind "on": "an exported, non-generic struct type".
	On string
	// Doc is what it does, in sentences.
	Doc string
	// Repeatable reports whether a declaration may have it several times.
	Repeatable bool
	Keys       []Key
	// Words says of a directive that takes words instead of keys what those are; "" for others. They become arguments, too,
	// by the names of Keys in order, and the last takes all that is left.
	Words string
}

// A Key is what there is to know of one key of a directive.
type Key struct {
	Name string
	Kind Kind
	// Default is the value where the key is not given. Where it is empty, Absent says in words what holds then, or
	// required, for a key that has to be given.
	Default string
	Absent  string
	// Min and Max bound an Int, and a Duration in nanoseconds; both belong to what is allowed.
	Min, Max int64
	// Choices has the values of a Choice.
	Choices []string
	// Doc is what it means, in a phrase.
	Doc string
}

// Specs returns all directives, in the order in which to explain them. The caller may change the result.
func Specs() []Spec {
	specs := slices.Clone(table)
	for i, s := range specs {
		specs[i].Keys = slices.Clone(s.Keys)
		for j, k := range s.Keys {
			specs[i].Keys[j].Choices = slices.Clone(k.Choices)
		}
	}
	return specs
}

// Lookup returns the directive of that name, and whether there is one. The result is not to be changed.
func Lookup(name string) (Spec, bool) {
	for _, s := range table {
		if s.Name == name {
			return s, true
		}
	}
	return Spec{}, false
}

// Key returns the directive's key of that name, and whether there is one.
func (s Spec) Key(name string) (Key, bool) {
	for _, k := range s.Keys {
		if k.Name == name {
			return k, true
		}
	}
	return Key{}, false
}

// names returns the names of the directives.
func names() []string {
	all := make([]string, len(table))
	for i, s := range table {
		all[i] = s.Name
	}
	return all
}

// keyNames returns the names of the directive's keys.
func (s Spec) keyNames() []string {
	var all []string
	for _, k := range s.Keys {
		all = append(all, k.Name)
	}
	return all
}

const (
	day      = 24 * time.Hour
	required = "required"
)

// The table. It is never changed.
var table = []Spec{
	{
		Name: "rpc", On: "an exported, non-generic struct type",
		Doc: "Makes the type a service: its exported methods can be called from other processes.",
		Keys: []Key{
			{Name: "name", Kind: Name, Absent: "the type's name in snake case", Doc: "what the service is called on the wire"},
			{Name: "timeout", Kind: Duration, Default: "30s", Min: 1, Max: int64(day), Doc: "the deadline of a call whose context has none"},
			{Name: "concurrency", Kind: Int, Default: "256", Min: 1, Max: 65536, Doc: "calls that one instance handles at once"},
			client,
		},
	},
	{
		Name: "method", On: "an exported method of an //af:rpc type",
		Doc: "Says more about a remote method; without it, it is remote all the same.",
		Keys: []Key{
			{Name: "name", Kind: Name, Absent: "the name in Go", Doc: "what the method is called on the wire"},
			{Name: "timeout", Kind: Duration, Absent: "the service's", Min: 1, Max: int64(day), Doc: "the deadline of a call whose context has none"},
			{Name: "idempotent", Kind: Flag, Default: "false", Doc: "a call may be repeated when its outcome is unknown"},
		},
	},
	{
		Name: "skip", On: "an exported method of an //af:rpc type",
		Doc: "Keeps the method local: it cannot be called from other processes.",
	},
	{
		Name: "worker", On: "an exported, non-generic struct type",
		Doc: "Makes the type a worker: its Run handles the tasks of one queue.",
		Keys: []Key{
			{Name: "name", Kind: Name, Absent: "the type's name in snake case", Doc: "what its queue is called"},
			{Name: "max", Kind: Int, Default: "10", Min: 1, Max: 10000, Doc: "tasks that one instance runs at once"},
			{Name: "timeout", Kind: Duration, Absent: "none", Min: 1, Max: int64(30 * day), Doc: "how long one attempt may take"},
			{Name: "retries", Kind: Int, Default: "0", Min: 0, Max: 1000, Doc: "attempts after the first has failed"},
			{Name: "backoff", Kind: Duration, Default: "1s", Min: 1, Max: int64(day), Doc: "wait before the first retry; doubles each time, up to 5m"},
			{Name: "weight", Kind: Int, Default: "1", Min: -1000, Max: 1000, Doc: "which tasks go first: those of the higher weight"},
			{Name: "max_crashes", Kind: Int, Absent: "the App's, 3", Min: 1, Max: 1000, Doc: "deaths of processes, as the only suspect, by which a task fails"},
			{Name: "isolation", Kind: Choice, Default: "goroutine", Choices: []string{"goroutine", "process"}, Doc: "what a task runs in"},
			client,
		},
	},
	{
		Name: "schedule", On: "an //af:worker type",
		Doc:        "Submits the zero value of the worker's payload at set times.",
		Repeatable: true,
		Keys: []Key{
			{Name: "id", Kind: Name, Absent: required, Doc: "what tells the job from all others"},
			{Name: "cron", Kind: Cron, Absent: required, Doc: "when: five fields, six with seconds first, @every 90s, or @hourly and the like"},
			{Name: "tz", Kind: Zone, Default: "UTC", Doc: "the time zone of cron"},
			{Name: "allow", Kind: Addresses, Absent: "any ip", Doc: "the addresses and networks whose instances may run it"},
			{Name: "missed", Kind: Choice, Default: "once", Choices: []string{"skip", "once", "all"}, Doc: "what becomes of due times while no scheduler ran: nothing, one task, one each"},
			{Name: "overlap", Kind: Choice, Default: "allow", Choices: []string{"skip", "allow", "queue"}, Doc: "what happens at a due time while the task before has not ended"},
		},
	},
	allow,
}

var allow = Spec{
	Name: "allow", On: "an //af:rpc or //af:worker type, or a remote method",
	Doc:        "Lets afgen breaking pass over what it finds by one rule, for a reason.",
	Repeatable: true, Words: "RULE reason",
	Keys: []Key{
		{Name: "rule", Kind: String, Absent: required, Doc: "which rule of afgen breaking, such as METHOD_DELETED"},
		{Name: "reason", Kind: String, Absent: required, Doc: "why it may be broken, for those who read it later"},
	},
}

var client = Key{
	Name: "client", Kind: ImportPath, Absent: "the type's own package", Doc: "the package to generate the client into",
}
