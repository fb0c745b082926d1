package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// dependent is a memory backend whose health depends on servers that can be made unavailable. Only the health changes:
// calls and tasks still work, unless storeDown is set.
type dependent struct {
	*memory.Backend
	broker, store, storeDown *atomic.Bool
	mayBeDown, quiet         bool
}

func newDependent() dependent {
	return dependent{Backend: memory.New(), broker: new(atomic.Bool), store: new(atomic.Bool), storeDown: new(atomic.Bool)}
}

func (l dependent) Open(ctx context.Context, env backend.Env) (*backend.Ports, error) {
	ports, err := l.Backend.Open(ctx, env)
	if err != nil {
		return nil, err
	}
	ports.Store = unwritableStore{ports.Store, l.storeDown}
	ports.AllowUnavailable = l.mayBeDown
	condition := func(name string, down *atomic.Bool, stops backend.Stopped) backend.Condition {
		c := backend.Condition{Name: name, Up: !down.Load(), Mode: "without-" + name, Stops: []backend.Stopped{stops}}
		if !c.Up {
			c.Cause = name + " is gone"
		}
		return c
	}
	if !l.quiet {
		ports.Health = func() []backend.Condition {
			return []backend.Condition{
				condition("broker", l.broker, backend.StopsCalls), condition("store", l.store, backend.StopsTasks),
			}
		}
	}
	return ports, nil
}

func TestAppIsReadyWhileOneOfItsPurposesWorks(t *testing.T) {
	for name, test := range map[string]struct {
		register          func(*af.App)
		noBroker, noStore string // the text of the error of Ready; "" means nil
		neither           string
	}{
		"serves": {serveCalc, "without-broker: broker is gone", "", "without-broker"},
		"works":  {runJobs, "", "without-store: store is gone", "without-store"},
		"serves_and_works": {func(a *af.App) { serveCalc(a); runJobs(a) }, "", "",
			"without-broker: broker is gone; without-store: store is gone"},
		"only_asks": {func(*af.App) {}, "", "", "without-broker: broker is gone; without-store: store is gone"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newDependent()
			app := must(af.Open(t.Context(), l))(t)
			test.register(app)
			check := func(want string) {
				t.Helper()
				err, h := app.Ready(), app.Health()
				if want == "" && err != nil || want != "" &&
					(!errors.Is(err, af.ErrUnavailable) || !strings.Contains(err.Error(), want)) {
					t.Errorf("%v, want %q", err, want)
				}
				if h.Ready != (err == nil) || !strings.Contains(h.Reason, want) {
					t.Errorf("health %+v, Ready %v", h, err)
				}
			}
			notYet := func(want string) {
				t.Helper()
				if err := app.Ready(); !errors.Is(err, af.ErrFailedPrecondition) || !strings.Contains(err.Error(), want) {
					t.Errorf("%v, want %q", err, want)
				}
			}
			notYet("not been started")
			if err := app.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			check("")
			l.broker.Store(true)
			check(test.noBroker)
			l.store.Store(true)
			check(test.neither)
			l.broker.Store(false)
			check(test.noStore)
			l.store.Store(false)
			check("")
			if err := app.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			notYet("shut down")
			if h := app.Health(); h.State != "closed" || h.Ready {
				t.Errorf("%+v", h)
			}
		})
	}
}

func serveCalc(app *af.App) {
	af.RegisterService(app, af.Service{Name: "calc", Type: "Calc"}, &struct{}{})
}

func runJobs(app *af.App) { af.RegisterWorker(app, jobWorker, &job{}) }

func TestHealthAsJSON(t *testing.T) {
	l := newDependent()
	app := openStarted(t, l)
	l.store.Store(true)
	var h struct {
		State, Backend string
		Ready          bool
		Instance       struct{ ID string }
		Conditions     []struct {
			Name, Cause, Mode string
			Up                bool
		}
		Degraded []string
	}
	if err := json.Unmarshal(must(json.Marshal(app.Health()))(t), &h); err != nil {
		t.Fatal(err)
	}
	if h.State != "running" || !h.Ready || h.Backend != "memory" || h.Instance.ID != app.Instance().ID ||
		len(h.Conditions) != 2 ||
		!slices.Equal(h.Degraded, []string{"without-store"}) || h.Conditions[1].Up ||
		h.Conditions[1].Cause != "store is gone" {
		t.Errorf("%+v", h)
	}
}

// With AllowUnavailable, an App starts without its store, and claims tasks once the store is available. Until then it
// is not ready. Failing heartbeats are logged once when they begin and once when they end, unless the backend itself
// reports its health.
func TestAppStartsWithoutItsStoreIfAllowed(t *testing.T) {
	for _, quiet := range []bool{true, false} {
		bubble.Test(t, func(t *testing.T) {
			l := newDependent()
			l.quiet = quiet
			l.storeDown.Store(true)
			if app := must(af.Open(t.Context(), l))(t); true {
				runJobs(app)
				if err := app.Start(t.Context()); !errors.Is(err, af.ErrUnavailable) {
					t.Errorf("started without AllowUnavailable: %v", err)
				}
				_ = app.Shutdown(t.Context())
			}
			l.mayBeDown = true
			var log strings.Builder
			app := must(af.Open(t.Context(), l, af.Logger(slog.New(slog.NewTextHandler(&log, nil)))))(t)
			af.RegisterWorker(app, jobWorker, &job{same})
			if err := app.Start(t.Context()); err != nil {
				t.Fatal(err)
			}
			q := af.NewQueue[int, int](app, jobWorker)
			id := must(q.Submit(t.Context(), 3))(t)
			time.Sleep(30 * time.Second)
			if task := must(q.Get(t.Context(), id))(t); task.Fence != 0 {
				t.Errorf("claimed without a heartbeat: %+v", task)
			}
			if err := app.Ready(); !errors.Is(err, af.ErrUnavailable) || !strings.Contains(err.Error(), "not-claiming") {
				t.Errorf("ready: %v", err)
			}
			l.storeDown.Store(false)
			if got := must(q.Wait(t.Context(), id))(t); got != 3 {
				t.Errorf("got %d", got)
			}
			synctest.Wait()
			if err := app.Ready(); err != nil || len(app.Health().Degraded) > 0 {
				t.Errorf("ready: %v", err)
			}
			if err := app.Shutdown(t.Context()); err != nil {
				t.Error(err)
			}
			want := 0
			if quiet {
				want = 1
			}
			for _, line := range []string{"heartbeat failed", "heartbeats succeed again"} {
				if n := strings.Count(log.String(), line); n != want {
					t.Errorf("%q was logged %d times, want %d:\n%s", line, n, want, log.String())
				}
			}
		})
	}
}
