package pipe

import (
	"context"
	"encoding/json"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// An op is the name of an operation that the parent performs for its child. A is its argument, R its result.
type op[A, R any] string

type none struct{}

// call requests the operation and waits for the result.
func (o op[A, R]) call(ctx context.Context, c *Client, a A) (R, error) {
	var r, zero R
	if c.disconnected.Load() {
		return zero, backend.NewError(backend.ErrFailedPrecondition,
			"app is not connected: this child process runs a task of another app").With(backend.OutcomeNotSent)
	}
	if err := portError(c.self.Call(ctx, string(o), a, &r)); err != nil {
		return zero, err
	}
	return r, nil
}

// Arguments of operations and notices with several values.
type (
	argsProgress struct {
		ID       string
		Fence    int64
		Progress json.RawMessage
	}
	argsRetried struct{ ID, From, To string }
	argsBatch   struct{ Source, Batch string }
	argsWait    struct{ ID, By string } // By is the task whose handler waits
	argsDoc     struct {
		Name  string
		Rev   int64
		Value json.RawMessage
	}
	argsDocs struct {
		Prefix, After string
		Bytes         int
	}
	argsMessage struct {
		Kind, Name string
		Body       json.RawMessage
	}
	argsSend struct {
		Queue   string
		Message backend.Message
	}
	argsWake struct {
		Queue string
		IDs   []string
	}
)

// Results of operations with several values.
type (
	resultFinish struct {
		Finished bool
		Queue    string
	}
	someDocs struct {
		Docs []backend.Doc
		More bool
	}
)

const (
	opCall      op[*backend.Request, *backend.Reply]    = "call"
	opInsert    op[[]backend.NewTask, []backend.Task]   = "insert"
	opProgress  op[argsProgress, none]                  = "progress"
	opRetried   op[argsRetried, string]                 = "retried"
	opSpawn     op[backend.Spawn, none]                 = "spawn"
	opDiscard   op[argsBatch, none]                     = "discard"
	opOpen      op[string, []string]                    = "open"
	opFinish    op[string, resultFinish]                = "finish"
	opStop      op[backend.Stop, none]                  = "stop"
	opGet       op[string, backend.Task]                = "get"
	opNow       op[none, time.Time]                     = "now"
	opList      op[backend.TaskQuery, backend.TaskPage] = "list"
	opWait      op[argsWait, backend.Task]              = "wait"
	opWaitTree  op[argsWait, backend.SubtaskCounts]     = "wait tree"
	opSnowflake op[none, string]                        = "snowflake"
	opDocGet    op[string, backend.Doc]                 = "doc get"
	opDocPut    op[argsDoc, int64]                      = "doc put"
	opDocList   op[argsDocs, someDocs]                  = "doc list"
	opDocDelete op[argsDoc, none]                       = "doc delete"
	opSend      op[argsSend, none]                      = "send"
	opAnnounce  op[argsMessage, none]                   = "announce"
	opPresent   op[string, map[string]json.RawMessage]  = "present"
	opPublish   op[argsMessage, none]                   = "publish"
)

// opRun is the only request to a child: to run a [Task].
const opRun = "run"

// Notices, which have no reply.
const (
	noticeWake  = "wake"
	noticeLog   = "log"
	noticeDrain = "drain" // to the child
)

// maxWake is how many ids one wake carries. An App keeps no more hints per queue.
const maxWake = 4096
