package history

import (
	"log/slog"
	"math/rand/v2"
	"strings"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// OtherQueues is the name under which queues beyond a limit are added up.
const OtherQueues = "…"

const (
	minute = time.Minute
	// maxQueues is how many queues a window keeps apart: the first ones that had an event.
	maxQueues = 1000
	// maxUnwritten is how many windows are kept while the store is unavailable. It must be less than foldAfter, so that no
	// window is written again after it was folded.
	maxUnwritten = 60
	// corrected is by how much a store may correct its clock at once.
	corrected = time.Second
)

// Config has the dependencies of a Recorder. All fields are required, except Docs.
type Config struct {
	Docs     backend.Docs // if nil, nothing is stored
	Store    backend.Store
	Instance string // of the App; it must be unique
	Log      *slog.Logger
}

// A Recorder counts what happens to tasks in this process, stores the counts once a minute and folds old ones. Its
// methods are safe for concurrent use, except that Fold must not be called concurrently.
type Recorder struct {
	Config

	mu        sync.Mutex
	clock     clock
	open      *window
	unwritten []*window // closed, oldest first, including the one that is being written

	writing chan struct{} // holds a token while a window is written
	phase   time.Duration // after the beginning of a minute, when windows are closed
	folded  string        // the hour before which everything is folded; only used by Fold
}

// A window is the time between two writes. It is stored in one document. That begins with the minute that the middle of
// the window is in.
type window struct {
	seq    int64     // numbers the windows of this process that are stored
	opened time.Time // by this process
	closed time.Time
	queues map[string]*Totals // nil once value is set

	name  string // of its document, set at the first write
	value []byte
}

// New returns a Recorder. Nothing is stored until Run or Flush is called.
func New(cfg Config) *Recorder {
	r := &Recorder{Config: cfg, writing: make(chan struct{}, 1)}
	// Windows end while their middle is not near the beginning of a minute, so that each has its own minute.
	r.phase = 5*time.Second + rand.N(20*time.Second)
	if rand.N(2) == 0 {
		r.phase += minute / 2
	}
	r.open = &window{seq: 1, opened: time.Now(), queues: map[string]*Totals{}}
	return r
}

// of returns the totals of a queue in the current window. The caller holds r.mu.
func (r *Recorder) of(queue string) *Totals {
	t := r.open.queues[queue]
	if t == nil {
		if len(r.open.queues) >= maxQueues {
			queue = OtherQueues
			t = r.open.queues[queue]
		}
		if t == nil {
			t = &Totals{}
			r.open.queues[queue] = t
		}
	}
	return t
}

// Due returns since when a task that was claimed could be, by the store's clock.
func Due(t *backend.Task) time.Time {
	due := t.RunAt
	if t.Created.After(due) {
		due = t.Created
	}
	if n := len(t.Attempts); n > 0 && t.Attempts[n-1].Ended.After(due) {
		due = t.Attempts[n-1].Ended // until then it ran, whatever it was due
	}
	return due
}

// Started counts an attempt of a task, as it was claimed.
func (r *Recorder) Started(t *backend.Task) {
	due, now := Due(t), time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock.see(t.Started, now)
	q := r.of(t.Queue)
	q.Started++
	q.Wait.add(t.Started.Sub(due))
}

// Settled counts the end of an attempt in this process. run is how long it has run, or negative if it did not.
func (r *Recorder) Settled(queue string, to backend.Status, err *backend.TaskError, run time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	q := r.of(queue)
	switch to {
	case backend.StatusSuccess:
		q.Succeeded++
	case backend.StatusFailed:
		q.Failed++
		q.addCode(codeOf(err), 1)
	case backend.StatusRetrying:
		q.Retried++
		q.addCode(codeOf(err), 1)
	case backend.StatusStopped:
		q.Stopped++
	default:
		q.Returned++
	}
	if run >= 0 {
		q.Run.add(run)
	}
}

// Lost counts attempts whose process died.
func (r *Recorder) Lost(tasks []backend.Task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range tasks {
		r.of(tasks[i].Queue).Lost++
	}
}

// Ended counts tasks that the store has ended without a settlement: those that were lost too often, whose deadline has
// passed, or that were lost and had been requested to stop.
func (r *Recorder) Ended(tasks []backend.Task) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range tasks {
		switch t := &tasks[i]; t.Status {
		case backend.StatusFailed:
			q := r.of(t.Queue)
			q.Failed++
			q.addCode(codeOf(t.Error), 1)
		case backend.StatusStopped:
			r.of(t.Queue).Stopped++
		}
	}
}

func codeOf(err *backend.TaskError) backend.Code {
	if err == nil {
		return backend.ErrUnknown
	}
	return err.Code
}

// floor returns a time that the store's clock has passed, or zero if none is known.
func (r *Recorder) floor() time.Time {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.clock.floor(now)
}

// inserted counts the tasks that an insertion has stored, as opposed to those that existed. floor is from before it.
func (r *Recorder) inserted(tasks []backend.NewTask, stored []backend.Task, floor time.Time) {
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range stored {
		got, want := &stored[i], &tasks[i].Task
		if got.ID != want.ID || got.Batch != want.Batch {
			continue
		}
		random := isRandom(want.ID) // then it is hardly ever the id of an existing task
		slack := time.Duration(0)
		if random {
			slack = corrected
		}
		switch {
		case got.Fence > 0 || got.Status.Final():
			continue
		case got.Created.Before(floor.Add(-slack)):
			r.clock.doubted = true
			continue
		case random:
			r.clock.see(got.Created, now)
		}
		r.of(got.Queue).Submitted++
	}
}

// isRandom reports whether an id looks like one of rand.Text.
func isRandom(id string) bool {
	const length = 26
	return len(id) == length && strings.IndexFunc(id, func(c rune) bool {
		return (c < 'A' || c > 'Z') && (c < '2' || c > '7')
	}) < 0
}
