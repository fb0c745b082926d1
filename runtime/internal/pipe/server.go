package pipe

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/child"
	"github.com/afgen/afgen/runtime/internal/ctxvalues"
	"github.com/afgen/afgen/runtime/internal/guard"
)

// A Parent is an App as seen by its children. In a child it is a [Client].
type Parent interface {
	// Ports returns the ports that serve the children.
	Ports() *backend.Ports
	// Wake publishes hints that tasks of a queue may be ready. It never blocks.
	Wake(queue string, ids []string)
	// StopTasks stops tasks and completes them.
	StopTasks(ctx context.Context, s backend.Stop) error
	// WaitTask waits for a task, on behalf of the handler of the task by if by isn't empty.
	WaitTask(ctx context.Context, id, by string) (backend.Task, error)
	// WaitTree waits for the tree of a task, on behalf of the handler of the task by if by isn't empty. It returns the
	// number of tasks in the tree, by status.
	WaitTree(ctx context.Context, id, by string) (backend.SubtaskCounts, error)
	// Snowflake returns an id that sorts by time.
	Snowflake(ctx context.Context) (string, error)
}

// A serve performs an operation for a child. It decodes the argument from body.
type serve func(ctx context.Context, p Parent, body json.RawMessage) (any, error)

// on adds an operation served by do.
func on[A, R any](ops map[string]serve, o op[A, R], do func(ctx context.Context, p Parent, a A) (R, error)) {
	ops[string(o)] = func(ctx context.Context, p Parent, body json.RawMessage) (any, error) {
		var a A
		if err := json.Unmarshal(body, &a); err != nil {
			return nil, err
		}
		return do(ctx, p, a)
	}
}

