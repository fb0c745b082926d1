package contract

import (
	"fmt"
	"strings"
)

// A Rule is one way to break those who rely on a contract.
type Rule struct {
	ID string
	// Warning reports whether a finding is only worth a look, and no failure.
	Warning bool
	// Breaks is who is affected: peers and stored tasks that were built from the older contract, or code to be rebuilt.
	Breaks Side
	// Means is a phrase for what has happened; Why is the consequence, and what to do instead.
	Means, Why string
}

// A Side is one that relies on a contract.
type Side string

// The sides.
const (
	Callers Side = "callers" // processes that run older code and call, or wait for results
	Tasks   Side = "tasks"   // those stored by older code
	Source  Side = "source"  // Go code that is rebuilt with the newer client
)

// The IDs of the rules; the table has all else.
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

// Rules returns all rules, in the order of the table. The caller may change the result.
func Rules() []Rule {
	all := make([]Rule, len(rules))
	for i, r := range rules {
		all[i] = r.Rule
	}
	return all
}

// RuleIDs returns the IDs of all rules, in that order.
func RuleIDs() []string {
	ids := make([]string, len(rules))
	for i, r := range rules {
		ids[i] = r.ID
	}
	return ids
}

// LookupRule returns the rule of that ID, and whether there is one.
func LookupRule(id string) (Rule, bool) {
	for _, r := range rules {
		if r.ID == id {
			return r.Rule, true
		}
	}
	return Rule{}, false
}

// A rule is all that there is of one: its documentation and its check.
type rule struct {
	Rule
	check check
}

// A check looks at something of an older contract and what it is now: an endpointPair, a methodPair, values, a taskPair or
// a jobPair. It returns a message for each way in which the rule is broken, and nothing for what the rule is not about.
type check func(compared any) []string

// on makes a check for what is of one type.
func on[T any](look func(T) []string) check {
	return func(compared any) []string {
		if c, ok := compared.(T); ok {
			return look(c)
		}
		return nil
	}
}

// message makes the result of a check that has found one break.
func message(format string, args ...any) []string { return []string{fmt.Sprintf(format, args...)} }

