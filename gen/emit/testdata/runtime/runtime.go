// Package runtime is a stub of the declarations that generated code uses.
package runtime

import (
	"context"
	"time"
)

const Generated1 = true

type App struct{}

type Caller interface{ Call() }

type CallOption interface{ Apply() }

type Registrar interface{ Register() }

type TaskClient interface{ Submit() }

type Task struct{}

type Subtasks struct{}

type Client struct{ caller Caller }

func NewClient(c Caller, _ ...CallOption) Client { return Client{c} }

type Service struct {
	Name        string
	Type        string
	Concurrency int
	Doc         string
}

type Method[A, R any] struct {
	Service     string
	Name        string
	Signature   string
	Timeout     time.Duration
	Idempotent  bool
	Fingerprint string
	Doc         string
}

func (m *Method[A, R]) Call(_ context.Context, c Client, _ A) (reply R, err error) {
	c.caller.Call()
	return reply, err
}

type Binding[T any] struct{ handle func(impl *T) }

func Bind[T, A, R any](_ *Method[A, R], call func(ctx context.Context, impl *T, args A) (R, error)) Binding[T] {
	return Binding[T]{func(impl *T) {
		var args A
		_, _ = call(context.Background(), impl, args)
	}}
}

func RegisterService[T any](r Registrar, _ Service, impl *T, methods ...Binding[T]) {
	r.Register()
	for _, m := range methods {
		m.handle(impl)
	}
}

type Worker struct {
	Name       string
	Type       string
	Signature  string
	Max        int
	Timeout    time.Duration
	Retries    int
	MaxCrashes int
	Backoff    time.Duration
	BackoffMax time.Duration
	Weight     int
	Isolation  string
	Payload    string
	Result     string
}

type WorkerOption interface{ applyWorker() }

type VoidQueue[P any] struct{ tasks TaskClient }

func NewVoidQueue[P any](t TaskClient, _ Worker) VoidQueue[P] { return VoidQueue[P]{t} }

func (q VoidQueue[P]) Submit(_ P) { q.tasks.Submit() }

type Queue[P, R any] struct{ VoidQueue[P] }

func NewQueue[P, R any](t TaskClient, w Worker) Queue[P, R] {
	return Queue[P, R]{NewVoidQueue[P](t, w)}
}

func RegisterWorker[W interface {
	*T
	Run(ctx context.Context, payload P) (R, error)
}, T, P, R any](r Registrar, _ Worker, w W, _ ...WorkerOption) {
	var payload P
	_, _ = w.Run(context.Background(), payload)
	r.Register()
}

func RegisterVoidWorker[W interface {
	*T
	Run(ctx context.Context, payload P) error
}, T, P any](r Registrar, _ Worker, w W, _ ...WorkerOption) {
	var payload P
	_ = w.Run(context.Background(), payload)
	r.Register()
}