// operations are the operations of a parent by name.
var operations = sync.OnceValue(func() map[string]serve {
	ops := map[string]serve{}
	on(ops, opCall, func(ctx context.Context, p Parent, r *backend.Request) (*backend.Reply, error) {
		return p.Ports().Calls.Call(ctx, r)
	})
	on(ops, opInsert, func(ctx context.Context, p Parent, t []backend.NewTask) ([]backend.Task, error) {
		stored, err := p.Ports().Store.Insert(ctx, t)
		for i := range stored {
			stored[i] = stored[i].Head() // in case a store returns more
		}
		return stored, err
	})
	on(ops, opProgress, func(ctx context.Context, p Parent, a argsProgress) (none, error) {
		return none{}, p.Ports().Store.Progress(ctx, a.ID, a.Fence, a.Progress)
	})
	on(ops, opRetried, func(ctx context.Context, p Parent, a argsRetried) (string, error) {
		return p.Ports().Store.MarkRetried(ctx, a.ID, a.From, a.To)
	})
	on(ops, opSpawn, func(ctx context.Context, p Parent, s backend.Spawn) (none, error) {
		return none{}, p.Ports().Store.Spawn(ctx, s)
	})
	on(ops, opDiscard, func(ctx context.Context, p Parent, a argsBatch) (none, error) {
		return none{}, p.Ports().Store.Discard(ctx, a.Source, a.Batch)
	})
	on(ops, opOpen, func(ctx context.Context, p Parent, source string) ([]string, error) {
		return p.Ports().Store.Open(ctx, source)
	})
	on(ops, opFinish, func(ctx context.Context, p Parent, source string) (f resultFinish, err error) {
		f.Finished, f.Queue, err = p.Ports().Store.Finish(ctx, source)
		return f, err
	})
	on(ops, opStop, func(ctx context.Context, p Parent, s backend.Stop) (none, error) {
		return none{}, p.StopTasks(ctx, s)
	})
	on(ops, opGet, func(ctx context.Context, p Parent, id string) (backend.Task, error) {
		return p.Ports().Store.Get(ctx, id)
	})
	on(ops, opNow, func(ctx context.Context, p Parent, _ none) (time.Time, error) {
		return p.Ports().Store.Now(ctx)
	})
	on(ops, opList, func(ctx context.Context, p Parent, q backend.TaskQuery) (backend.TaskPage, error) {
		return p.Ports().Store.List(ctx, q)
	})
	on(ops, opWait, func(ctx context.Context, p Parent, w argsWait) (backend.Task, error) {
		return p.WaitTask(ctx, w.ID, w.By)
	})
	on(ops, opWaitTree, func(ctx context.Context, p Parent, w argsWait) (backend.SubtaskCounts, error) {
		return p.WaitTree(ctx, w.ID, w.By)
	})
	on(ops, opSnowflake, func(ctx context.Context, p Parent, _ none) (string, error) {
		return p.Snowflake(ctx)
	})
	on(ops, opDocGet, func(ctx context.Context, p Parent, name string) (backend.Doc, error) {
		return p.Ports().Docs.Get(ctx, name)
	})
	on(ops, opDocPut, func(ctx context.Context, p Parent, a argsDoc) (int64, error) {
		return p.Ports().Docs.PutIf(ctx, a.Name, a.Rev, a.Value)
	})
	on(ops, opDocList, func(ctx context.Context, p Parent, a argsDocs) (someDocs, error) {
		docs, err := p.Ports().Docs.List(ctx, a.Prefix)
		return a.part(docs), err
	})
	on(ops, opDocDelete, func(ctx context.Context, p Parent, a argsDoc) (none, error) {
		return none{}, p.Ports().Docs.Delete(ctx, a.Name, a.Rev)
	})
	on(ops, opSend, func(ctx context.Context, p Parent, a argsSend) (none, error) {
		return none{}, p.Ports().Transport.Send(ctx, a.Queue, a.Message)
	})
	on(ops, opAnnounce, func(ctx context.Context, p Parent, a argsMessage) (none, error) {
		return none{}, p.Ports().Coordinator.Announce(ctx, a.Kind, a.Name, a.Body)
	})
	on(ops, opPresent, func(ctx context.Context, p Parent, kind string) (map[string]json.RawMessage, error) {
		return p.Ports().Coordinator.Present(ctx, kind)
	})
	on(ops, opPublish, func(ctx context.Context, p Parent, a argsMessage) (none, error) {
		return none{}, p.Ports().Coordinator.Publish(ctx, a.Name, a.Body)
	})
	return ops
})

// part returns the documents after a.After, which are sorted, up to a frame's size.
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

// serveChild returns a handler of a child's requests, which have the values of ctx, such as the span of the attempt. It
// logs the child's records in ctx.
func serveChild(ctx context.Context, cfg Config) child.Handler {
	ops := operations()
	return func(r *child.Request) {
		switch do, ok := ops[r.Op]; {
		case ok:
			cfg.serve(ctxvalues.From(r.Context, ctx), r, do)
		case r.Op == noticeWake:
			var w argsWake
			if json.Unmarshal(r.Body, &w) == nil {
				cfg.Parent.Wake(w.Queue, w.IDs)
			}
		case r.Op == noticeLog:
			logRecord(ctx, cfg.Logs, r.Body)
		default:
			// Reply fails only if the child has exited.
			_ = r.Reply(nil, backend.Errorf(backend.ErrUnimplemented, "unknown operation %q of a child process", r.Op))
		}
	}
}

// serve performs one operation for a child.
func (cfg *Config) serve(ctx context.Context, r *child.Request, do serve) {
	var v any
	guard.Do(func() (err error) {
		v, err = do(ctx, cfg.Parent, r.Body)
		return err
	}, func(err error) {
		if p, ok := err.(*guard.PanicError); ok { // a bug in an adapter
			err = backend.Errorf(backend.ErrInternal, "backend panicked: %s", p)
			cfg.Errors.Error("panic in a port", append(p.Attrs(), "op", r.Op)...)
		}
		if err != nil {
			err = portFault(err)
		}
		_ = r.Reply(v, err) // fails only if the child has exited, which Process.Run reports
	})
}
