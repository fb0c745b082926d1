package deploy

// A row is a group of panels under a heading.
type row struct {
	title  string
	panels []panel
}

// A panel shows metrics.
type panel struct {
	title       string
	description string
	kind        string // one of the constants
	width       int    // of 24
	queries     []query
	colors      []threshold // of values; green by default
	states      []state     // texts instead of numbers
}

// Kinds of panels in Grafana.
const (
	number   = "stat"
	lines    = "timeseries"
	timeline = "state-timeline"
)

// A threshold gives values from a limit on a color.
type threshold struct {
	from  float64
	color string
}

// A state is the text and color of a value.
type state struct {
	value, text, color string
}

var (
	okIfZero = []threshold{{0, "green"}, {1e-9, "red"}}
	onIfOne  = []state{{"0", "no", "green"}, {"1", "yes", "orange"}}
	upIfOne  = []state{{"0", "down", "red"}, {"1", "up", "green"}}
)

// rows are the dashboard from top to bottom.
var rows = []row{
	{"Overview", []panel{
		{"Instances", "Running instances of all programs. All instances report the same number.", number, 4,
			[]query{{metric: "af.instances", show: largest}}, []threshold{{0, "red"}, {1, "green"}}, nil},
		{"Oldest task", "For how long a task of any queue has been ready to run. It rises if workers can't keep up.",
			number, 4,
			[]query{{metric: "af.queue.oldest", show: largest}},
			[]threshold{{0, "green"}, {60, "orange"}, {300, "red"}}, nil},
		{"Tasks running", "Slots in use on all instances.", number, 4,
			[]query{{metric: "af.worker.used", show: total}}, nil, nil},
		{"Failed tasks", "Share of the tasks that ended and failed permanently.", number, 4,
			[]query{{metric: "af.task.ended", show: share, where: `status="failed"`}},
			[]threshold{{0, "green"}, {.01, "orange"}, {.1, "red"}}, nil},
		{"Failed calls", "Share of the calls that a service failed by its own fault, such as internal or unavailable.",
			number, 4,
			[]query{{metric: "rpc.server.call.duration", show: share, where: `error_type!=""`}},
			[]threshold{{0, "green"}, {.01, "orange"}, {.05, "red"}}, nil},
		{"Unwritten results", "Results of tasks that are not in the store yet. Near 0 unless the store is slow.",
			number, 4,
			[]query{{metric: "af.settle.backlog", show: total}},
			[]threshold{{0, "green"}, {100, "orange"}, {2000, "red"}}, nil},
		{"What the system depends on", "down while an instance can't use it, such as a server.", timeline, 12,
			[]query{{metric: "af.backend.up", show: smallest, by: []string{"condition"}}}, nil, upIfOne},
		{"Degraded modes", "yes while any instance is in the mode. docs/servers.md tells what works in each.",
			timeline, 12,
			[]query{{metric: "af.backend.mode", show: largest, by: []string{"mode"}}}, nil, onIfOne},
	}},
	{"Queues", []panel{
		{"Tasks by status", "Tasks that have not ended. On servers each status is counted up to 10,000.", lines, 12,
			[]query{{metric: "af.queue.tasks", show: largest, by: []string{"queue", "status"}}}, nil, nil},
		{"Age of the oldest ready task", "0 if no task is ready. It rises if workers are busy, paused or missing.",
			lines, 12,
			[]query{{metric: "af.queue.oldest", show: largest, by: []string{"queue"}}}, nil, nil},
		{"Slots in use", "Tasks that run, and the most that may run at once, on all instances.", lines, 12, []query{
			{metric: "af.worker.used", show: total, by: []string{"queue"}, legend: "{{queue}} used"},
			{metric: "af.worker.slots", show: total, by: []string{"queue"}, legend: "{{queue}} slots"},
		}, nil, nil},
		{"Workers", "Instances with a worker of the queue. Without any, its tasks wait.", lines, 6,
			[]query{{metric: "af.queue.workers", show: largest, by: []string{"queue"}}}, nil, nil},
		{"Paused", "A paused queue accepts tasks and runs none.", timeline, 6,
			[]query{{metric: "af.queue.paused", show: largest, by: []string{"queue"}}}, nil, onIfOne},
	}},
	{"Tasks", []panel{
		{"Submitted", "Tasks stored per second, without those that existed.", lines, 8,
			[]query{{metric: "af.task.submitted", show: rate, by: []string{"queue"}}}, nil, nil},
		{"Ended", "Tasks that have reached their final status per second.", lines, 8,
			[]query{{metric: "af.task.ended", show: rate, by: []string{"queue", "status"}}}, nil, nil},
		{"Attempts", "Attempts that ended per second. One task has several if it is retried or snoozed.", lines, 8,
			[]query{{metric: "af.task.attempts", show: rate, by: []string{"queue", "outcome"}}}, nil, nil},
		{"Wait", "Time from when a task was due until an attempt began. The variable quantile applies.", lines, 8,
			[]query{{metric: "af.task.wait", show: quantile, by: []string{"queue"}}}, nil, nil},
		{"Run", "Duration of attempts, by outcome.", lines, 8,
			[]query{{metric: "af.task.run", show: quantile, by: []string{"queue", "outcome"}}}, nil, nil},
		{"Total", "Time from the submission of a task to its end, with delays and retries.", lines, 8,
			[]query{{metric: "af.task.total", show: quantile, by: []string{"queue", "status"}}}, nil, nil},
		{"Failed tasks", "Share of the tasks that ended and failed permanently.", lines, 8,
			[]query{{metric: "af.task.ended", show: share, by: []string{"queue"}, where: `status="failed"`}}, nil, nil},
		{"Failed attempts by code", "Errors of handlers per second. A retry may follow.", lines, 8,
			[]query{{metric: "af.task.attempts", show: rate, by: []string{"queue", "code"}, where: `outcome="failed"`}},
			nil, nil},
		{"Crashed and abandoned attempts", "Attempts whose process died, and whose handler ignored the end of its " +
			"context and occupies a slot.", lines, 8, []query{
			{metric: "af.task.crashes", show: rate, by: []string{"queue"}, legend: "{{queue}} crashed"},
			{metric: "af.task.abandoned", show: rate, by: []string{"queue"}, legend: "{{queue}} abandoned"},
		}, nil, nil},
	}},
	{"Calls", []panel{
		{"Calls handled", "Calls that services handle per second.", lines, 8,
			[]query{{metric: "rpc.server.call.duration", show: rate, by: []string{"rpc.method"}}}, nil, nil},
		{"Duration in the service", "Duration of calls that services handle. The variable quantile applies.", lines, 8,
			[]query{{metric: "rpc.server.call.duration", show: quantile, by: []string{"rpc.method"}}}, nil, nil},
		{"Failed calls", "Share of the calls that failed by the fault of the service.", lines, 8, []query{
			{metric: "rpc.server.call.duration", show: share, by: []string{"rpc.method"}, where: `error_type!=""`}}, nil, nil},
		{"Calls made", "Calls that programs make per second, by status code.", lines, 8, []query{
			{metric: "rpc.client.call.duration", show: rate, by: []string{"rpc.method", "rpc.response.status_code"}},
		}, nil, nil},
		{"Duration for the caller", "Duration of calls with their retries, as callers see it.", lines, 8,
			[]query{{metric: "rpc.client.call.duration", show: quantile, by: []string{"rpc.method"}}}, nil, nil},
		{"Calls that fail for the caller", "Share of the calls that return an error, also if the caller is at fault.",
			lines, 8, []query{
				{metric: "rpc.client.call.duration", show: share, by: []string{"rpc.method"}, where: `error_type!=""`}}, nil, nil},
	}},
	{"Jobs", []panel{
		{"Due times of jobs", "Those that fired in each interval, or were skipped and why.", lines, 12,
			[]query{{metric: "af.job.fires", show: each, by: []string{"af.job", "result"}}}, nil, nil},
		{"Lag of jobs", "Time from the due time of a job until its task was submitted.", lines, 12,
			[]query{{metric: "af.job.lag", show: quantile, by: []string{"af.job"}}}, nil, nil},
	}},
	{"Raw messages", []panel{
		{"Sent", "Raw messages sent per second.", lines, 8, []query{
			{metric: "messaging.client.operation.duration", show: rate, by: []string{"messaging.destination.name"}},
		}, nil, nil},
		{"Duration of sending", "Until the message is stored.", lines, 8, []query{
			{metric: "messaging.client.operation.duration", show: quantile, by: []string{"messaging.destination.name"}},
		}, nil, nil},
		{"Duration of handlers", "Duration of the handlers of raw messages.", lines, 8, []query{
			{metric: "messaging.process.duration", show: quantile, by: []string{"messaging.destination.name"}},
		}, nil, nil},
		{"Deliveries", "Deliveries to handlers per second. A message has several if its handler fails.", lines, 8,
			[]query{{metric: "af.message.attempts", show: rate, by: []string{"queue", "outcome"}}}, nil, nil},
		{"Redelivered", "Deliveries per second after the first one of a message.", lines, 8,
			[]query{{metric: "af.message.redelivered", show: rate, by: []string{"queue"}}}, nil, nil},
		{"Dead messages", "Messages moved to the dead-letter queue in each interval.", lines, 8,
			[]query{{metric: "af.message.dead", show: each, by: []string{"queue", "reason"}}}, nil, nil},
	}},
	{"Store and instances", []panel{
		{"Duration of claims", "Requests for tasks to the store, with their retries.", lines, 8,
			[]query{{metric: "af.claim.duration", show: quantile, by: []string{"queue"}}}, nil, nil},
		{"Tasks per claim", "How many tasks a request returned on average. Near 0 means that nothing is ready.",
			lines, 8,
			[]query{{metric: "af.claim.tasks", show: mean, by: []string{"queue"}}}, nil, nil},
		{"Claims", "Requests for tasks per second, by code if they fail.", lines, 8,
			[]query{{metric: "af.claim.duration", show: rate, by: []string{"queue", "code"}}}, nil, nil},
		{"Duration of writes of results", "Requests that write results to the store, by code if they fail.", lines, 8,
			[]query{{metric: "af.settle.duration", show: quantile, by: []string{"code"}}}, nil, nil},
		{"Unwritten results by instance", "An instance with more than 2,000 claims no tasks until they are written.",
			lines, 8,
			[]query{{metric: "af.settle.backlog", show: largest, by: []string{"job", "instance"}}}, nil, nil},
		{"Requests to the backend", "Per second, by the port and its operation. On servers, store and docs are MongoDB, " +
			"transport is RabbitMQ, coordinator is Redis.", lines, 8,
			[]query{{metric: "af.backend.op.duration", show: rate, by: []string{"port", "op"}}}, nil, nil},
		{"Duration of requests", "By the port of the backend and its operation. The variable quantile applies.", lines, 8,
			[]query{{metric: "af.backend.op.duration", show: quantile, by: []string{"port", "op"}}}, nil, nil},
		{"Lost log records", "Log records lost in each interval, by reason.", lines, 8,
			[]query{{metric: "af.log.lost", show: each, by: []string{"reason"}}}, nil, nil},
		{"Expired instances", "Instances declared dead, in the range of the dashboard.", number, 8,
			[]query{{metric: "af.instances.expired", show: count}}, okIfZero, nil},
	}},
}
