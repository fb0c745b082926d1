package runtime

import (
	"context"
	"encoding/json"
	"log/slog"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/guard"
)

// The App of a child process stands on ports that pass each operation on to the ports of the App that started it: the
// child has no connections of its own. What only an App that runs tasks itself asks of its ports (claims, beats, judging)
// is refused there.

// An op is an operation that a child has done by its parent, by its name on the pipe.
type op[A, R any] string

type none struct{}

// call has the parent do it.
func (o op[A, R]) call(ctx context.Context, p *pipe, a A) (R, error) {
	var r, zero R
	if p.idle.Load() {
		return zero, NewError(ErrFailedPrecondition, "this process is a child that runs a task of another App; this one is not connected").
			With(OutcomeNotSent)
	}
	if err := portError(p.self.Call(ctx, string(o), a, &r)); err != nil {
		return zero, err
	}
	return r, nil
}

// A parent is the App of a parent process as its children see it; in a child it passes everything on.
type parent interface {
	Ports() *backend.Ports
	// Wake hints that tasks of a queue may be ready. It never waits.
	Wake(queue string, ids []string)
	// StopTasks stops tasks and does what follows from it.
	StopTasks(ctx context.Context, s backend.Stop) error
	// WaitTask waits for a task, for the handler of the task by unless that is empty.
	WaitTask(ctx context.Context, id, by string) (Task, error)
	// Snowflake returns an id that sorts by time.
	Snowflake(ctx context.Context) (string, error)
}

// A serve does an operation for a child.
type serve func(ctx context.Context, p parent, body json.RawMessage) (any, error)

// on ties an operation to what does it.
func on[A, R any](ops map[string]serve, o op[A, R], do func(ctx context.Context, p parent, a A) (R, error)) {
	ops[string(o)] = func(ctx context.Context, p parent, body json.RawMessage) (any, error) {
		var a A
		if err := json.Unmarshal(body, &a); err != nil {
			return nil, err
		}
		return do(ctx, p, a)
	}
}

// The arguments of operations that have several.
type (
	argsProgress struct {
		ID       string
		Fence    int64
		Progress json.RawMessage
	}
	argsRetried struct{ ID, From, To string }
	argsBatch   struct{ Source, Batch string }
	argsWait    struct{ ID, By string } // By is the task whose handler waits
	argsFinish  struct {
		Finished bool
		Queue    string
	}
	argsDoc struct {
		Name  string
		Rev   int64
		Value json.RawMessage
	}
	argsDocs struct {
		Prefix, After string
		Bytes         int
	}
	someDocs struct {
		Docs []backend.Doc
		More bool
	}
	argsNews struct {
		Kind, Name string
		Body       json.RawMessage
	}
	argsWake struct {
		Queue string
		IDs   []string
	}
)

const (
	opCall      op[*backend.Request, *backend.Reply]    = "call"
	opInsert    op[[]backend.NewTask, []Task]           = "insert"
	opProgress  op[argsProgress, none]                  = "progress"
	opRetried   op[argsRetried, string]                 = "retried"
	opSpawn     op[backend.Spawn, none]                 = "spawn"
	opDiscard   op[argsBatch, none]                     = "discard"
	opOpen      op[string, []string]                    = "open"
	opFinish    op[string, argsFinish]                  = "finish"
	opStop      op[backend.Stop, none]                  = "stop"
	opGet       op[string, Task]                        = "get"
	opNow       op[none, time.Time]                     = "now"
	opList      op[backend.TaskQuery, backend.TaskPage] = "list"
	opWait      op[argsWait, Task]                      = "wait"
	opSnowflake op[none, string]                        = "snowflake"
	opDocGet    op[string, backend.Doc]                 = "doc get"
	opDocPut    op[argsDoc, int64]                      = "doc put"
	opDocList   op[argsDocs, someDocs]                  = "doc list"
	opDocDelete op[argsDoc, none]                       = "doc delete"
	opSend      op[argsNews, none]                      = "send"
	opAnnounce  op[argsNews, none]                      = "announce"
	opPresent   op[string, map[string]json.RawMessage]  = "present"
	opBroadcast op[argsNews, none]                      = "broadcast"
)

