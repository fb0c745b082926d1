package runtime_test

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

type Database struct{ Name string }

// Backup is a worker: its Run handles the tasks of the queue backup.
type Backup struct{}

func (*Backup) Run(_ context.Context, d Database) (string, error) {
	return d.Name + ".dump", nil
}

// Submit a task every night. All instances together submit one.
func ExampleVoidQueue_Schedule() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		fmt.Println(err)
		return
	}
	defer app.Shutdown(ctx)
	RegisterBackup(app, &Backup{})
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}

	queue := NewBackupQueue(app)
	err = queue.Schedule(ctx, "nightly", "30 3 * * *", Database{Name: "shop"}, af.Overlap(af.OverlapSkip))
	if err != nil {
		fmt.Println(err)
		return
	}
	job, err := app.Job(ctx, "nightly")
	fmt.Println(job.Queue, job.Next.Format("15:04"), job.Zone, err)

	// To try a job, run it now.
	id, err := app.RunJob(ctx, "nightly")
	if err != nil {
		fmt.Println(err)
		return
	}
	dump, err := queue.Wait(ctx, id)
	fmt.Println(dump, err)
	// Output:
	// backup 03:30 UTC <nil>
	// shop.dump <nil>
}

// The rest of this file is generated code.

type BackupQueue struct{ af.Queue[Database, string] }

func NewBackupQueue(t af.TaskClient) *BackupQueue {
	return &BackupQueue{af.NewQueue[Database, string](t, afBackup)}
}

func RegisterBackup(r af.Registrar, w *Backup) { af.RegisterWorker(r, afBackup, w) }

var afBackup = af.Worker{Name: "backup", Type: "Backup", Max: 1, Retries: 3, Backoff: time.Minute, Weight: 1}
