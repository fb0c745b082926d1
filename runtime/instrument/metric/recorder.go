// Package metric has the metrics of an App: one table of names, units, attributes and buckets, and how values are
// obtained. It is for packages that export metrics, such as afotel of github.com/afgen/afgen/otel and
// metrics of github.com/afgen/afgen/metrics; programs use these. docs/metrics.md is generated from the table.
//
// A [Recorder] is an instrument: it turns the operations and events of an App into values of counters and histograms.
// [Gauges] reads the gauges when they are collected. Both pass values to the exporting package:
//
//	recorder := metric.NewRecorder(func(m metric.Metric, values []string) metric.Series {
//		child := vectors[m.Name].WithLabelValues(values...)
//		return func(_ context.Context, v float64) { child.Observe(v) }
//	})
//	app, err := af.Open(ctx, backend, af.Instrument(recorder))
//	gauges := metric.NewGauges(app)
//
// # Cardinality
//
// Attributes are names of queues, methods, jobs and operations of the backend, statuses, outcomes and codes: never ids,
// addresses or texts. Of each metric there are at most [MaxSeries] series. Further names of queues, methods and jobs are
// replaced by [Other].
package metric

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
)

const (
	// MaxSeries is the largest number of series of a metric in an App, without those of [Other].
	MaxSeries = 2000
	// Other is the name of a queue, method or job in a series of those that exceed MaxSeries.
	Other = "_OTHER"
	// System is the value of the attributes rpc.system.name and messaging.system.
	System = "afgen"
)

// A Series records a value of one series: adds it to a counter, or observes it in a histogram. It is called
// concurrently, and must not block. ctx has the current span, for exemplars.
type Series func(ctx context.Context, value float64)

// A Sink returns the Series of a metric with these values of its attributes, in their order. An attribute whose value
// is "" is absent. A Recorder calls it once for each series, for several metrics concurrently.
type Sink func(m Metric, values []string) Series

// maxOther is the number of series of Other: by codes, statuses or outcomes.
const maxOther = 200

// most is the number of attributes that a metric has at most.
const most = 4

// labels are the values of the attributes of a series.
type labels [most]string

// A Recorder records counters and histograms. Create it with [NewRecorder]. It is safe for concurrent use.
type Recorder struct {
	instrument.NoInstrument
	sink    Sink
	series  [firstGauge]family
	codes   map[backend.Code]bool
	methods cache[methodKey, methodSeries]
	queues  cache[string, queueSeries]
	settled slot // of the writes that succeed
}

// A family has the series of a metric.
type family struct {
	mu     sync.RWMutex
	series map[labels]Series
}

// NewRecorder returns a Recorder that records into the series of sink.
func NewRecorder(sink Sink) *Recorder {
	r := &Recorder{sink: sink, codes: map[backend.Code]bool{"": true}}
	for _, c := range backend.Codes() {
		r.codes[c] = true
	}
	for i := range r.series {
		r.series[i].series = map[labels]Series{}
	}
	return r
}

// Call implements [instrument.Instrumentation].
func (r *Recorder) Call(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	return ctx, r.call(ctx, clientDuration, s.Service, s.Method)
}

// Handle implements [instrument.Instrumentation].
func (r *Recorder) Handle(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	return ctx, r.call(ctx, serverDuration, s.Service, s.Method)
}

func (r *Recorder) call(ctx context.Context, metric int, service, name string) func(instrument.End) {
	begun, m := now(), r.methods.get(methodKey{service, name}, newMethod)
	return func(e instrument.End) {
		took := (now() - begun).Seconds()
		l := labels{System, m.service, m.name, string(r.code(e.Code))} // not yet in the order of the attributes
		switch {
		case e.Code != "":
			r.record(ctx, metric, took, l)
		case metric == clientDuration:
			r.recordIn(ctx, &m.client, metric, took, &l)
		default:
			r.recordIn(ctx, &m.server, metric, took, &l)
		}
	}
}

// Submit implements [instrument.Instrumentation].
func (r *Recorder) Submit(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	return ctx, r.submit(ctx, s.Queue)
}

func (r *Recorder) submit(ctx context.Context, name string) func(instrument.End) {
	q := r.queues.get(name, newQueue)
	return func(e instrument.End) {
		if e.Stored > 0 {
			r.recordIn(ctx, &q.submitted, taskSubmitted, float64(e.Stored), &labels{q.name})
		}
	}
}

// Attempt implements [instrument.Instrumentation].
func (r *Recorder) Attempt(ctx context.Context, s instrument.Start) (context.Context, func(instrument.End)) {
	return ctx, r.attempt(ctx, s.Queue, s.Wait)
}

func (r *Recorder) attempt(ctx context.Context, name string, wait time.Duration) func(instrument.End) {
	begun, q := now(), r.queues.get(name, newQueue)
	r.recordIn(ctx, &q.wait, taskWait, wait.Seconds(), &labels{q.name})
	return func(e instrument.End) {
		took := (now() - begun).Seconds()
		l := labels{q.name, string(e.Attempt)}
		if e.Attempt == backend.AttemptSucceeded {
			r.recordIn(ctx, &q.run, taskRun, took, &l)
			r.recordIn(ctx, &q.attempts, taskAttempts, 1, &l)
		} else {
			r.record(ctx, taskRun, took, l)
			if e.Attempt == backend.AttemptFailed { // otherwise the outcome says it all
				l[2] = string(r.code(e.Code))
			}
			if e.Attempt != backend.AttemptLost { // counted as a crash by the App that declared this one dead
				r.record(ctx, taskAttempts, 1, l)
			}
		}
		if e.Abandoned {
			r.record(ctx, taskAbandoned, 1, labels{q.name})
		}
	}
}

