package history

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// open returns the ports of a new backend.
func open(t *testing.T) *backend.Ports {
	t.Helper()
	ports, err := memory.New().Open(t.Context(), backend.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ports.Close(context.Background()) })
	return ports
}

// recorder returns the Recorder of an instance whose documents are docs.
func recorder(ports *backend.Ports, docs backend.Docs, instance string) *Recorder {
	return New(Config{Docs: docs, Store: ports.Store, Instance: instance, Log: slog.New(slog.DiscardHandler)})
}

// started returns a task that waited in a queue and was claimed now.
func started(queue string, wait time.Duration) *backend.Task {
	now := time.Now()
	return &backend.Task{Queue: queue, Created: now.Add(-wait), RunAt: now.Add(-wait), Started: now}
}

// total adds up the points of a query.
func total(t *testing.T, r *Recorder, q Query) (sum Totals) {
	t.Helper()
	points, err := r.Read(t.Context(), q)
	if err != nil {
		t.Fatal(err)
	}
	for i := range points {
		sum.Add(&points[i].Totals)
	}
	return sum
}

// names returns the names of the documents with a prefix.
func names(t *testing.T, docs backend.Docs, prefix string) (names []string) {
	t.Helper()
	found, err := docs.List(t.Context(), prefix)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range found {
		names = append(names, d.Name)
	}
	return names
}

func TestCountingAllocatesNothing(t *testing.T) {
	r := recorder(open(t), nil, "i")
	task := started("q", time.Second)
	tasks := []backend.NewTask{{Task: backend.Task{ID: "ABCDEFGHIJKLMNOPQRSTUVWXYZ", Queue: "q"}}}
	stored := []backend.Task{tasks[0].Task}
	failure := &backend.TaskError{Code: backend.ErrUnavailable}
	n := testing.AllocsPerRun(1000, func() {
		r.inserted(tasks, stored, r.floor())
		r.Started(task)
		r.Settled("q", backend.StatusRetrying, failure, time.Millisecond)
	})
	if n != 0 {
		t.Errorf("%v allocations per task", n)
	}
}

func TestWindowIsOneDocument(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := open(t)
		ctx, cancel := context.WithCancel(t.Context())
		docs := &faultyDocs{Docs: ports.Docs}
		r := recorder(ports, docs, "i")
		done := make(chan struct{})
		go func() { defer close(done); r.Run(ctx) }()
		for n := range 5 {
			for q := range 10 {
				r.Started(started(fmt.Sprint(q), 0))
			}
			time.Sleep(time.Minute)
			if got := names(t, ports.Docs, minutesPrefix); len(got) != n+1 {
				t.Fatalf("after %d minutes: %q", n+1, got)
			}
		}
		writes := docs.calls
		time.Sleep(time.Hour)
		if docs.calls != writes {
			t.Errorf("%d requests without an event", docs.calls-writes)
		}
		cancel()
		<-done
	})
}

// A window that is being written is read once: from memory or from its document.
func TestReadDuringWriteCountsOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := open(t)
		docs := &faultyDocs{Docs: ports.Docs}
		r := recorder(ports, docs, "i")
		r.Started(started("q", 0))
		time.Sleep(30 * time.Second)
		if got := total(t, r, Query{}); got.Started != 1 {
			t.Errorf("before: %d", got.Started)
		}
		docs.before = func(string) { // the first request of the read
			docs.before = nil
			r.Flush(t.Context())
		}
		if got := total(t, r, Query{}); got.Started != 1 || len(r.unwritten) > 0 {
			t.Errorf("during: %d", got.Started)
		}
		if got := total(t, r, Query{}); got.Started != 1 {
			t.Errorf("after: %d", got.Started)
		}
	})
}

