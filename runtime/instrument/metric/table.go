package metric

import (
	"slices"
	"strings"
)

// A Kind is how the values of a [Metric] are aggregated.
type Kind string

// The kinds of metrics.
const (
	Counter   Kind = "counter"   // a sum that only rises
	Gauge     Kind = "gauge"     // the last value
	Histogram Kind = "histogram" // a distribution
)

// A Metric is a row of the table. Names and attributes are those of OpenTelemetry.
type Metric struct {
	Name        string
	Kind        Kind
	Unit        string    // in UCUM: s, or what is counted, such as {task}
	Attributes  []string  // the values of a series are in this order
	Buckets     []float64 // upper bounds, ascending; of a Histogram only
	Description string
}

// All returns all metrics in the order of docs/metrics.md. The caller must not modify the slices in them.
func All() []Metric { return slices.Clone(table) }

// Prometheus returns the name of the metric in Prometheus, as OpenTelemetry's exporter translates it. Dots of
// attributes become underscores, too.
func (m Metric) Prometheus() string {
	name := strings.ReplaceAll(m.Name, ".", "_")
	if m.Unit == "s" {
		name += "_seconds"
	}
	if m.Kind == Counter {
		name += "_total"
	}
	return name
}

// The buckets of histograms.
var (
	callSeconds  = []float64{.005, .01, .025, .05, .075, .1, .25, .5, .75, 1, 2.5, 5, 7.5, 10} // those of the conventions
	taskSeconds  = []float64{.005, .025, .1, .5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600, 14400}
	storeSeconds = []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10}
	batchTasks   = []float64{0, 1, 2, 5, 10, 20, 50, 100, 200, 500}
)

// The attributes of calls, by OpenTelemetry's conventions.
var callAttributes = []string{"rpc.system.name", "rpc.method", "rpc.response.status_code", "error.type"}

// The attributes of raw messages, by the same conventions.
var messageAttributes = []string{"messaging.system", "messaging.operation.name", "messaging.destination.name",
	"error.type"}

// The indexes of table.
const (
	clientDuration = iota
	serverDuration
	taskSubmitted
	taskWait
	taskRun
	taskTotal
	taskAttempts
	taskEnded
	taskCrashes
	taskAbandoned
	claimDuration
	claimTasks
	settleDuration
	opDuration
	jobFires
	jobLag
	instancesExpired
	messageSend
	messageProcess
	messageAttempts
	messageRedelivered
	messageDead
	logLost

	firstGauge
	queueTasks = iota - 1
	queueOldest
	queuePaused
	queueWorkers
	workerSlots
	workerUsed
	settleBacklog
	instances
	backendUp
	backendMode
)

