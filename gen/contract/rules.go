package contract

import (
	"fmt"
	"strings"
)

// A Rule is a kind of breaking change.
type Rule struct {
	ID string
	// Warning is set if findings are not failures.
	Warning bool
	// Breaks is the side that is affected.
	Breaks Side
	// Means describes the change in a phrase. Why has the consequences and an alternative.
	Means, Why string
}

// A Side depends on a contract.
type Side string

const (
	Callers Side = "callers" // processes of older code that call services or wait for results
	Tasks   Side = "tasks"   // tasks that older code has stored
	Source  Side = "source"  // Go code that is rebuilt with the newer client
)

// The IDs of the rules. [Rules] documents them.
const (
	ServiceDeleted      = "SERVICE_DELETED"
	ServiceRenamed      = "SERVICE_RENAMED"
	MethodDeleted       = "METHOD_DELETED"
	MethodRenamed       = "METHOD_RENAMED"
	MethodNotIdempotent = "METHOD_NOT_IDEMPOTENT"
	ParameterAdded      = "PARAMETER_ADDED"
	ParameterRemoved    = "PARAMETER_REMOVED"
	ParameterRenamed    = "PARAMETER_RENAMED"
	ParameterRetyped    = "PARAMETER_RETYPED"
	ParametersReordered = "PARAMETERS_REORDERED"
	ResultAdded         = "RESULT_ADDED"
	ResultRemoved       = "RESULT_REMOVED"
	ResultRenamed       = "RESULT_RENAMED"
	ResultRetyped       = "RESULT_RETYPED"
	ResultsReordered    = "RESULTS_REORDERED"
	FieldAdded          = "FIELD_ADDED"
	FieldRemoved        = "FIELD_REMOVED"
	FieldRetyped        = "FIELD_RETYPED"
	WorkerDeleted       = "WORKER_DELETED"
	WorkerRenamed       = "WORKER_RENAMED"
	PayloadChanged      = "PAYLOAD_CHANGED"
	TaskResultChanged   = "TASK_RESULT_CHANGED"
	ClientMoved         = "CLIENT_MOVED"
	ScheduleChanged     = "SCHEDULE_CHANGED"
	ScheduleDeleted     = "SCHEDULE_DELETED"
)

// Rules returns all rules, sorted by name. The caller may change the result.
func Rules() []Rule {
	all := make([]Rule, len(rules))
	for i, r := range rules {
		all[i] = r.Rule
	}
	return all
}

// RuleIDs returns the IDs of all rules in the order of [Rules].
func RuleIDs() []string {
	ids := make([]string, len(rules))
	for i, r := range rules {
		ids[i] = r.ID
	}
	return ids
}

// LookupRule returns the rule with that ID and reports whether it exists.
func LookupRule(id string) (Rule, bool) {
	for _, r := range rules {
		if r.ID == id {
			return r.Rule, true
		}
	}
	return Rule{}, false
}

// A rule is a Rule with its check.
type rule struct {
	Rule
	check check
}

// A check compares a part of an older contract with the current code. The argument is an endpointPair, a methodPair,
// values, a taskPair or a jobPair. It returns a message for each breaking change, and none for types that it doesn't
// handle.
type check func(compared any) []string

// on returns a check for arguments of one type.
func on[T any](find func(T) []string) check {
	return func(compared any) []string {
		if c, ok := compared.(T); ok {
			return find(c)
		}
		return nil
	}
}

// message returns the result of a check with one finding.
func message(format string, args ...any) []string { return []string{fmt.Sprintf(format, args...)} }

