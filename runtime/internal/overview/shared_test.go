package overview_test

import (
	"context"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/overview"
)

// Many Apps, each of which is scraped every 15 s, read the system once in this time, and all show the same.
func TestManyAppsReadOnce(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		const apps, rounds = 100, 20
		w := newWorld(t, apps)
		byTime := map[time.Time]instrument.System{}
		shown := map[time.Time]int{}
		for round := range rounds {
			for i := range apps {
				w.tasks(round*apps + i)
				got := w.get(i)
				if age := time.Since(got.Time); age > overview.Every+overview.LookEvery {
					t.Errorf("App %d has a value that is %v old", i, age)
				}
				if was, ok := byTime[got.Time]; ok && !reflect.DeepEqual(got, was) {
					t.Errorf("App %d has %+v, another one had %+v", i, got, was)
				}
				byTime[got.Time] = got
				shown[got.Time]++
				time.Sleep(overview.Every / apps) // virtual
			}
		}
		if w.reads != rounds || len(byTime) != rounds {
			t.Errorf("the system was read %d times and had %d values in %d periods", w.reads, len(byTime), rounds)
		}
		for at, n := range shown {
			if n != apps {
				t.Errorf("%d Apps showed the value of %v", n, at)
			}
		}
		gets := 0
		for _, a := range w.apps {
			gets += a.gets
		}
		if most := apps*rounds + rounds; gets > most {
			t.Errorf("the document was read %d times by %d scrapes", gets, apps*rounds)
		}
		first := byTime[time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)]
		want := []instrument.SystemQueue{{Name: "q", Oldest: 3 * time.Second}}
		if !reflect.DeepEqual(first.Queues, want) || first.Instances != 0 {
			t.Errorf("the first value is %+v", first)
		}
	})
}

// Without scrapes nothing is read, and scrapes in quick succession read nothing but the document, every few seconds.
func TestScrapesInQuickSuccession(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		time.Sleep(time.Hour) // virtual
		if w.reads != 0 || w.apps[0].gets != 0 {
			t.Error("read without a scrape")
		}
		w.get(1)
		for range 120 { // for 12 s
			w.get(0)
			time.Sleep(overview.Every / 150)
		}
		if most := int(12*time.Second/overview.LookEvery) + 1; w.reads != 1 || w.apps[0].gets > most {
			t.Errorf("%d reads of the system, %d of the document", w.reads, w.apps[0].gets)
		}
	})
}

// If the store can't be read, all Apps show the old value for a minute and then none. They try once in 15 s, together.
func TestStoreCannotBeRead(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		w.get(0)
		refused := backend.NewError(backend.ErrInternal, "refused")
		for _, a := range w.apps {
			a.noRead = refused
		}
		begun := time.Now()
		for time.Since(begun) < 2*overview.MaxAge {
			for i, a := range w.apps {
				_, err := a.System(t.Context())
				switch age := time.Since(begun); {
				case age < overview.MaxAge && err != nil, age >= overview.MaxAge && backend.CodeOf(err) != backend.ErrInternal:
					t.Errorf("App %d after %v: %v", i, age, err)
				case age > overview.MaxAge && i == 1 && !strings.Contains(err.Error(), "gauges"):
					t.Error(err)
				}
			}
			time.Sleep(time.Second)
		}
		if most := 1 + int(2*overview.MaxAge/overview.Every); w.reads > most {
			t.Errorf("the system was read %d times, want at most %d", w.reads, most)
		}
		for _, a := range w.apps {
			a.noRead = nil
		}
		time.Sleep(overview.Every)
		w.tasks(7)
		for i := range w.apps {
			if s := w.get(i); time.Since(s.Time) != 0 || s.Queues[0].Tasks[backend.StatusPending] != 7 {
				t.Errorf("App %d has %+v after the end of the failure", i, s)
			}
		}
	})
}

