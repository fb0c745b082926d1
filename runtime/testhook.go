package runtime

import (
	"context"
	"log/slog"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/hooks"
	"github.com/afgen/afgen/runtime/internal/lifecycle"
	"github.com/afgen/afgen/runtime/internal/submit"
	"github.com/afgen/afgen/runtime/internal/testhook"
)

func init() {
	testhook.TaskContext, testhook.Prepare, testhook.CheckJob = contextForTest, prepareForTest, checkJobForTest
}

// contextForTest implements [testhook.TaskContext]. The context's App has not been opened: it has a log and nothing
// else.
func contextForTest(ctx context.Context, running any, to testhook.Report) context.Context {
	r := running.(Running)
	r.attemptState = &attemptState{store: to, test: to, metadata: outgoing(ctx)}
	a := &App{settings: defaults(), log: slog.Default(), life: lifecycle.New()}
	a.process = ownProcess{a}
	ctx = context.WithValue(ctx, metadataKey{}, Metadata(nil)) // a handler's own metadata is not forwarded
	return context.WithValue(ctx, handlingKey{}, &handling{app: a, running: &r})
}

// prepareForTest implements [testhook.Prepare].
func prepareForTest(ctx context.Context, submission any, newID func() string) (
	tasks []backend.NewTask, failed func(error) error, _ error) {
	s := submission.(Submission)
	s.trace, s.metadata = TraceFrom(ctx), outgoing(ctx)
	if err := s.check(); err != nil {
		return nil, nil, err.With(OutcomeNotSent)
	}
	if s.IsSubtasks {
		if r := TaskFrom(ctx); r != nil && r.ID == s.Source {
			s.metadata, _ = (*hooks.Set)(nil).Join(ctx, r.metadata, s.metadata)
			if err := backend.ValidateMetadata(s.metadata); err != nil {
				return nil, nil, err
			}
		}
		_, tasks, undo := subtaskBatch(ctx, s)
		return tasks, func(err error) error { undo(); return err }, nil
	}
	is := s.internal()
	for i := range s.Payloads {
		tasks = append(tasks, is.Task(i, newID()))
	}
	return tasks, func(err error) error { return submit.WithID(err, tasks) }, nil
}

// checkJobForTest implements [testhook.CheckJob].
func checkJobForTest(job any) error {
	j := job.(JobSpec)
	if err := j.checkPut(); err != nil {
		return err
	}
	return j.internal().Check()
}