// The table, by name. It is never changed.
var rules = []rule{
	{Rule{ClientMoved, true, Source, "the client half of a type goes into another package",
		"Code that imports the old package no longer compiles. Change its imports with the directive."},
		on(endpointPair.clientMoved)},
	{Rule{FieldAdded, false, Callers, "a field that is not optional is new in what callers send",
		"Older callers don't send it, so the service finds it zero. Where zero will do, tag it omitempty or omitzero."},
		valuesOf(parameter, values.fieldsAdded)},
	{Rule{FieldRemoved, false, Callers, "a field is gone from what is sent, at any depth",
		"What older peers send there is lost, and what they read there is zero. Stop using the field first, and remove it when no peer does."},
		on(values.fieldsRemoved)},
	{Rule{FieldRetyped, false, Callers, "a field is of another type in JSON, at any depth",
		"Older peers can't decode it, or decode something else. Add a field of another name and keep the old one for a while."},
		on(values.fieldsRetyped)},
	{Rule{MethodDeleted, false, Callers, "a method is gone",
		"Older callers get unimplemented. Keep it until none calls it."},
		on(methodPair.deleted)},
	{Rule{MethodNotIdempotent, false, Callers, "a method is no longer marked idempotent",
		"Older callers go on to repeat calls of unknown outcome. Give the method another name on the wire, or rebuild all callers first."},
		on(methodPair.notIdempotent)},
	{Rule{MethodRenamed, false, Callers, "a method has another name on the wire",
		"Older callers get unimplemented. //af:method name=… keeps the wire name."},
		on(methodPair.renamed)},
	{Rule{ParameterAdded, false, Callers, "a method has another parameter",
		"Older callers don't send it, so the method finds it zero. Add a method beside the old one."},
		valuesOf(parameter, values.added)},
	{Rule{ParameterRemoved, false, Callers, "a method has lost a parameter",
		"What older callers say there is ignored. Add a method beside the old one."},
		valuesOf(parameter, values.removed)},
	{Rule{ParameterRenamed, false, Callers, "a parameter has another name",
		"Parameters travel by name, so the method finds it zero. Keep the name in the signature."},
		valuesOf(parameter, values.renamed)},
	{Rule{ParameterRetyped, false, Callers, "a parameter is of another type in JSON",
		"Older callers get invalid_argument, or are misread. Add a method beside the old one."},
		valuesOf(parameter, values.retyped)},
	{Rule{ParametersReordered, false, Source, "parameters of one type have changed places",
		"The wire knows them by name, but Go code that is rebuilt passes them by position, and compiles with the values exchanged."},
		valuesOf(parameter, values.reordered)},
	{Rule{PayloadChanged, false, Tasks, "the payload of a queue is of another type in JSON, at any depth",
		"Tasks that are still queued, retried or waiting for subtasks have the old payload; the worker would misread it or find fields zero. " +
			"Drain the queue first, or add a worker beside the old one. New optional fields do no harm."},
		on(taskPair.payloadChanged)},
	{Rule{ResultAdded, true, Source, "a method has another result",
		"Older callers ignore it, but code that is rebuilt has to take it."},
		valuesOf(result, values.added)},
	{Rule{ResultRemoved, false, Callers, "a method has lost a result",
		"Older callers find it zero. Add a method beside the old one."},
		valuesOf(result, values.removed)},
	{Rule{ResultRenamed, false, Callers, "a result has another name",
		"Results travel by name, so older callers find it zero. Keep the name in the signature."},
		valuesOf(result, values.renamed)},
	{Rule{ResultRetyped, false, Callers, "a result is of another type in JSON",
		"Older callers can't decode it, or decode something else. Add a method beside the old one."},
		valuesOf(result, values.retyped)},
	{Rule{ResultsReordered, false, Source, "results of one type have changed places",
		"The wire knows them by name, but Go code that is rebuilt takes them by position, and compiles with the values exchanged."},
		valuesOf(result, values.reordered)},
	{Rule{ScheduleChanged, true, Tasks, "a job is due at other times, or in another time zone",
		"Whoever starts replaces the job that is stored: while old and new code run side by side, it may be due by either."},
		on(jobPair.changed)},
	{Rule{ScheduleDeleted, true, Tasks, "a job is no longer declared",
		"A process of the newer code removes it when it starts, and one of the older code brings it back."},
		on(jobPair.deleted)},
	{Rule{ServiceDeleted, false, Callers, "a service is gone",
		"Older callers find no instance. Keep it until none calls it."},
		endpointsOf(service, endpointPair.deleted)},
	{Rule{ServiceRenamed, false, Callers, "a service has another name on the wire",
		"Older callers find no instance. //af:rpc name=… keeps the wire name."},
		endpointsOf(service, endpointPair.renamed)},
	{Rule{TaskResultChanged, false, Tasks, "the result of a queue is gone or of another type in JSON, at any depth",
		"Results that are stored already, and those that older processes wait for, are read as something else. Add a worker beside the old one."},
		on(taskPair.resultChanged)},
	{Rule{WorkerDeleted, false, Tasks, "a worker is gone",
		"Tasks that are still queued are never run. Keep it until its queue is empty."},
		endpointsOf(worker, endpointPair.deleted)},
	{Rule{WorkerRenamed, false, Tasks, "a worker's queue has another name",
		"Tasks that are still queued are never run, and older processes submit to the old queue. //af:worker name=… keeps the name of the queue."},
		endpointsOf(worker, endpointPair.renamed)},
}

// RulesMarkdown returns the rules as a table, for the documentation.
func RulesMarkdown() string {
	var b strings.Builder
	b.WriteString("| rule | breaks | when | why, and what to do |\n|---|---|---|---|\n")
	for _, r := range rules {
		about := string(r.Breaks)
		if r.Warning {
			about += " (warning)"
		}
		b.WriteString("| `" + r.ID + "` | " + about + " | " + r.Means + " | " + r.Why + " |\n")
	}
	return b.String()
}