func TestPointsOfAPeriod(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := open(t)
		a, b := recorder(ports, ports.Docs, "a"), recorder(ports, ports.Docs, "b")
		begin := time.Now().UTC().Truncate(time.Hour)
		for range 5 * 60 { // five hours, an event of each instance in each minute
			time.Sleep(15 * time.Second)
			a.Started(started("q", time.Second))
			b.Settled("p", backend.StatusFailed, &backend.TaskError{Code: "mine"}, time.Minute)
			time.Sleep(30 * time.Second)
			a.Flush(t.Context())
			b.Flush(t.Context())
			time.Sleep(15 * time.Second)
		}
		check := func(q Query, points int, started, failed int64) {
			t.Helper()
			got, err := a.Read(t.Context(), q)
			if err != nil || len(got) != points {
				t.Fatalf("%d points, want %d, %v", len(got), points, err)
			}
			sum := total(t, a, q)
			if sum.Started != started || sum.Failed != failed || sum.Codes[backend.ErrUnknown] != failed ||
				sum.Wait.Count() != started || sum.Run.Count() != failed {
				t.Errorf("%+v: started %d, want %d, failed %d, want %d, codes %v", q, sum.Started, started, sum.Failed, failed,
					sum.Codes)
			}
		}
		now := time.Now()
		for range 2 {
			check(Query{}, 61, 60, 60)
			check(Query{Queue: "q"}, 61, 60, 0)
			check(Query{Queue: "unknown", Step: 5 * time.Minute}, 13, 0, 0)
			check(Query{From: begin}, int(now.Sub(begin)/time.Hour)+1, 300, 300)
			check(Query{From: begin, Step: 24 * time.Hour}, 1, 300, 300)
			check(Query{From: begin.Add(-24 * time.Hour), To: begin}, 24, 0, 0)
			check(Query{From: now.Add(time.Hour), To: now.Add(2 * time.Hour)}, 60, 0, 0)
			a.Fold(t.Context(), now)
		}
		if got := names(t, ports.Docs, hoursPrefix); len(got) != 3 {
			t.Errorf("hours %q", got)
		}
		for _, q := range []Query{
			{Step: time.Second}, {Step: -time.Minute}, {Step: 90 * time.Second},
			{From: now, To: now.Add(-time.Hour)}, {From: now.Add(-7 * 24 * time.Hour), Step: time.Minute},
			{From: time.Unix(-1<<55, 0), To: time.Unix(1<<55, 0), Step: time.Minute},
		} {
			if _, err := a.Read(t.Context(), q); backend.CodeOf(err) != backend.ErrInvalidArgument {
				t.Errorf("%+v: %v", q, err)
			}
		}
		time.Sleep(8 * 24 * time.Hour)
		a.Fold(t.Context(), time.Now())
		if got := names(t, ports.Docs, "history/"); len(got) != 0 {
			t.Errorf("left after a week: %q", got)
		}
	})
}

// faultyDocs lose replies and requests.
type faultyDocs struct {
	backend.Docs
	before func(op string)             // called before each request
	fault  func() (before, after bool) // whether a request or its reply is lost
	calls  int
}

var errLost = backend.NewError(backend.ErrUnavailable, "lost")

func (d *faultyDocs) do(op string, f func() error) error {
	d.calls++
	if d.before != nil {
		d.before(op)
	}
	var before, after bool
	if d.fault != nil {
		before, after = d.fault()
	}
	if before {
		return errLost
	}
	if err := f(); err != nil || !after {
		return err
	}
	return errLost
}

func (d *faultyDocs) Get(ctx context.Context, name string) (doc backend.Doc, err error) {
	err = d.do("Get", func() (err error) { doc, err = d.Docs.Get(ctx, name); return err })
	return doc, err
}

func (d *faultyDocs) PutIf(ctx context.Context, name string, rev int64, v json.RawMessage) (n int64, err error) {
	err = d.do("PutIf", func() (err error) { n, err = d.Docs.PutIf(ctx, name, rev, v); return err })
	return n, err
}

func (d *faultyDocs) Latest(ctx context.Context, prefix, before string, max int) (docs []backend.Doc, err error) {
	err = d.do("Latest", func() (err error) { docs, err = d.Docs.Latest(ctx, prefix, before, max); return err })
	return docs, err
}

