package pipe

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
)

// newPorts returns the ports of an App in a child process. Each operation is a request to the parent. Operations that
// only an App that claims tasks or serves calls needs are refused.
func newPorts(c *Client, name string) *backend.Ports {
	return &backend.Ports{
		Name: name, Calls: calls{c}, Store: store{c}, Docs: docs{c}, Transport: transport{c}, Coordinator: coordinator{c},
		Close: func(context.Context) error { return nil },
	}
}

// refused returns the error of an operation that isn't available in a child.
func refused(what string) *backend.Error {
	return backend.Errorf(backend.ErrUnimplemented, "%s is not available in a child process",
		what).With(backend.OutcomeNotSent)
}

type calls struct{ c *Client }

func (p calls) Call(ctx context.Context, r *backend.Request) (*backend.Reply, error) {
	return opCall.call(ctx, p.c, r)
}

func (p calls) Serve(context.Context, backend.Endpoint, backend.Handler) (backend.Serving, error) {
	return nil, refused("Serve")
}

type store struct{ c *Client }

func (p store) Insert(ctx context.Context, tasks []backend.NewTask) ([]backend.Task, error) {
	stored := make([]backend.Task, 0, len(tasks))
	for part := range backend.SplitInsert(tasks, child.Part()) {
		some, err := opInsert.call(ctx, p.c, part)
		if err != nil {
			return nil, err
		}
		stored = append(stored, some...)
	}
	return stored, nil
}

func (p store) Progress(ctx context.Context, id string, fence int64, progress json.RawMessage) error {
	_, err := opProgress.call(ctx, p.c, argsProgress{id, fence, progress})
	return err
}

func (p store) Spawn(ctx context.Context, b backend.Spawn) error {
	_, err := opSpawn.call(ctx, p.c, b)
	return err
}

func (p store) Discard(ctx context.Context, source, batch string) error {
	_, err := opDiscard.call(ctx, p.c, argsBatch{source, batch})
	return err
}

func (p store) Open(ctx context.Context, source string) ([]string, error) {
	return opOpen.call(ctx, p.c, source)
}

func (p store) Finish(ctx context.Context, source string) (bool, string, error) {
	f, err := opFinish.call(ctx, p.c, source)
	return f.Finished, f.Queue, err
}

// Stop returns no tasks and passes none to Each. The parent completes them, because this process may exit before.
func (p store) Stop(ctx context.Context, stop backend.Stop) ([]backend.Task, error) {
	return nil, p.c.StopTasks(ctx, stop)
}

func (p store) Now(ctx context.Context) (time.Time, error) {
	return opNow.call(ctx, p.c, none{})
}

func (p store) Get(ctx context.Context, id string) (backend.Task, error) {
	return opGet.call(ctx, p.c, id)
}

func (p store) Statuses(context.Context, []string) (map[string]backend.Status, error) {
	return nil, refused("Statuses")
}

func (p store) List(ctx context.Context, q backend.TaskQuery) (backend.TaskPage, error) {
	if q.Bytes == 0 || q.Bytes > child.Part() && q.Bytes <= backend.MaxPage { // the parent refuses invalid values
		q.Bytes = child.Part()
	}
	return opList.call(ctx, p.c, q)
}

func (p store) Claim(context.Context, backend.Claim) ([]backend.Task, time.Duration, error) {
	return nil, 0, refused("Claim")
}

func (p store) Settle(context.Context, []backend.Settle) ([]backend.Settled, error) {
	return nil, refused("Settle")
}

func (p store) Beat(context.Context, string, int64) error { return refused("Beat") }

func (p store) Drain(context.Context, string) error { return refused("Drain") }

func (p store) Owners(context.Context) (map[string]backend.Heartbeat, error) {
	return nil, refused("Owners")
}

func (p store) Refund(context.Context, string) error { return refused("Refund") }

func (p store) ExpireOwner(context.Context, string, int64, int) ([]backend.Task, error) {
	return nil, refused("ExpireOwner")
}

func (p store) Owned(context.Context, string) ([]backend.Owned, error) {
	return nil, refused("Owned")
}

func (p store) Promote(context.Context, string, int) ([]string, []backend.Task, time.Duration, error) {
	return nil, nil, 0, refused("Promote")
}

func (p store) Promotable(context.Context, []string, time.Duration) ([]string, error) {
	return nil, refused("Promotable")
}

func (p store) MarkRetried(ctx context.Context, id, from, to string) (string, error) {
	return opRetried.call(ctx, p.c, argsRetried{id, from, to})
}

func (p store) Unfinished(context.Context, time.Duration, int) ([]backend.Unfinished, error) {
	return nil, refused("Unfinished")
}

func (p store) Purge(context.Context, backend.Retention, int) (int, error) {
	return 0, refused("Purge")
}

type docs struct{ c *Client }

func (p docs) Get(ctx context.Context, name string) (backend.Doc, error) {
	return opDocGet.call(ctx, p.c, name)
}

func (p docs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	return opDocPut.call(ctx, p.c, argsDoc{name, rev, value})
}

func (p docs) GetAll(context.Context, []string) ([]backend.Doc, error) { return nil, refused("GetAll") }

func (p docs) PutAll(context.Context, []backend.Doc) ([]backend.Put, error) {
	return nil, refused("PutAll")
}

func (p docs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	var all []backend.Doc
	for after := ""; ; after = all[len(all)-1].Name {
		part, err := opDocList.call(ctx, p.c, argsDocs{prefix, after, child.Part()})
		all = append(all, part.Docs...)
		if err != nil || !part.More || len(part.Docs) == 0 {
			return all, err
		}
	}
}

func (p docs) Delete(ctx context.Context, name string, rev int64) error {
	_, err := opDocDelete.call(ctx, p.c, argsDoc{Name: name, Rev: rev})
	return err
}

// A transport sends raw messages. Hints use Client.Wake, which needs no reply.
type transport struct{ c *Client }

func (p transport) Ids() bool { return true }

func (p transport) Hint(context.Context, string, []string) ([]bool, error) {
	return nil, refused("Hint")
}

func (p transport) Listen(context.Context, string, int) (backend.Listener, error) {
	return nil, refused("Listen")
}

func (p transport) Depth(context.Context, string) (int, error) { return 0, refused("Depth") }

func (p transport) Send(ctx context.Context, queue string, m backend.Message) error {
	_, err := opSend.call(ctx, p.c, argsSend{queue, m})
	return err
}

func (p transport) Receive(context.Context, string, func(context.Context, *backend.Message) backend.Handled) error {
	return refused("Receive")
}

func (p transport) State() (bool, <-chan struct{}) { return true, nil }

type coordinator struct{ c *Client }

func (p coordinator) Announce(ctx context.Context, kind, name string, facts json.RawMessage) error {
	_, err := opAnnounce.call(ctx, p.c, argsMessage{kind, name, facts})
	return err
}

func (p coordinator) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
	return opPresent.call(ctx, p.c, kind)
}

func (p coordinator) Publish(ctx context.Context, topic string, event json.RawMessage) error {
	_, err := opPublish.call(ctx, p.c, argsMessage{Name: topic, Body: event})
	return err
}

func (p coordinator) Subscribe(context.Context, string, func(json.RawMessage)) error {
	return refused("Subscribe")
}