// An App that can't reach the store shows what it has for a minute, and others are not affected.
func TestStoreIsDownForOneApp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.get(0)
		w.get(1)
		w.apps[1].down = down
		for range 100 {
			w.get(0)
			_, err := w.apps[1].System(t.Context())
			if old := w.elapsed() >= overview.MaxAge; (err != nil) != old || old && backend.CodeOf(err) != backend.ErrUnavailable {
				t.Errorf("after %v: %v", w.elapsed(), err)
			}
			time.Sleep(time.Second)
		}
		w.apps[1].down = nil
		time.Sleep(overview.LookEvery)
		w.get(1)
	})
}

// Without the coordinator only the numbers of instances are unknown.
func TestCoordinatorIsDown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.tasks(4)
		w.apps[0].noInstances = down
		w.get(0)
		want := instrument.SystemQueue{Name: "q", Tasks: map[backend.Status]int{backend.StatusPending: 4},
			Oldest: 3 * time.Second, Workers: -1}
		for i := range w.apps {
			if s := w.get(i); s.Instances != -1 || len(s.Queues) != 1 || !reflect.DeepEqual(s.Queues[0], want) {
				t.Errorf("App %d has %+v", i, s)
			}
		}
	})
}

// If the store refuses writes, each App reads the system itself, every 15 s.
func TestStoreCannotBeWritten(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		for _, a := range w.apps {
			a.noWrite = backend.NewError(backend.ErrResourceExhausted, "full")
		}
		for range 60 {
			for i := range w.apps {
				if s := w.get(i); time.Since(s.Time) >= overview.Every {
					t.Errorf("App %d has a value that is %v old", i, time.Since(s.Time))
				}
			}
			time.Sleep(time.Second)
		}
		if w.reads != 8 {
			t.Errorf("the system was read %d times", w.reads)
		}
	})
}

// Apps that are scraped at the same time, once a minute, wait for the one that reads the system.
func TestScrapedTogetherOnceAMinute(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 5)
		for _, a := range w.apps {
			a.slow = time.Second
		}
		const minutes = 4
		for range minutes {
			var scrapes sync.WaitGroup
			begun := time.Now()
			for i, a := range w.apps {
				scrapes.Go(func() {
					if s, err := a.System(t.Context()); err != nil || s.Time.Before(begun) {
						t.Errorf("App %d has %+v, %v", i, s, err)
					}
				})
			}
			scrapes.Wait()
			time.Sleep(time.Minute)
		}
		if w.reads != minutes {
			t.Errorf("the system was read %d times", w.reads)
		}
	})
}

// Several scrapes of an App at the same time, such as by two exporters, wait for one read, and a scrape that ends early
// does not fail the others.
func TestScrapesOfOneApp(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		w.apps[0].slow = time.Second
		canceled, cancel := context.WithCancel(t.Context())
		var scrapes sync.WaitGroup
		scrapes.Go(func() {
			if _, err := w.apps[0].System(canceled); backend.CodeOf(err) != backend.ErrCanceled {
				t.Errorf("the scrape that was canceled: %v", err)
			}
		})
		synctest.Wait()
		for range 3 {
			scrapes.Go(func() { w.get(0) })
		}
		synctest.Wait()
		cancel()
		scrapes.Wait()
		if w.reads != 2 {
			t.Errorf("the system was read %d times", w.reads)
		}
	})
}

// A store that is slow delays a scrape by at most 5 s, and those of other Apps, too.
func TestSlowStore(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		for _, a := range w.apps {
			a.slow = time.Hour
		}
		for i, a := range w.apps {
			begun := time.Now()
			if _, err := a.System(t.Context()); backend.CodeOf(err) != backend.ErrDeadlineExceeded {
				t.Errorf("App %d: %v", i, err)
			}
			if took := time.Since(begun); took > 6*time.Second {
				t.Errorf("App %d was scraped for %v", i, took)
			}
		}
		if w.reads != 1 {
			t.Errorf("the system was read %d times", w.reads)
		}
	})
}

