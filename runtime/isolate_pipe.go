package runtime

import (
	"context"
	"encoding/json"
	"sync/atomic"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
)

// A pipe passes on what the App of a child process asks of its parent.
type pipe struct {
	self  *child.Child
	idle  atomic.Bool // this App doesn't run the child's task, and isn't connected
	ports *backend.Ports
}

var _ parent = (*pipe)(nil)

func newPipe(self *child.Child) *pipe {
	p := &pipe{self: self}
	p.ports = &backend.Ports{
		Calls: pipeCalls{p}, Store: pipeStore{p}, Docs: pipeDocs{p}, Transport: pipeTransport{p}, Coordinator: pipeCoordinator{p},
		Close: func(context.Context) error { return nil },
	}
	return p
}

// Ports returns the ports of the child's App.
func (p *pipe) Ports() *backend.Ports { return p.ports }

// StopTasks implements parent. It passes no tasks to s.Each.
func (p *pipe) StopTasks(ctx context.Context, s backend.Stop) error {
	_, err := opStop.call(ctx, p, s)
	return err
}

// WaitTask implements parent.
func (p *pipe) WaitTask(ctx context.Context, id, by string) (Task, error) {
	return opWait.call(ctx, p, argsWait{ID: id, By: by})
}

// Snowflake implements parent.
func (p *pipe) Snowflake(ctx context.Context) (string, error) {
	return opSnowflake.call(ctx, p, none{})
}

// Wake passes a hint on. It is sent before what the task returns, and lost only with the parent.
func (p *pipe) Wake(queue string, ids []string) {
	ids = ids[:min(len(ids), hintBacklog)] // what is beyond it would be dropped there
	_ = p.self.Notify(noticeWake, argsWake{queue, ids})
}

// notHere refuses what a child's App never asks for: it belongs to who claims and runs.
func notHere(what string) *Error {
	return Errorf(ErrUnimplemented, "%s is not for a child process", what).With(OutcomeNotSent)
}

type pipeCalls struct{ p *pipe }

func (c pipeCalls) Call(ctx context.Context, r *backend.Request) (*backend.Reply, error) {
	return opCall.call(ctx, c.p, r)
}

func (c pipeCalls) Serve(context.Context, backend.Endpoint, backend.Handler) (backend.Serving, error) {
	return nil, notHere("Serve")
}

type pipeStore struct{ p *pipe }

func (s pipeStore) Insert(ctx context.Context, tasks []backend.NewTask) ([]Task, error) {
	stored := make([]Task, 0, len(tasks))
	for part := range backend.SplitInsert(tasks, child.Part()) {
		some, err := opInsert.call(ctx, s.p, part)
		if err != nil {
			return nil, err
		}
		stored = append(stored, some...)
	}
	return stored, nil
}

func (s pipeStore) Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error {
	_, err := opProgress.call(ctx, s.p, argsProgress{id, fence, progress})
	return err
}

func (s pipeStore) Spawn(ctx context.Context, b backend.Spawn) error {
	_, err := opSpawn.call(ctx, s.p, b)
	return err
}

func (s pipeStore) Discard(ctx context.Context, source, batch string) error {
	_, err := opDiscard.call(ctx, s.p, argsBatch{source, batch})
	return err
}

func (s pipeStore) Open(ctx context.Context, source string) ([]string, error) {
	return opOpen.call(ctx, s.p, source)
}

func (s pipeStore) Finish(ctx context.Context, source string) (bool, string, error) {
	f, err := opFinish.call(ctx, s.p, source)
	return f.Finished, f.Queue, err
}

// Stop returns no tasks: the parent does what follows, since this process may end before it has.
func (s pipeStore) Stop(ctx context.Context, stop backend.Stop) ([]Task, error) {
	return nil, s.p.StopTasks(ctx, stop)
}

func (s pipeStore) Now(ctx context.Context) (time.Time, error) {
	return opNow.call(ctx, s.p, none{})
}

func (s pipeStore) Get(ctx context.Context, id string) (Task, error) {
	return opGet.call(ctx, s.p, id)
}

func (s pipeStore) List(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	if q.Bytes == 0 || q.Bytes > child.Part() && q.Bytes <= backend.MaxPage { // what is wrong is left to the parent
		q.Bytes = child.Part()
	}
	return opList.call(ctx, s.p, q)
}

