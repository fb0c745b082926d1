package embedded_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// This file runs the conformance suites with two processes on one file. The other process serves its store and
// documents as services on the embedded backend, and the test calls them.

func init() { children["ports"] = servePorts }

// servePorts opens and serves the file named by a line of its standard input, and closes it at an empty line.
func servePorts() int {
	in := bufio.NewScanner(os.Stdin)
	clock := &childClock{}
	for in.Scan() {
		if err := servePort(in.Text(), in, clock); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return 0
}

func servePort(path string, in *bufio.Scanner, clock *childClock) error {
	ctx := context.Background()
	ports, err := openFile(ctx, path, embedded.Checked(), embedded.Clock(clock.Now))
	if err != nil {
		return err
	}
	for name, target := range map[string]any{"store": ports.Store, "docs": ports.Docs, "clock": clock} {
		_, err := ports.Calls.Serve(ctx, backend.Endpoint{Service: name, Concurrency: 200}, func(ctx context.Context,
			req *backend.Request, reply func(*backend.Reply)) {
			reply(invoke(ctx, target, req))
		})
		if err != nil {
			return err
		}
	}
	fmt.Println("ready")
	in.Scan()
	if err := ports.Close(ctx); err != nil {
		return err
	}
	fmt.Println("closed")
	return nil
}

// A childClock is advanced by the parent.
type childClock struct{ conform.Skip }

func (c *childClock) Forward(_ context.Context, d time.Duration) error {
	c.Sleep(d)
	return nil
}

// invoke calls a method of target with the arguments in a JSON array.
func invoke(ctx context.Context, target any, req *backend.Request) *backend.Reply {
	m := reflect.ValueOf(target).MethodByName(req.Method)
	var raw []json.RawMessage
	if err := json.Unmarshal(req.Body, &raw); err != nil {
		return &backend.Reply{Err: backend.Errorf(backend.ErrInternal, "%w", err)}
	}
	args := []reflect.Value{reflect.ValueOf(ctx)}
	for i, text := range raw {
		arg := reflect.New(m.Type().In(i + 1))
		if err := json.Unmarshal(text, arg.Interface()); err != nil {
			return &backend.Reply{Err: backend.Errorf(backend.ErrInternal, "%w", err)}
		}
		args = append(args, arg.Elem())
	}
	var results []any
	out := m.Call(args)
	for _, v := range out[:len(out)-1] {
		results = append(results, v.Interface())
	}
	if err, _ := out[len(out)-1].Interface().(error); err != nil {
		e, _ := errors.AsType[*backend.Error](err)
		return &backend.Reply{Err: e.With(backend.OutcomeAnswered)}
	}
	body, err := json.Marshal(results)
	if err != nil {
		return &backend.Reply{Err: backend.Errorf(backend.ErrInternal, "%w", err)}
	}
	return &backend.Reply{Body: body}
}

// A remote calls the other process. It handles every other call of a port; this process handles the rest.
type remote struct {
	calls backend.Calls
	turn  *atomic.Int64
}

func (r remote) other() bool { return r.turn.Add(1)%2 == 0 }

func (r remote) call(ctx context.Context, service, method string, args []any, results ...any) error {
	body, err := json.Marshal(args)
	if err != nil {
		return err
	}
	reply, err := r.calls.Call(ctx, &backend.Request{Service: service, Method: method, Timeout: time.Minute, Body: body})
	if err != nil {
		return err
	}
	if reply.Err != nil {
		return reply.Err
	}
	return json.Unmarshal(reply.Body, &results)
}

// otherProcess starts a process that serves ports. say sends it a line and waits for the line back.
func otherProcess(t *testing.T) (say func(t *testing.T, line, back string)) {
	t.Helper()
	child := testkit.Start(t, "ports")
	t.Cleanup(func() { child.End(t) })
	return func(t *testing.T, line, back string) {
		t.Helper()
		if _, err := io.WriteString(child.In, line+"\n"); err != nil {
			t.Fatal(err)
		}
		child.Says(t, back)
	}
}

// two opens files here and in another process, with clocks that the options advance.
func two(t *testing.T) (conform.Open, conform.Options) {
	say := otherProcess(t)
	var skip conform.Skip
	var r remote // of the running test
	o := skip.Options(options)
	o.Sleep = func(d time.Duration) {
		skip.Sleep(d)
		if err := r.call(t.Context(), "clock", "Forward", []any{d}); err != nil {
			t.Error(err)
		}
	}
	return func(t *testing.T) *backend.Ports {
		path := filepath.Join(t.TempDir(), "af.db")
		ports := openUntilEnd(t, path, embedded.Checked(), embedded.Clock(skip.Now))
		say(t, path, "ready")
		t.Cleanup(func() { say(t, "", "closed") })
		r = remote{ports.Calls, new(atomic.Int64)}
		mixed := *ports
		mixed.Store, mixed.Docs = mixedStore{ports.Store, r}, mixedDocs{ports.Docs, r}
		return &mixed
	}, o
}

func TestStoreConformsOnTwoProcesses(t *testing.T) {
	testkit.Long(t, "half of the suite's operations are calls to another process")
	t.Parallel()
	open, o := two(t)
	conform.Store(t, open, o)
}

func TestDocsConformOnTwoProcesses(t *testing.T) {
	open, o := two(t)
	conform.Docs(t, open, o)
}

type mixedStore struct {
	here backend.Store
	r    remote
}

func (m mixedStore) Insert(ctx context.Context, tasks []backend.NewTask) (stored []backend.Task, err error) {
	if !m.r.other() {
		return m.here.Insert(ctx, tasks)
	}
	err = m.r.call(ctx, "store", "Insert", []any{tasks}, &stored)
	return stored, err
}

func (m mixedStore) Claim(ctx context.Context, c backend.Claim) (tasks []backend.Task, next time.Duration, err error) {
	if !m.r.other() {
		return m.here.Claim(ctx, c)
	}
	err = m.r.call(ctx, "store", "Claim", []any{c}, &tasks, &next)
	return tasks, next, err
}

func (m mixedStore) Settle(ctx context.Context, settles []backend.Settle) (results []backend.Settled, err error) {
	if !m.r.other() {
		return m.here.Settle(ctx, settles)
	}
	err = m.r.call(ctx, "store", "Settle", []any{settles}, &results)
	return results, err
}

func (m mixedStore) Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) (err error) {
	if !m.r.other() {
		return m.here.Progress(ctx, id, fence, progress)
	}
	err = m.r.call(ctx, "store", "Progress", []any{id, fence, progress})
	return err
}