func (d *faultyDocs) Delete(ctx context.Context, name string, rev int64) error {
	return d.do("Delete", func() error { return d.Docs.Delete(ctx, name, rev) })
}

// Three instances write and two fold at once, while requests and replies are lost and folding is interrupted anywhere.
// Whenever it is read, every event counts once.
func TestFoldingNeverCountsTwice(t *testing.T) {
	for seed := range uint64(8) {
		t.Run(fmt.Sprintf("seed_%d", seed), func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) { foldWithFaults(t, rand.New(rand.NewPCG(seed, 0))) })
		})
	}
}

func foldWithFaults(t *testing.T, dice *rand.Rand) {
	ports := open(t)
	from := time.Now()
	var all []*Recorder
	var docs []*faultyDocs
	for i := range 3 {
		d := &faultyDocs{Docs: ports.Docs, fault: func() (bool, bool) { return dice.IntN(8) == 0, dice.IntN(8) == 0 }}
		docs = append(docs, d)
		all = append(all, recorder(ports, d, fmt.Sprint("instance-", i)))
	}
	reader := recorder(ports, ports.Docs, "reader")
	var want int64
	check := func(when string) {
		t.Helper()
		stored := total(t, reader, Query{From: from, Step: time.Hour}).Started
		for _, r := range all {
			for _, w := range r.local("") {
				stored += w.totals.Started
			}
		}
		// A window of which only the reply was lost is in the store and in memory.
		for _, r := range all {
			for _, w := range r.unwritten {
				if _, err := ports.Docs.Get(t.Context(), w.name); err == nil {
					for _, q := range w.queues {
						stored -= q.Started
					}
				}
			}
		}
		if stored != want {
			t.Fatalf("%s: %d, want %d; documents %q", when, stored, want, names(t, ports.Docs, "history/"))
		}
	}
	for range 5 * 60 {
		for _, r := range all {
			for range dice.IntN(3) {
				r.Started(started("q", 0))
				want++
			}
			r.Flush(t.Context())
		}
		time.Sleep(time.Minute)
		if dice.IntN(10) != 0 {
			continue
		}
		i, j := dice.IntN(3), dice.IntN(3)
		ctx, cancel := context.WithCancel(t.Context())
		left := dice.IntN(120)
		docs[i].before = func(op string) {
			if left--; left == 0 { // the process dies, or another one folds meanwhile
				if dice.IntN(2) == 0 {
					cancel()
				} else if i != j {
					all[j].Fold(t.Context(), time.Now())
				}
			}
			if op == "Delete" && dice.IntN(50) == 0 {
				check("while it is folded")
			}
		}
		all[i].folded, all[j].folded = "", ""
		all[i].Fold(ctx, time.Now())
		cancel()
		docs[i].before = nil
		check("after folding")
	}
	for _, d := range docs {
		d.fault = nil
	}
	for _, r := range all {
		r.Flush(t.Context())
	}
	all[0].folded = ""
	all[0].Fold(t.Context(), time.Now())
	check("at the end")
	left := names(t, ports.Docs, minutesPrefix)
	if len(left) > 0 && left[0] < minutesPrefix+foldable(time.Now()) {
		t.Errorf("not folded: %q", left[0])
	}
}

// A window whose reply was lost for long was folded meanwhile. Writing it again has no effect on the sum.
func TestWindowWrittenAgainAfterItWasFolded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := open(t)
		from := time.Now()
		r := recorder(ports, ports.Docs, "i")
		r.Started(started("q", 0))
		r.Flush(t.Context())
		again, err := ports.Docs.List(t.Context(), minutesPrefix)
		if err != nil || len(again) != 1 {
			t.Fatal(again, err)
		}
		time.Sleep(4 * time.Hour)
		r.Fold(t.Context(), time.Now())
		if left := names(t, ports.Docs, minutesPrefix); len(left) != 0 {
			t.Fatalf("not folded: %q", left)
		}
		if _, err := ports.Docs.PutIf(t.Context(), again[0].Name, 0, again[0].Value); err != nil {
			t.Fatal(err)
		}
		q := Query{From: from.Add(-time.Hour), Step: time.Hour}
		if got := total(t, r, q).Started; got != 1 {
			t.Errorf("before folding again: %d", got)
		}
		r.folded = ""
		r.Fold(t.Context(), time.Now())
		if got := total(t, r, q).Started; got != 1 {
			t.Errorf("after folding again: %d", got)
		}
	})
}

