package metric

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
)

// values are what a sink has got: sums by metric and attributes.
type values struct {
	mu   sync.Mutex
	sums map[string]float64
}

func (v *values) sink(m Metric, attributes []string) Series {
	if len(attributes) != len(m.Attributes) {
		panic(fmt.Sprint(m.Name, attributes))
	}
	key := strings.TrimSpace(m.Name + " " + strings.Join(attributes, " "))
	return func(_ context.Context, value float64) {
		v.mu.Lock()
		defer v.mu.Unlock()
		v.sums[key] += value
	}
}

// do begins and ends an operation.
func do(begin func(context.Context, instrument.Start) (context.Context, func(instrument.End)),
	s instrument.Start, e instrument.End,
) {
	_, end := begin(context.Background(), s)
	end(e)
}

func TestRecorderCounts(t *testing.T) {
	v := &values{sums: map[string]float64{}}
	r := NewRecorder(v.sink)
	call := instrument.Start{Service: "orders", Method: "Get"}
	do(r.Call, call, instrument.End{})
	do(r.Call, call, instrument.End{Err: backend.ErrNotFound, Code: backend.ErrNotFound})
	do(r.Handle, call, instrument.End{Err: backend.ErrNotFound, Code: backend.ErrNotFound})
	do(r.Handle, call, instrument.End{Err: backend.Code("made up"), Code: "made up"})
	do(r.Submit, instrument.Start{Queue: "q", Tasks: 3}, instrument.End{Stored: 3})
	do(r.Submit, instrument.Start{Queue: "q"}, instrument.End{Err: backend.ErrUnavailable, Code: backend.ErrUnavailable})
	attempt := instrument.Start{Queue: "q", Wait: 2 * time.Second}
	do(r.Attempt, attempt, instrument.End{Attempt: backend.AttemptSucceeded})
	do(r.Attempt, attempt,
		instrument.End{Attempt: backend.AttemptFailed, Code: backend.ErrDeadlineExceeded, Abandoned: true})
	do(r.Attempt, attempt, instrument.End{Attempt: backend.AttemptStopped, Code: backend.ErrAborted})
	do(r.Attempt, attempt, instrument.End{Attempt: backend.AttemptLost, Code: backend.ErrAborted})
	do(r.Message, instrument.Start{Queue: "m"}, instrument.End{})
	do(r.Message, instrument.Start{Queue: "m"}, instrument.End{Err: backend.ErrUnavailable, Code: backend.ErrUnavailable})
	received := instrument.Start{Queue: "m", Receive: true, Attempt: 1}
	again := instrument.Start{Queue: "m", Receive: true, Attempt: 2}
	failed := instrument.End{Err: backend.ErrInternal, Code: backend.ErrInternal, Delay: time.Second}
	do(r.Message, received, instrument.End{})
	do(r.Message, received, failed)
	do(r.Message, received, instrument.End{Err: backend.ErrAborted, Code: backend.ErrAborted}) // released
	do(r.Message, again, instrument.End{})
	failed.Delay, failed.Dead = 0, backend.DeadPermanent
	do(r.Message, again, failed)
	failed.Dead = backend.DeadCrash
	do(r.Message, again, failed)
	for _, e := range []instrument.Event{
		{Kind: instrument.TaskEnded, Queue: "q", Status: backend.StatusFailed, Code: backend.ErrInternal,
			Duration: time.Minute},
		{Kind: instrument.AttemptLost, Queue: "q", Task: "id"},
		{Kind: instrument.OwnerExpired, Owner: "id", Tasks: 2},
		{Kind: instrument.JobFired, Job: "j", Duration: 3 * time.Second},
		{Kind: instrument.JobSkipped, Job: "j", Reason: "overlap", Tasks: 2},
		{Kind: instrument.Claimed, Queue: "q", Tasks: 5, Duration: time.Second},
		{Kind: instrument.Claimed, Queue: "q", Code: backend.ErrUnavailable, Duration: time.Second},
		{Kind: instrument.Settled, Tasks: 5, Duration: time.Second},
		{Kind: instrument.LogLost, Reason: "file", Records: 3},
		{Kind: instrument.LogLost, Reason: "file", Records: 1},
		{Kind: instrument.ModeEntered, Mode: "store-down", Cause: "127.0.0.1"},
	} {
		r.Observe(e)
	}
	for name := range v.sums { // these are of this machine's speed
		if strings.Contains(name, "call.duration") || strings.HasPrefix(name, "messaging.") ||
			strings.HasPrefix(name, "af.task.run") {
			v.sums[name] = 0
		}
	}
	want := map[string]float64{
		"rpc.client.call.duration afgen orders/Get ok":                  0,
		"rpc.client.call.duration afgen orders/Get not_found not_found": 0,
		"rpc.server.call.duration afgen orders/Get not_found":           0,
		"rpc.server.call.duration afgen orders/Get unknown unknown":     0,
		"af.task.submitted q":                              3,
		"af.task.wait q":                                   8,
		"af.task.run q lost":                               0,
		"af.task.run q success":                            0,
		"af.task.run q failed":                             0,
		"af.task.run q stopped":                            0,
		"af.task.attempts q success":                       1,
		"af.task.attempts q failed deadline_exceeded":      1,
		"af.task.attempts q stopped":                       1,
		"af.task.abandoned q":                              1,
		"af.task.total q failed":                           60,
		"af.task.ended q failed internal":                  1,
		"af.task.crashes q":                                1,
		"af.instances.expired":                             1,
		"af.job.fires j fired":                             1,
		"af.job.fires j overlap":                           2,
		"af.job.lag j":                                     3,
		"af.claim.duration q":                              1,
		"af.claim.duration q unavailable":                  1,
		"af.claim.tasks q":                                 5,
		"af.settle.duration":                               1,
		"messaging.client.operation.duration afgen send m": 0,
		"messaging.client.operation.duration afgen send m unavailable": 0,
		"messaging.process.duration afgen process m":                   0,
		"messaging.process.duration afgen process m internal":          0,
		"messaging.process.duration afgen process m aborted":           0,
		"af.message.attempts m success":                                2,
		"af.message.attempts m failed internal":                        2,
		"af.message.attempts m returned":                               1,
		"af.log.lost file":                                             4,
		"af.message.redelivered m":                                     3,
		"af.message.dead m permanent":                                  1,
		"af.message.dead m crash":                                      1,
	}
	if !maps.Equal(v.sums, want) {
		for _, name := range slices.Sorted(maps.Keys(v.sums)) {
			t.Logf("%q: %v", name, v.sums[name])
		}
		t.Errorf("got the values above, want %v", want)
	}
}