// rules is sorted by name and never modified.
var rules = []rule{
	{Rule{ClientMoved, true, Source, "the client half of a type moves to another package",
		"Code that imports the old package doesn't compile. Change its imports together with the directive."},
		on(endpointPair.clientMoved)},
	{Rule{FieldAdded, false, Callers, "values from callers have a new field that is not optional",
		"Older callers don't send it, so the service gets the zero value. If zero is acceptable, tag the field " +
			"omitempty or omitzero."},
		valuesOf(parameter, values.fieldsAdded)},
	{Rule{FieldRemoved, false, Callers, "a field of a sent value is removed, at any depth",
		"Older peers that send the field are ignored, and those that read it get the zero value. First stop using " +
			"the field, and remove it when no peer uses it."},
		on(values.fieldsRemoved)},
	{Rule{FieldRetyped, false, Callers, "a field has another JSON type, at any depth",
		"Older peers fail to decode it, or decode a wrong value. Add a field with another name and keep the old " +
			"one for a while."},
		on(values.fieldsRetyped)},
	{Rule{MethodDeleted, false, Callers, "a method is removed",
		"Older callers get unimplemented. Keep the method until no caller uses it."},
		on(methodPair.deleted)},
	{Rule{MethodNotIdempotent, false, Callers, "a method is no longer idempotent",
		"Older callers still repeat calls whose outcome is unknown. Give the method another wire name, or rebuild " +
			"all callers first."},
		on(methodPair.notIdempotent)},
	{Rule{MethodRenamed, false, Callers, "a method has another wire name",
		"Older callers get unimplemented. //af:method name=… keeps the wire name."},
		on(methodPair.renamed)},
	{Rule{ParameterAdded, false, Callers, "a method has a new parameter",
		"Older callers don't send it, so the method gets the zero value. Add another method instead."},
		valuesOf(parameter, values.added)},
	{Rule{ParameterRemoved, false, Callers, "a parameter is removed",
		"The values from older callers are ignored. Add another method instead."},
		valuesOf(parameter, values.removed)},
	{Rule{ParameterRenamed, false, Callers, "a parameter has another name",
		"Parameters are sent by name, so the method gets the zero value. Keep the name in the signature."},
		valuesOf(parameter, values.renamed)},
	{Rule{ParameterRetyped, false, Callers, "a parameter has another JSON type",
		"Calls of older callers fail with invalid_argument, or pass a wrong value. Add another method instead."},
		valuesOf(parameter, values.retyped)},
	{Rule{ParametersReordered, false, Source, "parameters of the same type have swapped positions",
		"Parameters are sent by name, but Go code passes them by position. It compiles and passes the wrong " +
			"values."},
		valuesOf(parameter, values.reordered)},
	{Rule{PayloadChanged, false, Tasks, "the payload of a queue has another JSON type, at any depth",
		"Tasks that are queued, retried or waiting for subtasks have the old payload. The worker fails to decode " +
			"it, or gets wrong or zero values. Drain the queue first, or add another worker. New optional fields are " +
			"compatible."},
		on(taskPair.payloadChanged)},
	{Rule{ResultAdded, true, Source, "a method has a new result",
		"Older callers ignore it, but Go code that is rebuilt must accept it."},
		valuesOf(result, values.added)},
	{Rule{ResultRemoved, false, Callers, "a result is removed",
		"Older callers get the zero value. Add another method instead."},
		valuesOf(result, values.removed)},
	{Rule{ResultRenamed, false, Callers, "a result has another name",
		"Results are sent by name, so older callers get the zero value. Keep the name in the signature."},
		valuesOf(result, values.renamed)},
	{Rule{ResultRetyped, false, Callers, "a result has another JSON type",
		"Older callers fail to decode it, or get a wrong value. Add another method instead."},
		valuesOf(result, values.retyped)},
	{Rule{ResultsReordered, false, Source, "results of the same type have swapped positions",
		"Results are sent by name, but Go code receives them by position. It compiles and uses the wrong values."},
		valuesOf(result, values.reordered)},
	{Rule{ScheduleChanged, true, Tasks, "a job has another cron expression or time zone",
		"Each process that starts replaces the stored job. While old and new code run at the same time, either " +
			"schedule may apply."},
		on(jobPair.changed)},
	{Rule{ScheduleDeleted, true, Tasks, "a job is no longer declared",
		"A process with the newer code removes it at startup. One with the older code adds it again."},
		on(jobPair.deleted)},
	{Rule{ServiceDeleted, false, Callers, "a service is removed",
		"Older callers find no instance. Keep the service until no caller uses it."},
		endpointsOf(service, endpointPair.deleted)},
	{Rule{ServiceRenamed, false, Callers, "a service has another wire name",
		"Older callers find no instance. //af:rpc name=… keeps the wire name."},
		endpointsOf(service, endpointPair.renamed)},
	{Rule{TaskResultChanged, false, Tasks, "the result of a queue is removed or has another JSON type, at any depth",
		"Stored results, and results that older processes wait for, fail to decode or have wrong values. Add " +
			"another worker instead."},
		on(taskPair.resultChanged)},
	{Rule{WorkerDeleted, false, Tasks, "a worker is removed",
		"Queued tasks never run. Keep the worker until its queue is empty."},
		endpointsOf(worker, endpointPair.deleted)},
	{Rule{WorkerRenamed, false, Tasks, "a worker has another queue name",
		"Queued tasks never run, and older processes submit to the old queue. //af:worker name=… keeps the queue " +
			"name."},
		endpointsOf(worker, endpointPair.renamed)},
}

// RulesMarkdown returns a table of the rules for the documentation.
func RulesMarkdown() string {
	var b strings.Builder
	b.WriteString("| rule | breaks | change | consequences and alternatives |\n|---|---|---|---|\n")
	for _, r := range rules {
		about := string(r.Breaks)
		if r.Warning {
			about += " (warning)"
		}
		b.WriteString("| `" + r.ID + "` | " + about + " | " + r.Means + " | " + r.Why + " |\n")
	}
	return b.String()
}