func TestUnreadableWindowsDontStopFolding(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := open(t)
		from := time.Now()
		r := recorder(ports, ports.Docs, "i")
		for range 3 {
			r.Started(started("q", 0))
			time.Sleep(time.Minute)
			r.Flush(t.Context())
		}
		for name, value := range map[string]string{
			minutesPrefix + "1999":                                 `{}`,
			minutesPrefix + minuteOf(from) + "/other":              `{}`,
			minutesPrefix + minuteOf(from) + "/other.7":            `[]`,
			minutesPrefix + minuteOf(from) + "/other.8":            `{"q":{"q":[],"p":{"a":1,"w":{"n":[99,1]}}}}`,
			hoursPrefix + minuteOf(from)[:len(hourFormat)]:         `"text"`,
			hoursPrefix + minuteOf(from)[:len(hourFormat)-2] + "0": `{}`,
		} {
			if _, err := ports.Docs.PutIf(t.Context(), name, 0, []byte(value)); err != nil {
				t.Fatal(err)
			}
		}
		time.Sleep(4 * time.Hour)
		r.Fold(t.Context(), time.Now())
		if got := total(t, r, Query{From: from, Step: time.Hour}); got.Started != 4 {
			t.Errorf("%+v", got)
		}
		if left := names(t, ports.Docs, minutesPrefix); len(left) != 0 {
			t.Errorf("left: %q", left)
		}
	})
}

func TestQueuesBeyondTheLimitAreAddedUp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := open(t)
		r := recorder(ports, ports.Docs, "i")
		for i := range 2 * maxQueues {
			r.Started(started(fmt.Sprint(i), 0))
		}
		for range 2 {
			if got := total(t, r, Query{}); got.Started != 2*maxQueues {
				t.Errorf("all: %d", got.Started)
			}
			if got := total(t, r, Query{Queue: OtherQueues}); got.Started < maxQueues {
				t.Errorf("others: %d", got.Started)
			}
			time.Sleep(time.Minute)
			r.Flush(t.Context())
		}
		docs, err := ports.Docs.List(t.Context(), minutesPrefix)
		if err != nil || len(docs) != 1 || len(docs[0].Value) > maxMinuteBytes+2000 {
			t.Errorf("%d documents, %v", len(docs), err)
		}
	})
}

// While the store is unavailable, windows of up to an hour are kept.
func TestOutageLosesNothing(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := open(t)
		down := true
		docs := &faultyDocs{Docs: ports.Docs, fault: func() (bool, bool) { return down, false }}
		r := recorder(ports, docs, "i")
		from := time.Now()
		for range 55 {
			r.Started(started("q", 0))
			r.Flush(t.Context())
			time.Sleep(time.Minute)
		}
		down = false
		r.Flush(t.Context())
		if got := total(t, recorder(ports, ports.Docs, "j"), Query{From: from}); got.Started != 55 {
			t.Errorf("%d", got.Started)
		}
		down = true
		for range 200 {
			r.Started(started("q", 0))
			r.Flush(t.Context())
			time.Sleep(time.Minute)
		}
		if n := len(r.unwritten); n > maxUnwritten {
			t.Errorf("%d windows are kept", n)
		}
	})
}

