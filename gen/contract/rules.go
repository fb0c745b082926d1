package contract

import (
	"slices"
	"strings"
)

// A Rule is one way to break those who rely on a contract.
type Rule struct {
	ID string
	// Warning says that a finding is worth a look and no failure.
	Warning bool
	// Breaks says whom: peers and stored tasks that were built from the older contract, or code to be rebuilt.
	Breaks Side
	// Means says in a phrase what has happened, Why what comes of it and what to do instead.
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

// The rules by their IDs; the table says what each means.
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
func Rules() []Rule { return slices.Clone(rules) }

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
			return r, true
		}
	}
	return Rule{}, false
}

// The table, by name. It is never changed.
var rules = []Rule{
	{ClientMoved, true, Source, "the client half of a type goes into another package",
		"Code that imports the old package no longer compiles. Change its imports with the directive."},
	{FieldAdded, false, Callers, "a field that is not optional is new in what callers send",
		"Older callers don't send it, so the service finds it zero. Where zero will do, tag it omitempty or omitzero."},
	{FieldRemoved, false, Callers, "a field is gone from what is sent, at any depth",
		"What older peers send there is lost, and what they read there is zero. Stop using the field first, and remove it when no peer does."},
	{FieldRetyped, false, Callers, "a field is of another type in JSON, at any depth",
		"Older peers can't decode it, or decode something else. Add a field of another name and keep the old one for a while."},
	{MethodDeleted, false, Callers, "a method is gone", "Older callers get unimplemented. Keep it until none calls it."},
	{MethodNotIdempotent, false, Callers, "a method is no longer marked idempotent",
		"Older callers go on to repeat calls of unknown outcome. Give the method another name on the wire, or rebuild all callers first."},
	{MethodRenamed, false, Callers, "a method has another name on the wire", "Older callers get unimplemented. //af:method name=… keeps the wire name."},
	{ParameterAdded, false, Callers, "a method has another parameter", "Older callers don't send it, so the method finds it zero. Add a method beside the old one."},
	{ParameterRemoved, false, Callers, "a method has lost a parameter", "What older callers say there is ignored. Add a method beside the old one."},
	{ParameterRenamed, false, Callers, "a parameter has another name", "Parameters travel by name, so the method finds it zero. Keep the name in the signature."},
	{ParameterRetyped, false, Callers, "a parameter is of another type in JSON", "Older callers get invalid_argument, or are misread. Add a method beside the old one."},
	{ParametersReordered, false, Source, "parameters of one type have changed places",
		"The wire knows them by name, but Go code that is rebuilt passes them by position, and compiles with the values exchanged."},
	{PayloadChanged, false, Tasks, "the payload of a queue is of another type in JSON, at any depth",
		"Tasks that are still queued, retried or waiting for subtasks have the old payload; the worker would misread it or find fields zero. " +
			"Drain the queue first, or add a worker beside the old one. New optional fields do no harm."},
	{ResultAdded, true, Source, "a method has another result", "Older callers ignore it, but code that is rebuilt has to take it."},
	{ResultRemoved, false, Callers, "a method has lost a result", "Older callers find it zero. Add a method beside the old one."},
	{ResultRenamed, false, Callers, "a result has another name", "Results travel by name, so older callers find it zero. Keep the name in the signature."},
	{ResultRetyped, false, Callers, "a result is of another type in JSON", "Older callers can't decode it, or decode something else. Add a method beside the old one."},
	{ResultsReordered, false, Source, "results of one type have changed places",
		"The wire knows them by name, but Go code that is rebuilt takes them by position, and compiles with the values exchanged."},
	{ScheduleChanged, true, Tasks, "a job is due at other times, or in another time zone",
		"Whoever starts replaces the job that is stored: while old and new code run side by side, it may be due by either."},
	{ScheduleDeleted, true, Tasks, "a job is no longer declared",
		"A process of the newer code removes it when it starts, and one of the older code brings it back."},
	{ServiceDeleted, false, Callers, "a service is gone", "Older callers find no instance. Keep it until none calls it."},
	{ServiceRenamed, false, Callers, "a service has another name on the wire", "Older callers find no instance. //af:rpc name=… keeps the wire name."},
	{TaskResultChanged, false, Tasks, "the result of a queue is gone or of another type in JSON, at any depth",
		"Results that are stored already, and those that older processes wait for, are read as something else. Add a worker beside the old one."},
	{WorkerDeleted, false, Tasks, "a worker is gone", "Tasks that are still queued are never run. Keep it until its queue is empty."},
	{WorkerRenamed, false, Tasks, "a worker's queue has another name",
		"Tasks that are still queued are never run, and older processes submit to the old queue. //af:worker name=… keeps the name of the queue."},
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