// serves is what a parent does for its children, by name.
func serves() map[string]serve {
	ops := map[string]serve{}
	on(ops, opCall, func(ctx context.Context, p parent, r *backend.Request) (*backend.Reply, error) {
		return p.Ports().Calls.Call(ctx, r)
	})
	on(ops, opInsert, func(ctx context.Context, p parent, t []backend.NewTask) ([]Task, error) {
		stored, err := p.Ports().Store.Insert(ctx, t)
		for i := range stored {
			stored[i] = stored[i].Head() // should a store return more
		}
		return stored, err
	})
	on(ops, opProgress, func(ctx context.Context, p parent, a argsProgress) (none, error) {
		return none{}, p.Ports().Store.Progress(ctx, a.ID, a.Fence, a.Progress)
	})
	on(ops, opRetried, func(ctx context.Context, p parent, a argsRetried) (string, error) {
		return p.Ports().Store.MarkRetried(ctx, a.ID, a.From, a.To)
	})
	on(ops, opSpawn, func(ctx context.Context, p parent, s backend.Spawn) (none, error) {
		return none{}, p.Ports().Store.Spawn(ctx, s)
	})
	on(ops, opDiscard, func(ctx context.Context, p parent, a argsBatch) (none, error) {
		return none{}, p.Ports().Store.Discard(ctx, a.Source, a.Batch)
	})
	on(ops, opOpen, func(ctx context.Context, p parent, source string) ([]string, error) {
		return p.Ports().Store.Open(ctx, source)
	})
	on(ops, opFinish, func(ctx context.Context, p parent, source string) (f argsFinish, err error) {
		f.Finished, f.Queue, err = p.Ports().Store.Finish(ctx, source)
		return f, err
	})
	on(ops, opStop, func(ctx context.Context, p parent, s backend.Stop) (none, error) {
		return none{}, p.StopTasks(ctx, s)
	})
	on(ops, opGet, func(ctx context.Context, p parent, id string) (Task, error) {
		return p.Ports().Store.Get(ctx, id)
	})
	on(ops, opNow, func(ctx context.Context, p parent, _ none) (time.Time, error) {
		return p.Ports().Store.Now(ctx)
	})
	on(ops, opList, func(ctx context.Context, p parent, q backend.TaskQuery) (backend.TaskPage, error) {
		return p.Ports().Store.List(ctx, q)
	})
	on(ops, opWait, func(ctx context.Context, p parent, w argsWait) (Task, error) {
		return p.WaitTask(ctx, w.ID, w.By)
	})
	on(ops, opSnowflake, func(ctx context.Context, p parent, _ none) (string, error) {
		return p.Snowflake(ctx)
	})
	on(ops, opDocGet, func(ctx context.Context, p parent, name string) (backend.Doc, error) {
		return p.Ports().Docs.Get(ctx, name)
	})
	on(ops, opDocPut, func(ctx context.Context, p parent, a argsDoc) (int64, error) {
		return p.Ports().Docs.PutIf(ctx, a.Name, a.Rev, a.Value)
	})
	on(ops, opDocList, func(ctx context.Context, p parent, a argsDocs) (someDocs, error) {
		docs, err := p.Ports().Docs.List(ctx, a.Prefix)
		return a.part(docs), err
	})
	on(ops, opDocDelete, func(ctx context.Context, p parent, a argsDoc) (none, error) {
		return none{}, p.Ports().Docs.Delete(ctx, a.Name, a.Rev)
	})
	on(ops, opSend, func(ctx context.Context, p parent, a argsNews) (none, error) {
		return none{}, p.Ports().Transport.Send(ctx, a.Name, a.Body)
	})
	on(ops, opAnnounce, func(ctx context.Context, p parent, a argsNews) (none, error) {
		return none{}, p.Ports().Coordinator.Announce(ctx, a.Kind, a.Name, a.Body)
	})
	on(ops, opPresent, func(ctx context.Context, p parent, kind string) (map[string]json.RawMessage, error) {
		return p.Ports().Coordinator.Present(ctx, kind)
	})
	on(ops, opBroadcast, func(ctx context.Context, p parent, a argsNews) (none, error) {
		return none{}, p.Ports().Coordinator.Publish(ctx, a.Name, a.Body)
	})
	return ops
}

// part returns what a takes of the documents after a.After, which are sorted.
func (a argsDocs) part(docs []backend.Doc) (some someDocs) {
	bytes := 0
	for _, d := range docs {
		if d.Name <= a.After && a.After != "" {
			continue
		}
		bytes += len(d.Name) + len(d.Value)
		if some.More = len(some.Docs) > 0 && bytes > a.Bytes; some.More {
			break
		}
		some.Docs = append(some.Docs, d)
	}
	return some
}

// The notices of a child.
const (
	noticeWake  = "wake"
	noticeDrain = "drain" // to the child: the parent's App has begun to shut down
	noticeLog   = "log"
)

// serveChild returns what serves the requests of the child that runs the task whose context ctx is. The child logs to h, and
// what fails here is logged to log.
func serveChild(ctx context.Context, p parent, h slog.Handler, log *slog.Logger) child.Handler {
	ops := serves()
	return func(r *child.Request) {
		switch do, ok := ops[r.Op]; {
		case ok:
			serveOp(p, r, do, log)
		case r.Op == noticeWake:
			var w argsWake
			if json.Unmarshal(r.Body, &w) == nil {
				p.Wake(w.Queue, w.IDs)
			}
		case r.Op == noticeLog:
			logRecord(ctx, h, r.Body)
		default:
			_ = r.Reply(nil, Errorf(ErrUnimplemented, "a child process asks for %q", r.Op)) // or the child has ended
		}
	}
}

// serveOp does one operation for a child. What comes of its reply a child that has gone need not know.
func serveOp(p parent, r *child.Request, do serve, log *slog.Logger) {
	var v any
	guard.Do(func() (err error) {
		v, err = do(r.Context, p, r.Body)
		return err
	}, func(err error) {
		if v, ok := err.(*guard.PanicError); ok { // in an adapter
			err = Errorf(ErrInternal, "the backend panicked: %s", v)
			log.Error("panic in a port", append(v.Attrs(), "op", r.Op)...)
		}
		if err != nil {
			err = portFault(err)
		}
		_ = r.Reply(v, err) // or the child has ended, which its task tells
	})
}