func (m mixedStore) Beat(ctx context.Context, owner string, count int64) (err error) {
	if !m.r.other() {
		return m.here.Beat(ctx, owner, count)
	}
	err = m.r.call(ctx, "store", "Beat", []any{owner, count})
	return err
}

func (m mixedStore) Drain(ctx context.Context, owner string) (err error) {
	if !m.r.other() {
		return m.here.Drain(ctx, owner)
	}
	err = m.r.call(ctx, "store", "Drain", []any{owner})
	return err
}

func (m mixedStore) Owners(ctx context.Context) (beats map[string]backend.Heartbeat, err error) {
	if !m.r.other() {
		return m.here.Owners(ctx)
	}
	err = m.r.call(ctx, "store", "Owners", []any{}, &beats)
	return beats, err
}

func (m mixedStore) ExpireOwner(ctx context.Context, owner string, count int64, maxCrashes int) (tasks []backend.Task,
	err error) {
	if !m.r.other() {
		return m.here.ExpireOwner(ctx, owner, count, maxCrashes)
	}
	err = m.r.call(ctx, "store", "ExpireOwner", []any{owner, count, maxCrashes}, &tasks)
	return tasks, err
}

func (m mixedStore) Refund(ctx context.Context, owner string) (err error) {
	if !m.r.other() {
		return m.here.Refund(ctx, owner)
	}
	return m.r.call(ctx, "store", "Refund", []any{owner})
}

func (m mixedStore) Owned(ctx context.Context, owner string) (owned []backend.Owned, err error) {
	if !m.r.other() {
		return m.here.Owned(ctx, owner)
	}
	err = m.r.call(ctx, "store", "Owned", []any{owner}, &owned)
	return owned, err
}

func (m mixedStore) Promote(ctx context.Context, queue string, max int) (ids []string, failed []backend.Task,
	next time.Duration, err error) {
	if !m.r.other() {
		return m.here.Promote(ctx, queue, max)
	}
	err = m.r.call(ctx, "store", "Promote", []any{queue, max}, &ids, &failed, &next)
	return ids, failed, next, err
}

func (m mixedStore) Promotable(ctx context.Context, queues []string, within time.Duration) (found []string, err error) {
	if !m.r.other() {
		return m.here.Promotable(ctx, queues, within)
	}
	err = m.r.call(ctx, "store", "Promotable", []any{queues, within}, &found)
	return found, err
}

func (m mixedStore) Spawn(ctx context.Context, s backend.Spawn) (err error) {
	if !m.r.other() {
		return m.here.Spawn(ctx, s)
	}
	err = m.r.call(ctx, "store", "Spawn", []any{s})
	if err != nil && strings.HasSuffix(err.Error(), backend.ErrStaleFence.Error()) { // the cause is not sent
		err = backend.Errorf(backend.CodeOf(err), "%w", errors.Join(backend.ErrStaleFence, err))
	}
	return err
}

