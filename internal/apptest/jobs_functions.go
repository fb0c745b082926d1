package apptest

import (
	"context"
	"os"
	"slices"
	"strconv"
	"sync"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// functions registers a function as a job on two Apps: with arguments, with errors, and submitting tasks.
func functions(w *jobs) {
	var mu sync.Mutex
	got := map[string]errand{} // by task
	var zeros []*errand
	want := errand{For: "submitted", N: 7, List: []float64{1, 2.5}, At: time.Unix(1e9, 1).UTC()}
	handle := func(app *af.App) {
		af.RegisterVoidWorker(app, errandWorker, &errander{w})
		q := af.NewVoidQueue[errand](app, errandWorker)
		af.HandleJob(app, "fn", "* * * * * *", func(ctx context.Context, e errand) error {
			task := af.TaskFrom(ctx)
			mu.Lock()
			got[task.ID] = e
			n := len(got)
			mu.Unlock()
			switch n {
			case 1:
				return af.Permanent(af.Errorf(af.ErrDataLoss, "this second is lost"))
			case 2:
				panic("and this one")
			}
			_, err := q.Submit(ctx, e, af.TaskID("of/"+task.ID))
			return err
		}, af.Arguments(want), af.Missed(af.MissedAll))
		af.HandleJob(app, "zero", "@every 1s", func(ctx context.Context, e *errand) error {
			mu.Lock()
			defer mu.Unlock()
			zeros = append(zeros, e)
			return nil
		})
	}
	a := w.open(handle)
	w.open(handle, af.IP("192.0.2.2"))
	submitted := func() (n int) {
		w.mu.Lock()
		defer w.mu.Unlock()
		for _, r := range w.runs {
			if e := r.errand; e.For == want.For && e.N == want.N && e.At.Equal(want.At) && slices.Equal(e.List, want.List) {
				n++
			}
		}
		return n
	}
	w.within(patience, "two tasks that the job has submitted", func() bool { return submitted() >= 2 })
	j := w.disable(a, "fn")
	if j.Queue != "job.fn" || !j.Declared {
		w.Errorf("%+v", j)
	}
	n := int(j.Fired.Unix() - j.Created.Unix())
	count := map[af.Status]int{}
	w.sees("the end of all its tasks", func() bool {
		clear(count)
		for _, t := range must(a.Tasks(w.Context(), af.TaskQuery{Queue: "job.fn", Limit: 1000}))(w.world).Tasks {
			count[t.Status]++
		}
		return count[af.StatusSuccess]+count[af.StatusFailed] == n
	})
	if due, _ := w.tasks(a, "job.fn", "fn", j.Created); !slices.Equal(due, seconds(1, n)) || count[af.StatusFailed] != 2 {
		w.Errorf("tasks for %v, want %d; they are %v", due, n, count)
	}
	w.within(patience, "a task of each run", func() bool { return submitted() == n-2 })
	mu.Lock()
	defer mu.Unlock()
	if len(zeros) == 0 || slices.ContainsFunc(zeros, func(e *errand) bool { return e != nil }) {
		w.Errorf("without arguments: %v", zeros)
	}
}

const childQueue = "pids"

var pidWorker = af.Worker{Name: childQueue, Type: "Pids", Max: 4, Backoff: 100 * time.Millisecond, Weight: 1}

// handleInChild registers the job of childProcesses in the parent and in the child.
func handleInChild(app *af.App) {
	af.HandleJob(app, "in a child", "@every 1s", func(ctx context.Context, e errand) error {
		_, err := af.NewQueue[[2]string, int](app, pidWorker).Submit(ctx, [2]string{strconv.Itoa(os.Getpid()),
			e.For + af.MetadataFrom(ctx)["as"] + af.TraceFrom(ctx)})
		return err
	}, af.ChildProcess(), af.Arguments(errand{For: "a child"}))
}

// JobChild runs the task of [Jobs] that this process was started for, on a backend that it doesn't open, and exits.
// It returns if the process was started for something else.
func JobChild(b af.Backend) error {
	app, err := af.Open(context.Background(), b)
	if err == nil {
		handleInChild(app)
		err = app.Start(context.Background())
	}
	return err
}

type pids struct{ got chan [2]string }

func (p *pids) Run(_ context.Context, said [2]string) (int, error) {
	p.got <- said
	return 0, nil
}

func childProcesses(w *jobs) {
	got := make(chan [2]string, 100)
	app := w.open(func(a *af.App) {
		handleInChild(a)
		af.RegisterWorker(a, pidWorker, &pids{got})
	})
	seen := map[string]bool{strconv.Itoa(os.Getpid()): true}
	for range 2 {
		select {
		case said := <-got:
			if seen[said[0]] || said[1] != "a child" {
				w.Errorf("ran in process %s with %q; seen before: %v", said[0], said[1], seen)
			}
			seen[said[0]] = true
		case <-time.After(patience):
			w.Fatal("no child has run")
		}
	}
	w.must(app.DisableJob(w.Context(), "in a child"))
	must(app.RunJob(af.WithTrace(with(w.Context(), "as", " run manually "), trace1), "in a child"))(w.world)
	for timeout := time.After(patience); ; {
		select {
		case said := <-got:
			if said[1] == "a child run manually "+trace1 {
				return
			}
		case <-timeout:
			w.Fatal("no child has the metadata and the trace of a manual run")
		}
	}
}
