package directive

import (
	"slices"
	"time"
)

// A Kind is the kind of a key's values.
type Kind string

// The kinds of keys.
const (
	Name       Kind = "name"        // see ValidName
	Duration   Kind = "duration"    // see time.ParseDuration
	Int        Kind = "number"      // an integer
	Flag       Kind = "flag"        // the key without a value, or true or false
	Choice     Kind = "choice"      // one of Choices
	ImportPath Kind = "import path" // of a Go package
	String     Kind = "text"        // not empty
	Cron       Kind = "cron"        // see package cron
	Zone       Kind = "time zone"   // an IANA name
	Addresses  Kind = "ips"         // addresses and networks, separated by commas
)

// A Spec describes one directive.
type Spec struct {
	// Name is the text after //af:.
	Name string
	// On names the declarations that it applies to, in a phrase that follows "on": "an exported, non-generic struct type".
	On string
	// Doc describes its effect, in sentences.
	Doc string
	// Repeatable is set if a declaration may have several.
	Repeatable bool
	Keys       []Key
	// Words is the usage of a directive that takes words instead of keys, or "". The words become arguments with the names
	// of Keys in order. The last one contains the rest of the text.
	Words string
}

// A Key describes one key of a directive.
type Key struct {
	Name string
	Kind Kind
	// Default is the value of a missing key. If it is "", Absent describes the default, or is "required".
	Default string
	Absent  string
	// Min and Max are the inclusive limits of an Int, or of a Duration in nanoseconds.
	Min, Max int64
	// Choices are the values of a Choice.
	Choices []string
	// Doc describes its meaning, in a phrase.
	Doc string
}

// Specs returns all directives in the order of the documentation. The caller may change the result.
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

// Lookup returns the directive with that name and reports whether it exists. The caller must not change the result.
func Lookup(name string) (Spec, bool) {
	for _, s := range table {
		if s.Name == name {
			return s, true
		}
	}
	return Spec{}, false
}

// Key returns the directive's key with that name and reports whether it exists.
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

// table is never modified.
var table = []Spec{
	{
		Name: "rpc", On: "an exported, non-generic struct type",
		Doc: "Makes the type a service: its exported methods can be called from other processes.",
		Keys: []Key{
			{Name: "name", Kind: Name, Absent: "the type's name in snake case", Doc: "the service's name on the wire"},
			{
				Name: "timeout", Kind: Duration, Default: "30s", Min: 1, Max: int64(day),
				Doc: "the timeout of a call whose context has no deadline",
			},
			{
				Name: "concurrency", Kind: Int, Default: "256", Min: 1, Max: 65536,
				Doc: "maximum number of concurrent calls per instance",
			},
			client,
		},
	},
	{
		Name: "method", On: "an exported method of an //af:rpc type",
		Doc: "Sets options of a remote method. Methods without it are remote as well.",
		Keys: []Key{
			{Name: "name", Kind: Name, Absent: "the name in Go", Doc: "the method's name on the wire"},
			{
				Name: "timeout", Kind: Duration, Absent: "the service's", Min: 1, Max: int64(day),
				Doc: "the timeout of a call whose context has no deadline",
			},
			{Name: "idempotent", Kind: Flag, Default: "false", Doc: "whether a call may be repeated if its outcome is unknown"},
		},
	},
	{
		Name: "skip", On: "an exported method of an //af:rpc type",
		Doc: "Keeps the method local: it can't be called from other processes.",
	},
	{
		Name: "worker", On: "an exported, non-generic struct type",
		Doc: "Makes the type a worker: its Run method handles the tasks of one queue.",
		Keys: []Key{
			{Name: "name", Kind: Name, Absent: "the type's name in snake case", Doc: "the name of its queue"},
			{Name: "max", Kind: Int, Default: "10", Min: 1, Max: 10000, Doc: "maximum number of concurrent tasks per instance"},
			{Name: "timeout", Kind: Duration, Absent: "none", Min: 1, Max: int64(30 * day), Doc: "the timeout of each attempt"},
			{Name: "retries", Kind: Int, Default: "0", Min: 0, Max: 1000, Doc: "number of attempts after the first one fails"},
			{
				Name: "backoff", Kind: Duration, Default: "1s", Min: 1, Max: int64(day),
				Doc: "delay before the first retry; doubles with each retry, up to backoff_max",
			},
			{
				Name: "backoff_max", Kind: Duration, Absent: "5m, or backoff if longer", Min: 1, Max: int64(30 * day),
				Doc: "the longest delay before a retry, ± 20 %",
			},
			{
				Name: "weight", Kind: Int, Default: "1", Min: -1000, Max: 1000,
				Doc: "default weight of tasks; those with a higher weight run first",
			},
			{
				Name: "max_crashes", Kind: Int, Absent: "the App's, 3", Min: 1, Max: 1000,
				Doc: "crashes with the task as the only suspect until it fails",
			},
			{
				Name: "isolation", Kind: Choice, Default: "goroutine", Choices: []string{"goroutine", "process"},
				Doc: "whether tasks run in a goroutine or in a child process",
			},
			client,
		},
	},
	{
		Name: "schedule", On: "an //af:worker type",
		Doc:        "Submits a task with the zero payload at each due time.",
		Repeatable: true,
		Keys: []Key{
			{Name: "id", Kind: Name, Absent: required, Doc: "the job's unique id"},
			{
				Name: "cron", Kind: Cron, Absent: required,
				Doc: "five fields, six with seconds first, @every 90s, or a name such as @hourly",
			},
			{Name: "tz", Kind: Zone, Default: "UTC", Doc: "the time zone of cron"},
			{Name: "allow", Kind: Addresses, Absent: "any ip", Doc: "addresses and networks of the instances that may run it"},
			{
				Name: "missed", Kind: Choice, Default: "once", Choices: []string{"skip", "once", "all"},
				Doc: "tasks for due times without a running scheduler: none, one, or one each",
			},
			{
				Name: "overlap", Kind: Choice, Default: "allow", Choices: []string{"skip", "allow", "queue"},
				Doc: "what happens at a due time if an earlier task has not ended",
			},
		},
	},
	allow,
}

var allow = Spec{
	Name: "allow", On: "an //af:rpc or //af:worker type, or a remote method",
	Doc:        "Makes afgen breaking ignore the findings of one rule.",
	Repeatable: true, Words: "RULE reason",
	Keys: []Key{
		{Name: "rule", Kind: String, Absent: required, Doc: "a rule of afgen breaking, such as METHOD_DELETED"},
		{Name: "reason", Kind: String, Absent: required, Doc: "why the change is safe"},
	},
}

var client = Key{
	Name: "client", Kind: ImportPath, Absent: "the type's own package", Doc: "the package for the generated client",
}