func (m mixedStore) Discard(ctx context.Context, source, batch string) (err error) {
	if !m.r.other() {
		return m.here.Discard(ctx, source, batch)
	}
	err = m.r.call(ctx, "store", "Discard", []any{source, batch})
	return err
}

func (m mixedStore) Open(ctx context.Context, source string) (queues []string, err error) {
	if !m.r.other() {
		return m.here.Open(ctx, source)
	}
	err = m.r.call(ctx, "store", "Open", []any{source}, &queues)
	return queues, err
}

func (m mixedStore) Finish(ctx context.Context, source string) (finished bool, queue string, err error) {
	if !m.r.other() {
		return m.here.Finish(ctx, source)
	}
	err = m.r.call(ctx, "store", "Finish", []any{source}, &finished, &queue)
	return finished, queue, err
}

func (m mixedStore) Stop(ctx context.Context, s backend.Stop) (tasks []backend.Task, err error) {
	if s.Each != nil || !m.r.other() { // functions can't be sent
		return m.here.Stop(ctx, s)
	}
	err = m.r.call(ctx, "store", "Stop", []any{s}, &tasks)
	return tasks, err
}

func (m mixedStore) Unfinished(ctx context.Context, age time.Duration, max int) (unfinished []backend.Unfinished,
	err error) {
	if !m.r.other() {
		return m.here.Unfinished(ctx, age, max)
	}
	err = m.r.call(ctx, "store", "Unfinished", []any{age, max}, &unfinished)
	return unfinished, err
}

func (m mixedStore) Now(ctx context.Context) (time.Time, error) { return m.here.Now(ctx) }

func (m mixedStore) Get(ctx context.Context, id string) (task backend.Task, err error) {
	if !m.r.other() {
		return m.here.Get(ctx, id)
	}
	err = m.r.call(ctx, "store", "Get", []any{id}, &task)
	return task, err
}

func (m mixedStore) Statuses(ctx context.Context, ids []string) (found map[string]backend.Status, err error) {
	if !m.r.other() {
		return m.here.Statuses(ctx, ids)
	}
	err = m.r.call(ctx, "store", "Statuses", []any{ids}, &found)
	return found, err
}

func (m mixedStore) List(ctx context.Context, q backend.TaskQuery) (page backend.TaskPage, err error) {
	if !m.r.other() {
		return m.here.List(ctx, q)
	}
	err = m.r.call(ctx, "store", "List", []any{q}, &page)
	return page, err
}

func (m mixedStore) MarkRetried(ctx context.Context, id, from, to string) (by string, err error) {
	if !m.r.other() {
		return m.here.MarkRetried(ctx, id, from, to)
	}
	err = m.r.call(ctx, "store", "MarkRetried", []any{id, from, to}, &by)
	return by, err
}

func (m mixedStore) Purge(ctx context.Context, r backend.Retention, max int) (n int, err error) {
	if !m.r.other() {
		return m.here.Purge(ctx, r, max)
	}
	err = m.r.call(ctx, "store", "Purge", []any{r, max}, &n)
	return n, err
}

type mixedDocs struct {
	here backend.Docs
	r    remote
}

func (m mixedDocs) Get(ctx context.Context, name string) (doc backend.Doc, err error) {
	if !m.r.other() {
		return m.here.Get(ctx, name)
	}
	err = m.r.call(ctx, "docs", "Get", []any{name}, &doc)
	return doc, err
}

func (m mixedDocs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (next int64, err error) {
	if !m.r.other() {
		return m.here.PutIf(ctx, name, rev, value)
	}
	err = m.r.call(ctx, "docs", "PutIf", []any{name, rev, value}, &next)
	return next, err
}

func (m mixedDocs) GetAll(ctx context.Context, names []string) (docs []backend.Doc, err error) {
	if !m.r.other() {
		return m.here.GetAll(ctx, names)
	}
	err = m.r.call(ctx, "docs", "GetAll", []any{names}, &docs)
	return docs, err
}

func (m mixedDocs) PutAll(ctx context.Context, docs []backend.Doc) ([]backend.Put, error) {
	return m.here.PutAll(ctx, docs) // errors within results can't be sent
}

func (m mixedDocs) List(ctx context.Context, prefix string) (docs []backend.Doc, err error) {
	if !m.r.other() {
		return m.here.List(ctx, prefix)
	}
	err = m.r.call(ctx, "docs", "List", []any{prefix}, &docs)
	return docs, err
}

func (m mixedDocs) Delete(ctx context.Context, name string, rev int64) (err error) {
	if !m.r.other() {
		return m.here.Delete(ctx, name, rev)
	}
	err = m.r.call(ctx, "docs", "Delete", []any{name, rev})
	return err
}