func (s pipeStore) Claim(context.Context, backend.Claim) ([]Task, time.Duration, error) {
	return nil, 0, notHere("Claim")
}

func (s pipeStore) Settle(context.Context, []backend.Settle) ([]backend.Settled, error) {
	return nil, notHere("Settle")
}

func (s pipeStore) Beat(context.Context, string, int64) error { return notHere("Beat") }

func (s pipeStore) Drain(context.Context, string) error { return notHere("Drain") }

func (s pipeStore) Owners(context.Context) (map[string]int64, error) { return nil, notHere("Owners") }

func (s pipeStore) Refund(context.Context, string) error { return notHere("Refund") }

func (s pipeStore) ExpireOwner(context.Context, string, int64, int) ([]Task, error) {
	return nil, notHere("ExpireOwner")
}

func (s pipeStore) Owned(context.Context, string) ([]backend.Owned, error) {
	return nil, notHere("Owned")
}

func (s pipeStore) Promote(context.Context, string, int) ([]string, []Task, time.Duration, error) {
	return nil, nil, 0, notHere("Promote")
}

func (s pipeStore) MarkRetried(ctx context.Context, id, from, to string) (string, error) {
	return opRetried.call(ctx, s.p, argsRetried{id, from, to})
}

func (s pipeStore) Unfinished(context.Context, time.Duration, int) ([]backend.Unfinished, error) {
	return nil, notHere("Unfinished")
}

func (s pipeStore) Purge(context.Context, backend.Retention, int) (int, error) {
	return 0, notHere("Purge")
}

type pipeDocs struct{ p *pipe }

func (d pipeDocs) Get(ctx context.Context, name string) (backend.Doc, error) {
	return opDocGet.call(ctx, d.p, name)
}

func (d pipeDocs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	return opDocPut.call(ctx, d.p, argsDoc{name, rev, value})
}

func (d pipeDocs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	var docs []backend.Doc
	for after := ""; ; after = docs[len(docs)-1].Name {
		part, err := opDocList.call(ctx, d.p, argsDocs{prefix, after, child.Part()})
		docs = append(docs, part.Docs...)
		if err != nil || !part.More || len(part.Docs) == 0 {
			return docs, err
		}
	}
}

func (d pipeDocs) Delete(ctx context.Context, name string, rev int64) error {
	_, err := opDocDelete.call(ctx, d.p, argsDoc{Name: name, Rev: rev})
	return err
}

// A pipeTransport sends raw messages. Hints go by wake, which needs no answer.
type pipeTransport struct{ p *pipe }

func (t pipeTransport) Ids() bool { return true }

func (t pipeTransport) Hint(context.Context, string, []string) ([]bool, error) {
	return nil, notHere("Hint")
}

func (t pipeTransport) Listen(context.Context, string, int) (backend.Listener, error) {
	return nil, notHere("Listen")
}

func (t pipeTransport) Depth(context.Context, string) (int, error) { return 0, notHere("Depth") }

func (t pipeTransport) Send(ctx context.Context, queue string, body json.RawMessage) error {
	_, err := opSend.call(ctx, t.p, argsNews{Name: queue, Body: body})
	return err
}

func (t pipeTransport) Receive(context.Context, string, func(context.Context, json.RawMessage) error) error {
	return notHere("Receive")
}

func (t pipeTransport) State() (bool, <-chan struct{}) { return true, nil }

type pipeCoordinator struct{ p *pipe }

func (c pipeCoordinator) Announce(ctx context.Context, kind, name string, facts json.RawMessage) error {
	_, err := opAnnounce.call(ctx, c.p, argsNews{kind, name, facts})
	return err
}

func (c pipeCoordinator) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
	return opPresent.call(ctx, c.p, kind)
}

func (c pipeCoordinator) Publish(ctx context.Context, topic string, news json.RawMessage) error {
	_, err := opBroadcast.call(ctx, c.p, argsNews{Name: topic, Body: news})
	return err
}

func (c pipeCoordinator) Subscribe(context.Context, string, func(json.RawMessage)) error {
	return notHere("Subscribe")
}
