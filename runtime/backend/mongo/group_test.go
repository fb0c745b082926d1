package mongo_test

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/mongoproxy"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// A gate holds inserts of tasks back before they are sent, and records how many documents each had.
type gate struct {
	held chan struct{} // receives when an insert arrives

	mu     sync.Mutex
	pass   chan struct{} // closed to let those through that have arrived
	isOpen bool
	sizes  []int
}

func newGate() *gate { return &gate{held: make(chan struct{}, 1000), pass: make(chan struct{})} }

func (g *gate) watch(c *mongo.Config) {
	c.Monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		if e.CommandName != "insert" || e.Command.Lookup("insert").StringValue() != "tasks" {
			return
		}
		documents, _ := e.Command.Lookup("documents").Array().Values()
		g.mu.Lock()
		g.sizes = append(g.sizes, len(documents))
		pass := g.pass
		g.mu.Unlock()
		g.held <- struct{}{}
		<-pass
	}}
}

// next lets the inserts pass that are held, and waits until the next one is held.
func (g *gate) next() {
	g.mu.Lock()
	close(g.pass)
	g.pass = make(chan struct{})
	g.mu.Unlock()
	<-g.held
}

// open lets all inserts pass from now on.
func (g *gate) open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	if !g.isOpen {
		close(g.pass)
	}
	g.isOpen = true
}

// seen returns the numbers of documents of the inserts until now.
func (g *gate) seen() []int {
	g.mu.Lock()
	defer g.mu.Unlock()
	return slices.Clone(g.sizes)
}

// An answer is the result of an Insert.
type answer struct {
	stored []backend.Task
	err    error
}

// insertAll inserts with one goroutine each, and returns the answers once all of them have one.
func insertAll(ctx context.Context, s backend.Store, calls ...[]backend.NewTask) (await func() []answer) {
	answers := make([]answer, len(calls))
	var wg sync.WaitGroup
	for i, tasks := range calls {
		wg.Go(func() { answers[i].stored, answers[i].err = s.Insert(ctx, tasks) })
	}
	return func() []answer {
		wg.Wait()
		return answers
	}
}

func single(ids ...string) (calls [][]backend.NewTask) {
	for _, id := range ids {
		calls = append(calls, []backend.NewTask{newTask(id)})
	}
	return calls
}

// grouping opens a client whose next inserts share one command once the gate opens: others fill its slots.
func grouping(t *testing.T, uri string) (*mongo.Client, *gate, func() []answer) {
	t.Helper()
	g := newGate()
	c := join(t, uri, g.watch, mongo.NeverSlow)
	t.Cleanup(g.open)
	occupied := insertAll(t.Context(), c.Store(), single("occupies-0", "occupies-1")...)
	for range mongo.GroupsInFlight {
		<-g.held
	}
	return c, g, occupied
}

// awaitQueued waits until that many inserts wait for a command.
func awaitQueued(t *testing.T, c *mongo.Client, n int) {
	t.Helper()
	testkit.Eventually(t, fmt.Sprint(n, " inserts are queued"), func() bool { return c.QueuedInserts() == n })
}