var table = []Metric{
	clientDuration: {"rpc.client.call.duration", Histogram, "s", callAttributes, callSeconds,
		"Duration of calls that this App makes, with their retries"},
	serverDuration: {"rpc.server.call.duration", Histogram, "s", callAttributes, callSeconds,
		"Duration of calls that this App handles"},

	taskSubmitted: {"af.task.submitted", Counter, "{task}", []string{"queue"}, nil,
		"Tasks stored by this App, without submissions that found an existing task"},
	taskWait: {"af.task.wait", Histogram, "s", []string{"queue"}, taskSeconds,
		"Time from when a task was due until an attempt of it began"},
	taskRun: {"af.task.run", Histogram, "s", []string{"queue", "outcome"}, taskSeconds,
		"Duration of attempts"},
	taskTotal: {"af.task.total", Histogram, "s", []string{"queue", "status"}, taskSeconds,
		"Time from the submission of a task until it ended, with delays and retries"},
	taskAttempts: {"af.task.attempts", Counter, "{attempt}", []string{"queue", "outcome", "code"}, nil,
		"Attempts that ended in this App, without those whose process died"},
	taskEnded: {"af.task.ended", Counter, "{task}", []string{"queue", "status", "code"}, nil,
		"Tasks that have ended"},
	taskCrashes: {"af.task.crashes", Counter, "{attempt}", []string{"queue"}, nil,
		"Attempts whose process died or was declared dead, counted by the App that noticed it"},
	taskAbandoned: {"af.task.abandoned", Counter, "{attempt}", []string{"queue"}, nil,
		"Attempts whose handler did not return in time after its context had ended"},

	claimDuration: {"af.claim.duration", Histogram, "s", []string{"queue", "code"}, storeSeconds,
		"Duration of requests for tasks to the store, with their retries"},
	claimTasks: {"af.claim.tasks", Histogram, "{task}", []string{"queue"}, batchTasks,
		"Tasks that a request to the store returned"},
	settleDuration: {"af.settle.duration", Histogram, "s", []string{"code"}, storeSeconds,
		"Duration of requests that write results to the store"},
	opDuration: {"af.backend.op.duration", Histogram, "s", []string{"port", "op", "code"}, storeSeconds,
		"Duration of requests to the backend, by its port and the port's operation"},

	jobFires: {"af.job.fires", Counter, "{fire}", []string{"af.job", "result"}, nil,
		"Due times of jobs; the result is fired, or why it was skipped"},
	jobLag: {"af.job.lag", Histogram, "s", []string{"af.job"}, taskSeconds,
		"Time from the due time of a job until its task was submitted"},

	instancesExpired: {"af.instances.expired", Counter, "{instance}", nil, nil,
		"Instances declared dead, counted by the App that noticed it"},

	messageSend: {"messaging.client.operation.duration", Histogram, "s", messageAttributes, callSeconds,
		"Duration of sending raw messages. The destination is the queue"},
	messageProcess: {"messaging.process.duration", Histogram, "s", messageAttributes, callSeconds,
		"Duration of the handlers of raw messages"},
	messageAttempts: {"af.message.attempts", Counter, "{attempt}", []string{"queue", "outcome", "code"}, nil,
		"Deliveries of raw messages to handlers: success, failed (delivered again later, or dead) or returned (released " +
			"at shutdown)"},
	messageRedelivered: {"af.message.redelivered", Counter, "{attempt}", []string{"queue"}, nil,
		"Deliveries of raw messages after the first one"},
	messageDead: {"af.message.dead", Counter, "{message}", []string{"queue", "reason"}, nil,
		"Raw messages given up and moved to the dead-letter queue. The reason is attempts, permanent or crash"},

	logLost: {"af.log.lost", Counter, "{record}", []string{"reason"}, nil,
		"Log records that this App has lost. The reason is file or console (it could not be written), handler (that of " +
			"the program returned an error) or live (a task logged faster than those who follow it get lines)"},

	queueTasks: {"af.queue.tasks", Gauge, "{task}", []string{"queue", "status"}, nil,
		"Tasks that have not ended, of each status up to 10,000 on servers. All Apps report the same: use " +
			"max by (queue, status)"},
	queueOldest: {"af.queue.oldest", Gauge, "s", []string{"queue"}, nil,
		"For how long a task has been ready to run, 0 if none is. All Apps report the same: use max by (queue)"},
	queuePaused: {"af.queue.paused", Gauge, "{state}", []string{"queue"}, nil,
		"1 if the queue is paused. All Apps report the same: use max by (queue)"},
	queueWorkers: {"af.queue.workers", Gauge, "{instance}", []string{"queue"}, nil,
		"Instances with a worker of the queue. All Apps report the same: use max by (queue)"},
	workerSlots: {"af.worker.slots", Gauge, "{task}", []string{"queue"}, nil,
		"Tasks that this App may run at once: use sum by (queue)"},
	workerUsed: {"af.worker.used", Gauge, "{task}", []string{"queue"}, nil,
		"Slots in use by this App, including those of abandoned attempts: use sum by (queue)"},
	settleBacklog: {"af.settle.backlog", Gauge, "{result}", nil, nil,
		"Results that this App has not written to the store yet"},
	instances: {"af.instances", Gauge, "{instance}", nil, nil,
		"Running instances. All Apps report the same: use max"},
	backendUp: {"af.backend.up", Gauge, "{state}", []string{"condition"}, nil,
		"1 if what this App depends on works, such as rabbitmq"},
	backendMode: {"af.backend.mode", Gauge, "{state}", []string{"mode"}, nil,
		"1 while this App is in the degraded mode"},
}