// Observe implements [instrument.Instrumentation].
func (r *Recorder) Observe(e instrument.Event) {
	ctx, seconds, code := context.Background(), e.Duration.Seconds(), string(r.code(e.Code))
	switch e.Kind {
	case instrument.TaskEnded:
		total, ended := labels{e.Queue, string(e.Status)}, labels{e.Queue, string(e.Status), code}
		if e.Status == backend.StatusSuccess && code == "" {
			q := r.queues.get(e.Queue, newQueue)
			r.recordIn(ctx, &q.total, taskTotal, seconds, &total)
			r.recordIn(ctx, &q.ended, taskEnded, 1, &ended)
			return
		}
		r.record(ctx, taskTotal, seconds, total)
		r.record(ctx, taskEnded, 1, ended)
	case instrument.AttemptLost:
		r.record(ctx, taskCrashes, 1, labels{e.Queue})
	case instrument.OwnerExpired:
		r.record(ctx, instancesExpired, 1, labels{})
	case instrument.JobFired:
		r.record(ctx, jobFires, 1, labels{e.Job, "fired"})
		r.record(ctx, jobLag, seconds, labels{e.Job})
	case instrument.JobSkipped:
		r.record(ctx, jobFires, float64(e.Tasks), labels{e.Job, e.Reason})
	case instrument.Claimed:
		if code != "" {
			r.record(ctx, claimDuration, seconds, labels{e.Queue, code})
			return
		}
		q := r.queues.get(e.Queue, newQueue)
		r.recordIn(ctx, &q.claimDuration, claimDuration, seconds, &labels{e.Queue})
		r.recordIn(ctx, &q.claimTasks, claimTasks, float64(e.Tasks), &labels{e.Queue})
	case instrument.LogLost:
		r.record(ctx, logLost, float64(e.Records), labels{e.Reason})
	case instrument.Settled:
		if code != "" {
			r.record(ctx, settleDuration, seconds, labels{code})
			return
		}
		r.recordIn(ctx, &r.settled, settleDuration, seconds, &labels{})
	case instrument.Requested:
		r.record(ctx, opDuration, seconds, labels{e.Port, e.Op, code})
	}
}

// code returns one of the sixteen codes, or "" without an error. A handler may return any string as a code.
func (r *Recorder) code(c backend.Code) backend.Code {
	if r.codes[c] {
		return c
	}
	return backend.ErrUnknown
}

// ServerError reports whether a call that a service answers with a code has failed because of the service, as
// OpenTelemetry's conventions for gRPC have it. Others, such as not_found, are the caller's.
func ServerError(c backend.Code) bool {
	switch c {
	case backend.ErrUnknown, backend.ErrDeadlineExceeded, backend.ErrUnimplemented, backend.ErrInternal,
		backend.ErrUnavailable, backend.ErrDataLoss:
		return true
	}
	return false
}

// record records a value of a metric. A negative one is a mistake of another program, and would break exporters.
func (r *Recorder) record(ctx context.Context, metric int, value float64, l labels) {
	r.find(metric, l)(ctx, max(value, 0))
}

// find returns the series of a metric with these labels. Those of a call are the system, the service, the method and
// the code, which become those of the table if the series is new.
func (r *Recorder) find(metric int, l labels) Series {
	f := &r.series[metric]
	f.mu.RLock()
	s := f.series[l]
	f.mu.RUnlock()
	if s != nil {
		return s
	}
	named := l
	for i := range named {
		named[i] = valid(named[i])
	}
	if metric == clientDuration || metric == serverDuration {
		named[1], named[2], named[3] = named[1]+"/"+named[2], "ok", ""
		if code := l[3]; code != "" {
			named[2] = code
			if metric == clientDuration || ServerError(backend.Code(code)) {
				named[3] = code
			}
		}
	}
	return r.add(metric, l, named)
}

// add returns the series of a key, which it adds if the limit allows it. Otherwise it is one of Other.
func (r *Recorder) add(metric int, key, named labels) Series {
	f, m := &r.series[metric], table[metric]
	f.mu.Lock()
	defer f.mu.Unlock()
	if s := f.series[key]; s != nil {
		return s
	}
	if n := len(f.series); n >= MaxSeries {
		for i, name := range m.Attributes {
			if unbounded(name) || n >= MaxSeries+maxOther { // foreign documents have many statuses or reasons
				named[i] = Other
			}
		}
		key = named
		if s := f.series[key]; s != nil {
			return s
		}
	}
	s := r.sink(m, slices.Clone(named[:len(m.Attributes)]))
	f.series[key] = s
	return s
}

// unbounded reports whether the values of an attribute are chosen by programs.
func unbounded(attribute string) bool {
	return attribute == "queue" || attribute == "af.job" || attribute == "rpc.method" ||
		attribute == "messaging.destination.name"
}

// valid returns a name without invalid UTF-8, for which exporters would refuse everything that they send with it.
func valid(name string) string { return strings.ToValidUTF8(name, "\uFFFD") }