// However many queues there are, the number of series is limited, and no value is lost.
func TestSeriesAreLimited(t *testing.T) {
	v := &values{sums: map[string]float64{}}
	r := NewRecorder(v.sink)
	const queues = MaxSeries + 500
	var running sync.WaitGroup
	for n := range 4 {
		running.Go(func() {
			for i := range queues {
				if i%4 == n {
					do(r.Submit, instrument.Start{Queue: fmt.Sprint("q", i)}, instrument.End{Stored: 2})
					do(r.Call, instrument.Start{Service: "s", Method: fmt.Sprint(i)}, instrument.End{})
					do(r.Message, instrument.Start{Queue: fmt.Sprint("q", i)}, instrument.End{})
				}
			}
		})
	}
	running.Wait()
	counts, sum := map[string]int{}, 0.0
	for key, value := range v.sums {
		name, _, _ := strings.Cut(key, " ")
		counts[name]++
		if name == "af.task.submitted" {
			sum += value
		}
	}
	want := map[string]int{"af.task.submitted": MaxSeries + 1, "rpc.client.call.duration": MaxSeries + 1,
		"messaging.client.operation.duration": MaxSeries + 1}
	if !maps.Equal(counts, want) || sum != 2*queues || v.sums["af.task.submitted _OTHER"] != 2*500 {
		t.Errorf("%v series with %v tasks, %v of them in the others", counts, sum, v.sums["af.task.submitted _OTHER"])
	}
	if _, ok := v.sums["rpc.client.call.duration afgen _OTHER ok"]; !ok {
		t.Error("no series of the other methods")
	}
}

func TestNamesAreValid(t *testing.T) {
	v := &values{sums: map[string]float64{}}
	r := NewRecorder(v.sink)
	do(r.Submit, instrument.Start{Queue: "q\xff"}, instrument.End{Stored: 1})
	do(r.Call, instrument.Start{Service: "s\xff", Method: "m"}, instrument.End{})
	for _, name := range []string{"af.task.submitted q\uFFFD", "rpc.client.call.duration afgen s\uFFFD/m ok"} {
		if _, ok := v.sums[name]; !ok {
			t.Errorf("no series %s in %v", name, v.sums)
		}
	}
}

// A value of a known series allocates nothing.
func TestRecorderAllocatesLittle(t *testing.T) {
	r := NewRecorder(func(Metric, []string) Series { return func(context.Context, float64) {} })
	for name, operation := range map[string]func(){
		"call":    func() { do(r.Call, instrument.Start{Service: "s", Method: "m"}, instrument.End{}) },
		"send":    func() { do(r.Message, instrument.Start{Queue: "q"}, instrument.End{}) },
		"receive": func() { do(r.Message, instrument.Start{Queue: "q", Receive: true}, instrument.End{}) },
		"submit":  func() { do(r.Submit, instrument.Start{Queue: "q"}, instrument.End{Stored: 1}) },
		"attempt": func() { do(r.Attempt, instrument.Start{Queue: "q"}, instrument.End{Attempt: "success"}) },
		"claimed": func() { r.Observe(instrument.Event{Kind: instrument.Claimed, Queue: "q"}) },
	} {
		most := 1.0 // the function that ends it
		if name == "claimed" {
			most = 0
		}
		if n := testing.AllocsPerRun(100, operation); n > most {
			t.Errorf("%s: %v allocations, want at most %v", name, n, most)
		}
	}
}