// Documents are named by the store's clock, even if the machine's clock is wrong.
func TestMinutesAreTheStores(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := open(t)
		const ahead = 5 * time.Hour
		r := recorder(ports, ports.Docs, "i")
		r.Config.Store = aheadStore{ports.Store, ahead}
		r.Settled("q", backend.StatusSuccess, nil, 0) // tells no time
		time.Sleep(20 * time.Second)
		r.Flush(t.Context())
		task := started("q", 0)
		task.Started = task.Started.Add(ahead)
		r.Started(task)
		time.Sleep(time.Minute)
		r.Flush(t.Context())
		hour := time.Now().Add(ahead).UTC().Format(hourFormat)
		for _, name := range names(t, ports.Docs, minutesPrefix) {
			if !strings.HasPrefix(name, minutesPrefix+hour) {
				t.Errorf("%s is not of the hour %s", name, hour)
			}
		}
		if got := total(t, r, Query{}); got.Started != 1 || got.Succeeded != 1 {
			t.Errorf("%+v", got)
		}
	})
}

type aheadStore struct {
	backend.Store
	d time.Duration
}

func (s aheadStore) Now(ctx context.Context) (time.Time, error) {
	now, err := s.Store.Now(ctx)
	return now.Add(s.d), err
}

func TestInsertionsOfExistingTasksDontCount(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := open(t)
		r := recorder(ports, ports.Docs, "i")
		s := r.Store(ports.Store)
		insert := func(ctx context.Context, id, key string) {
			t.Helper()
			task := backend.Task{ID: id, Queue: "q", Status: backend.StatusPending, UniqueKey: key}
			if _, err := s.Insert(ctx, []backend.NewTask{{Task: task}}); err != nil {
				t.Fatal(err)
			}
			time.Sleep(time.Millisecond * 5)
		}
		insert(t.Context(), "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "")
		for range 3 {
			insert(t.Context(), "receipt/7", "")
		}
		time.Sleep(2 * time.Second)
		insert(t.Context(), "ABCDEFGHIJKLMNOPQRSTUVWXYZ", "")
		insert(t.Context(), "ABCDEFGHIJKLMNOPQRSTUVWXY2", "key")
		insert(t.Context(), "ABCDEFGHIJKLMNOPQRSTUVWXY3", "key")
		if got := total(t, r, Query{}).Submitted; got != 3 {
			t.Errorf("%d", got)
		}
		tx := &backend.Tx{Of: "another store"}
		_, err := r.Store(noTx{ports.Store}).Insert(backend.WithTx(t.Context(), tx), []backend.NewTask{{
			Task: backend.Task{ID: "ABCDEFGHIJKLMNOPQRSTUVWXY4", Queue: "q", Status: backend.StatusPending},
		}})
		if err != nil {
			t.Fatal(err)
		}
		if got := total(t, r, Query{}).Submitted; got != 3 {
			t.Errorf("before the commit: %d", got)
		}
		tx.Committed()
		if got := total(t, r, Query{}).Submitted; got != 4 {
			t.Errorf("after the commit: %d", got)
		}
	})
}

// If the store's clock is set back, submissions count again after a minute at the latest.
func TestStoresClockIsSetBack(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		ports := open(t)
		back := time.Duration(0)
		r := recorder(ports, ports.Docs, "i")
		r.Config.Store = aheadStore{ports.Store, -time.Hour}
		for i := range 10 {
			id := "ABCDEFGHIJKLMNOPQRSTUVWXY" + fmt.Sprint(i%6+2)
			stored := []backend.Task{{ID: id, Queue: "q", Created: time.Now().Add(back)}}
			r.inserted([]backend.NewTask{{Task: backend.Task{ID: id}}}, stored, r.floor())
			time.Sleep(time.Minute)
			r.Flush(t.Context())
			if i == 4 {
				back = -time.Hour
			}
		}
		if got := total(t, r, Query{From: time.Now().Add(-3 * time.Hour), To: time.Now().Add(time.Hour)}).Submitted; got != 9 {
			t.Errorf("%d of 10", got)
		}
	})
}

// noTx inserts at once.
type noTx struct{ backend.Store }

func (s noTx) Insert(_ context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	return s.Store.Insert(context.Background(), tasks)
}
