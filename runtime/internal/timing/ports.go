package timing

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// docs observes every method of Docs.
type docs struct {
	backend.Docs
	observer
}

func (d docs) Get(ctx context.Context, name string) (backend.Doc, error) {
	begun := time.Now()
	doc, err := d.Docs.Get(ctx, name)
	d.ended("get", begun, err)
	return doc, err
}

func (d docs) GetAll(ctx context.Context, names []string) ([]backend.Doc, error) {
	begun := time.Now()
	all, err := d.Docs.GetAll(ctx, names)
	d.ended("get_all", begun, err)
	return all, err
}

func (d docs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	begun := time.Now()
	now, err := d.Docs.PutIf(ctx, name, rev, value)
	d.ended("put_if", begun, err)
	return now, err
}

func (d docs) PutAll(ctx context.Context, all []backend.Doc) ([]backend.Put, error) {
	begun := time.Now()
	puts, err := d.Docs.PutAll(ctx, all)
	d.ended("put_all", begun, err)
	return puts, err
}

func (d docs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	begun := time.Now()
	all, err := d.Docs.List(ctx, prefix)
	d.ended("list", begun, err)
	return all, err
}

func (d docs) Latest(ctx context.Context, prefix, before string, max int) ([]backend.Doc, error) {
	begun := time.Now()
	all, err := d.Docs.Latest(ctx, prefix, before, max)
	d.ended("latest", begun, err)
	return all, err
}

func (d docs) Delete(ctx context.Context, name string, rev int64) error {
	begun := time.Now()
	err := d.Docs.Delete(ctx, name, rev)
	d.ended("delete", begun, err)
	return err
}

// newTransport returns a Transport whose requests are observed.
func newTransport(t backend.Transport, o observer) backend.Transport {
	timed := transport{t, o}
	if c, ok := t.(backend.ConnectionChecker); ok {
		return checkingTransport{timed, checker{c, o}}
	}
	return timed
}

// transport observes the requests of a Transport and of its Listeners.
type transport struct {
	backend.Transport
	observer
}

// checkingTransport is a transport that is a ConnectionChecker.
type checkingTransport struct {
	transport
	checker
}

type checker struct {
	checker backend.ConnectionChecker
	to      observer
}

func (c checker) Absent(ctx context.Context, instances []string) ([]string, error) {
	begun := time.Now()
	absent, err := c.checker.Absent(ctx, instances)
	c.to.ended("absent", begun, err)
	return absent, err
}

func (c checker) Visible() (since time.Time, changed <-chan struct{}) { return c.checker.Visible() }

func (t transport) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	begun := time.Now()
	taken, err := t.Transport.Hint(ctx, queue, ids)
	t.ended("hint", begun, err)
	return taken, err
}

func (t transport) Listen(ctx context.Context, queue string, window int) (backend.Listener, error) {
	begun := time.Now()
	l, err := t.Transport.Listen(ctx, queue, window)
	t.ended("listen", begun, err)
	if err != nil {
		return nil, err
	}
	return listener{l, t.observer}, nil
}

func (t transport) Depth(ctx context.Context, queue string) (int, error) {
	begun := time.Now()
	n, err := t.Transport.Depth(ctx, queue)
	t.ended("depth", begun, err)
	return n, err
}

func (t transport) Send(ctx context.Context, queue string, m backend.Message) error {
	begun := time.Now()
	err := t.Transport.Send(ctx, queue, m)
	t.ended("send", begun, err)
	return err
}

// listener observes the requests of a Listener.
type listener struct {
	backend.Listener
	observer
}

func (l listener) Resize(ctx context.Context, window int) error {
	begun := time.Now()
	err := l.Listener.Resize(ctx, window)
	l.ended("resize", begun, err)
	return err
}

func (l listener) Close() error {
	begun := time.Now()
	err := l.Listener.Close()
	l.ended("close", begun, err)
	return err
}

// coordinator observes the requests of a Coordinator.
type coordinator struct {
	backend.Coordinator
	observer
}

func (c coordinator) Announce(ctx context.Context, kind, name string, facts json.RawMessage) error {
	begun := time.Now()
	err := c.Coordinator.Announce(ctx, kind, name, facts)
	c.ended("announce", begun, err)
	return err
}

func (c coordinator) Present(ctx context.Context, kind string) (map[string]json.RawMessage, error) {
	begun := time.Now()
	all, err := c.Coordinator.Present(ctx, kind)
	c.ended("present", begun, err)
	return all, err
}

func (c coordinator) Publish(ctx context.Context, topic string, event json.RawMessage) error {
	begun := time.Now()
	err := c.Coordinator.Publish(ctx, topic, event)
	c.ended("publish", begun, err)
	return err
}