// Only the store's clock counts. If it is set back, the value has no age and is replaced.
func TestStoreClockIsSet(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 2)
		for _, by := range []time.Duration{24 * time.Hour, -48 * time.Hour, 24 * time.Hour, -time.Minute} {
			w.get(0)
			w.get(1)
			w.mu.Lock()
			w.ahead += by
			w.mu.Unlock()
			reads := w.reads
			time.Sleep(overview.LookEvery)
			for i := range w.apps {
				if s := w.get(i); s.Time.Sub(time.Now().Add(w.ahead)).Abs() > overview.LookEvery {
					t.Errorf("App %d has a value of %v, now it is %v", i, s.Time, time.Now().Add(w.ahead))
				}
			}
			if w.reads != reads+1 {
				t.Errorf("the system was read %d times after the clock was set by %v", w.reads-reads, by)
			}
			time.Sleep(overview.Every)
		}
	})
}

// A document of another version is used as far as it is understood; one that is not is replaced.
func TestOtherVersions(t *testing.T) {
	for name, tt := range map[string]struct {
		doc   string
		reads int
	}{
		"newer":   {`{"time":"2000-01-01T00:00:00Z","instances":3,"new":{"a":[1]},"queues":[{"name":"q","workers":1,"x":2}]}`, 0},
		"older":   {`{"time":"2000-01-01T00:00:00Z","queues":[{"name":"q"}]}`, 0},
		"text":    {`"what"`, 1},
		"types":   {`{"time":"2000-01-01T00:00:00Z","queues":{}}`, 1},
		"no_time": {`{"instances":3}`, 1},
		"many":    {`{"time":"2000-01-01T00:00:00Z","queues":[` + strings.Repeat(`{"name":"q"},`, 500) + `{}]}`, 1},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				w := newWorld(t, 1)
				if _, err := w.ports.Docs.PutIf(t.Context(), docName, 0, json.RawMessage(tt.doc)); err != nil {
					t.Fatal(err)
				}
				s := w.get(0)
				if w.reads != tt.reads || tt.reads == 0 && s.Queues[0].Name != "q" {
					t.Errorf("%d reads, %+v", w.reads, s)
				}
			})
		})
	}
}

// However many queues there are and however long their names, the document is bounded.
func TestDocumentIsBounded(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 1)
		counts := map[backend.Status]backend.Count{}
		for _, status := range backend.Statuses() {
			counts[status] = backend.Count{N: 1 << 40}
		}
		for i := range 10_000 {
			w.queues = append(w.queues, backend.QueueCounts{
				Queue: fmt.Sprintf("%05d%s", i, strings.Repeat("\x01", 1+i*1019%3000)), Counts: counts})
		}
		if s := w.get(0); len(s.Queues) != instrument.MaxSystemQueues {
			t.Errorf("%d queues", len(s.Queues))
		}
		doc, err := w.ports.Docs.Get(t.Context(), docName)
		if err != nil || len(doc.Value) > 4<<20 {
			t.Errorf("the document has %d bytes, %v", len(doc.Value), err)
		}
	})
}

// If the App that reads the system dies, another one does 15 s later. Until then all show the old value.
func TestReaderDies(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		w := newWorld(t, 3)
		w.get(0)
		time.Sleep(overview.Every)
		w.apps[1].dies = true
		w.get(1) // has the old value, until its end
		died := time.Now()
		for time.Since(died) < 2*overview.Every {
			for _, i := range []int{0, 2} {
				s := w.get(i)
				if age := time.Since(s.Time); age > 2*overview.Every+overview.LookEvery {
					t.Fatalf("App %d has a value that is %v old", i, age)
				}
			}
			time.Sleep(time.Second)
		}
		if w.reads != 3 { // the first one, that of the dead App, and the one 15 s later
			t.Errorf("the system was read %d times", w.reads)
		}
	})
}