func TestConcurrentInsertsShareCommand(t *testing.T) {
	c, g, occupied := grouping(t, devstack.Mongo(t))
	calls := single("a", "b", "a", "c")
	calls = append(calls, []backend.NewTask{newTask("d"), newTask("e"), newTask("b")})
	await := insertAll(t.Context(), c.Store(), calls...)
	awaitQueued(t, c, len(calls))
	g.open()
	for i, a := range slices.Concat(occupied(), await()) {
		must(t, a.err)
		for k, task := range a.stored {
			if want := slices.Concat(single("occupies-0", "occupies-1"), calls)[i][k].Task.ID; task.ID != want {
				t.Errorf("call %d, task %d: %s, want %s", i, k, task.ID, want)
			}
		}
	}
	if got := g.seen(); !slices.Equal(got, []int{1, 1, 7}) {
		t.Errorf("inserts of %v documents", got)
	}
	for _, id := range []string{"a", "b", "c", "d", "e"} {
		if _, err := c.Store().Get(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

// Documents that the server refuses fail alone.
func TestRefusedInsertFailsAlone(t *testing.T) {
	c, g, occupied := grouping(t, devstack.Mongo(t))
	must(t, c.Mongo().RunCommand(t.Context(), bson.D{{Key: "collMod", Value: "tasks"},
		{Key: "validator", Value: bson.M{"weight": bson.M{"$ne": 13}}}}).Err())
	unlucky, half := newTask("unlucky"), newTask("half")
	unlucky.Task.Weight, half.Task.Weight = 13, 13
	calls := append(single("a", "b", "a"), []backend.NewTask{unlucky}, []backend.NewTask{newTask("kept"), half})
	await := insertAll(t.Context(), c.Store(), calls...)
	awaitQueued(t, c, len(calls))
	g.open()
	answers := await()
	for _, a := range slices.Concat(occupied(), answers[:3]) {
		must(t, a.err)
	}
	for i, a := range answers[3:] {
		if backend.CodeOf(a.err) != backend.ErrInternal {
			t.Errorf("a refused document, call %d: %v", i, a.err)
		}
	}
	if o := backend.Coded(answers[4].err).Outcome; o != backend.OutcomeUnknown {
		t.Errorf("a call that has stored one of two tasks: %v", o)
	}
}

// A task that is too large fails alone. Large ones delay no others.
func TestLargeInsertFailsAlone(t *testing.T) {
	c, g, occupied := grouping(t, devstack.Mongo(t))
	large, huge := newTask("large"), newTask("huge")
	large.Task.Payload = bytes.Repeat([]byte("1"), 1<<20)
	huge.Task.Payload = bytes.Repeat([]byte("1"), 17<<20)
	await := insertAll(t.Context(), c.Store(), append(single("a", "b"), []backend.NewTask{large},
		[]backend.NewTask{huge})...)
	awaitQueued(t, c, 2)
	<-g.held // the large one
	g.open()
	answers := await()
	for _, a := range slices.Concat(occupied(), answers[:3]) {
		must(t, a.err)
	}
	if err := answers[3].err; backend.CodeOf(err) != backend.ErrResourceExhausted {
		t.Errorf("%.300v", err)
	}
	got := g.seen()
	slices.Sort(got)
	if n := len(got); got[n-1] != 2 {
		t.Errorf("inserts of %v documents", got)
	}
}

// A caller that leaves ends neither the command nor the waiting of others.
func TestCancelledInsertLeavesOthers(t *testing.T) {
	c, g, occupied := grouping(t, devstack.Mongo(t))
	ctx, cancel := context.WithCancel(t.Context())
	leaving := insertAll(ctx, c.Store(), single("queued-0", "queued-1")...)
	awaitQueued(t, c, 2)
	staying := insertAll(t.Context(), c.Store(), single("a", "b")...)
	awaitQueued(t, c, 4)
	cancel()
	for _, a := range leaving() {
		if e := backend.Coded(a.err); e.Code != backend.ErrCanceled || e.Outcome != backend.OutcomeNotSent {
			t.Errorf("left before it was sent: %v, %v", e, e.Outcome)
		}
	}
	g.open()
	for _, a := range slices.Concat(occupied(), staying()) {
		must(t, a.err)
	}
	if _, err := c.Store().Get(t.Context(), "queued-0"); backend.CodeOf(err) != backend.ErrNotFound {
		t.Errorf("a withdrawn task: %v", err)
	}
}

func TestCancelDuringInsertMakesOutcomeUnknown(t *testing.T) {
	c, g, occupied := grouping(t, devstack.Mongo(t))
	ctx, cancel := context.WithCancel(t.Context())
	leaving := insertAll(ctx, c.Store(), single("a")...)
	staying := insertAll(t.Context(), c.Store(), single("b")...)
	awaitQueued(t, c, 2)
	g.next()
	cancel()
	if e := backend.Coded(leaving()[0].err); e.Code != backend.ErrCanceled || e.Outcome != backend.OutcomeUnknown {
		t.Errorf("%v, %v", e, e.Outcome)
	}
	g.open()
	for _, a := range slices.Concat(occupied(), staying()) {
		must(t, a.err)
	}
	for _, id := range []string{"a", "b"} {
		if _, err := c.Store().Get(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

// A context with a session has a command of its own, even if others wait for one.
func TestSessionIsNotGrouped(t *testing.T) {
	uri := devstack.Mongo(t)
	var own sync.WaitGroup
	c, g, occupied := grouping(t, uri)
	await := insertAll(t.Context(), c.Store(), single("a")...)
	awaitQueued(t, c, 1)
	session, err := c.Mongo().Client().StartSession()
	must(t, err)
	defer session.EndSession(t.Context())
	own.Go(func() {
		_, err := c.Store().Insert(driver.NewSessionContext(t.Context(), session), single("own")[0])
		if err != nil {
			t.Error(err)
		}
	})
	<-g.held
	if n := c.QueuedInserts(); n != 1 {
		t.Errorf("%d inserts are queued, want the one without a session", n)
	}
	g.open()
	own.Wait()
	for _, a := range slices.Concat(occupied(), await()) {
		must(t, a.err)
	}
}

// If the connection breaks before or after a shared command has taken effect, each caller learns that the outcome is
// unknown, and repeating stores each task once.
func TestBrokenConnectionMakesGroupUnknown(t *testing.T) {
	for name, when := range map[string]mongoproxy.Moment{"before": mongoproxy.Before, "after": mongoproxy.After} {
		t.Run(name, func(t *testing.T) {
			proxy := mongoproxy.New(t, devstack.Mongo(t), mongoproxy.Config{})
			c, g, occupied := grouping(t, proxy.URI())
			calls := single("a", "b", "a", "c")
			proxy.Trap(when, mongoproxy.WithID("b", mongoproxy.Inserts("tasks")), nil)
			await := insertAll(t.Context(), c.Store(), calls...)
			awaitQueued(t, c, len(calls))
			g.open()
			for _, a := range await() {
				if e := backend.Coded(a.err); e.Code != backend.ErrUnavailable || e.Outcome != backend.OutcomeUnknown {
					t.Errorf("%v, %v", a.err, e.Outcome)
				}
			}
			for _, a := range slices.Concat(occupied(), insertAll(t.Context(), c.Store(), calls...)()) {
				must(t, a.err)
			}
			if n := len(stored(t, proxy, "")); n != 5 {
				t.Errorf("%d tasks", n)
			}
		})
	}
}

// Inserts that wait for a command when the client closes are not sent. None hangs.
func TestCloseAnswersGroupedInserts(t *testing.T) {
	c, g, occupied := grouping(t, devstack.Mongo(t))
	sent := insertAll(context.Background(), c.Store(), single("a", "b")...)
	awaitQueued(t, c, 2)
	g.next()
	occupied()
	other := insertAll(context.Background(), c.Store(), single("c")...) // occupies the other slot
	<-g.held
	queued := insertAll(context.Background(), c.Store(), single("d", "e")...)
	awaitQueued(t, c, 2)
	closed := make(chan error, 1)
	go func() { closed <- c.Close(context.Background()) }()
	check := func(what string, answers []answer, outcome backend.Outcome) {
		t.Helper()
		for _, a := range answers {
			if e := backend.Coded(a.err); a.err == nil || e.Code != backend.ErrUnavailable || e.Outcome != outcome {
				t.Errorf("%s: %v, %v", what, a.err, e)
			}
		}
	}
	check("queued", queued(), backend.OutcomeNotSent)
	check("sent", sent(), backend.OutcomeUnknown)
	g.open()
	check("sent alone", other(), backend.OutcomeUnknown)
	must(t, <-closed)
}

// When the server is killed, each caller gets an answer that is right for its own task.
func TestKilledServerAnswersGroup(t *testing.T) {
	server := devstack.Start(t, devstack.MongoDB)
	g := newGate()
	c := join(t, devstack.WithDatabase(server.URI, "d"), g.watch, mongo.NeverSlow,
		func(c *mongo.Config) { c.Patience = time.Second })
	t.Cleanup(g.open)
	ids := []string{"0", "1", "2", "3", "4", "5"}
	await := insertAll(t.Context(), c.Store(), single(ids...)...)
	for range mongo.GroupsInFlight {
		<-g.held
	}
	awaitQueued(t, c, len(ids)-mongo.GroupsInFlight)
	must(t, server.Kill())
	g.open()
	answers := await()
	for _, a := range answers {
		if backend.CodeOf(a.err) != backend.ErrUnavailable {
			t.Errorf("%v", a.err)
		}
	}
	must(t, server.Start())
	for i, id := range ids {
		notSent := backend.Coded(answers[i].err).Outcome == backend.OutcomeNotSent
		testkit.Succeeds(t, "reading", func() error {
			_, err := c.Store().Get(t.Context(), id)
			if err == nil && notSent {
				t.Errorf("task %s exists: %v", id, answers[i].err)
			}
			if backend.CodeOf(err) == backend.ErrNotFound {
				return nil
			}
			return err
		})
	}
}

// A command that hangs on its connection delays other inserts only for a moment.
func TestHangingInsertDelaysNoOther(t *testing.T) {
	g := newGate()
	c := join(t, devstack.Mongo(t), g.watch)
	t.Cleanup(g.open)
	await := insertAll(t.Context(), c.Store(), single("a", "b", "c", "d", "e")...)
	for range mongo.GroupsInFlight + 1 { // the last one after slowGroup
		<-g.held
	}
	g.open()
	for _, a := range await() {
		must(t, a.err)
	}
}
