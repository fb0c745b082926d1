package aftest_test

import (
	"context"
	"errors"
	"fmt"
	"slices"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/aftest"
)

// Import is a worker that submits a mail for each file that it has read.
type Import struct{ Mails *MailerQueue }

func (i *Import) Run(ctx context.Context, rows []string) (int, error) {
	for n := range rows {
		if err := af.TaskFrom(ctx).Progress(ctx, 100*(n+1)/len(rows)); err != nil {
			return 0, err
		}
	}
	// A repeated attempt submits the same mail.
	_, err := i.Mails.Submit(ctx, "ada", af.TaskID("mail-of-"+af.TaskFrom(ctx).ID))
	return len(rows), err
}

// A unit test calls Run directly. Context gives it a task, and a Recorder takes the place of the App.
func ExampleContext() {
	var rec aftest.Recorder
	worker := &Import{Mails: NewMailerQueue(&rec)}

	ctx := aftest.Context(context.Background(), af.Running{ID: "7", Attempt: 2})
	rows, err := worker.Run(ctx, []string{"a", "b"})
	fmt.Println(rows, err)
	fmt.Println(aftest.Progress[int](ctx))
	fmt.Println(aftest.Submitted[string](&rec, "mail"))
	// Output:
	// 2 <nil>
	// [50 100]
	// [ada]
}

// greet submits a mail and waits for it. If it can't know whether the mail was submitted, it tries once more, with the
// same id.
func greet(ctx context.Context, mails *MailerQueue, to string) (string, error) {
	id, err := mails.Submit(ctx, to)
	if known := af.SubmittedID(err); known != "" {
		id, err = mails.Submit(ctx, to, af.TaskID(known))
	}
	if err != nil {
		return "", err
	}
	return mails.Wait(ctx, id)
}

// A Recorder tests code that submits tasks and waits for them, also when submitting fails.
func ExampleRecorder() {
	var rec aftest.Recorder
	aftest.Handle(&rec, "mail", func(_ context.Context, to string) (string, error) {
		if to == "" {
			return "", errors.New("no address")
		}
		return "sent to " + to, nil
	})
	mails := NewMailerQueue(&rec)
	fmt.Println(greet(context.Background(), mails, "ada"))
	fmt.Println(greet(context.Background(), mails, ""))

	rec.LoseReply()
	fmt.Println(greet(context.Background(), mails, "grace"))
	sent := aftest.Submitted[string](&rec, "mail")
	fmt.Println(slices.Contains(sent, "grace"), len(sent))
	// Output:
	// sent to ada <nil>
	//  unknown: no address
	// sent to grace <nil>
	// true 3
}
