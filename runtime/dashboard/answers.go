package dashboard

import (
	"context"
	"crypto/sha256"
	"sync"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

const (
	keptFor  = time.Second
	readGap  = 500 * time.Millisecond // between reads of the same, however often it changes
	maxKept  = 512                    // answers
	maxBytes = 32 << 20               // of them, about
)

// answers are what queries have returned within the last second. A query is read once for all who ask.
type answers struct {
	mu      sync.Mutex
	now     mark
	byQuery map[string]*answer
	bytes   int // of the values, about
	swept   time.Time
}

// A mark is a place in the order of reads and changes.
type mark struct{ changes, writes int }

// markKey is the key of the mark of a page, in the context in which it is rendered.
type markKey struct{}

func (m mark) before(n mark) bool { return m.changes < n.changes || m.writes < n.writes }

// An answer is what a query has returned, and the read that will replace it.
type answer struct {
	read *reading // nil while there is none

	ok    bool // the rest is set
	value any
	bytes int
	began time.Time
	mark  mark // when the read began
}

// A reading is a read that has not ended.
type reading struct {
	ctx       context.Context
	cancel    context.CancelFunc
	waiting   int  // requests
	abandoned bool // by all of them

	begun bool // what changes from now on it may miss
	began time.Time
	mark  mark

	done  chan struct{} // closed at the end, when value and err are set
	value any
	err   error
}

func newAnswers() *answers { return &answers{byQuery: map[string]*answer{}} }

// changed makes those who ask from now on get an answer that is read from now on.
func (a *answers) changed() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now.changes++
}

// expire is changed for what a viewer has changed, who waits for no gap.
func (a *answers) expire() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.now.writes++
}

// get returns what read returns, or has returned within the last second. Errors are not kept. read begins when p permits
// it, and not within gap after the last one unless a viewer has changed something since. Its context ends when no
// request waits for it any longer.
func (a *answers) get(
	ctx context.Context, id string, gap time.Duration, p *pace, read func(context.Context) (any, error),
) (any, error) {
	if len(id) > 200 { // the address of a page may be long
		sum := sha256.Sum256([]byte(id))
		id = string(sum[:])
	}
	wanted, within := ctx.Value(markKey{}).(mark)
	if !within {
		a.mu.Lock()
		wanted = a.now
		a.mu.Unlock()
	}
	for {
		value, ok, wait := a.find(id, wanted, gap)
		if ok {
			return value, nil
		}
		if wait > 0 {
			if err := sleep(ctx, wait); err != nil {
				return nil, err
			}
			continue
		}
		r, joined := a.join(ctx, id, wanted, func(r *reading) { a.run(id, r, p, read) })
		select {
		case <-r.done:
			if joined {
				return r.value, r.err
			}
		case <-ctx.Done():
			if joined {
				a.leave(r)
			}
			return nil, endedBy(ctx)
		}
	}
}

// together calls functions at the same time. They read for one page.
func together(reads ...func()) {
	var all sync.WaitGroup
	for _, read := range reads {
		all.Go(read)
	}
	all.Wait()
}

// find returns the answer to a query, or how long to wait for the next read of it.
func (a *answers) find(id string, wanted mark, gap time.Duration) (value any, ok bool, wait time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.byQuery[id]
	if e == nil || !e.ok {
		return nil, false, 0
	}
	age := time.Since(e.began)
	switch {
	case !e.mark.before(wanted) && age < keptFor:
		return e.value, true, 0
	case e.read == nil && e.mark.writes == wanted.writes && gap > 0:
		return nil, false, gap - age
	}
	return nil, false, 0
}

// join returns the read of a query, which it starts if there is none. joined is false if the read began before what the
// caller must see: then it must ask again after the end.
func (a *answers) join(ctx context.Context, id string, wanted mark, run func(*reading)) (r *reading, joined bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.byQuery[id]
	if e == nil {
		e = &answer{}
		a.byQuery[id] = e
	}
	if r = e.read; r == nil {
		r = &reading{done: make(chan struct{})}
		r.ctx, r.cancel = context.WithCancel(context.WithoutCancel(ctx)) // it outlasts the request that began it
		e.read = r
		go run(r) // ends with the read
	}
	if r.abandoned || r.begun && r.mark.before(wanted) {
		return r, false
	}
	r.waiting++
	return r, true
}

// leave is called by a request that has ended before the read.
func (a *answers) leave(r *reading) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if r.waiting--; r.waiting == 0 {
		r.abandoned = true
		r.cancel()
	}
}

func (a *answers) run(id string, r *reading, p *pace, read func(context.Context) (any, error)) {
	defer r.cancel()
	if r.err = p.begin(r.ctx); r.err == nil {
		a.mu.Lock()
		r.begun, r.began, r.mark = true, time.Now(), a.now
		a.mu.Unlock()
		// What is asked while a page is rendered must be as new as the page, so the same is not read twice for it.
		r.value, r.err = recovered(context.WithValue(r.ctx, markKey{}, r.mark), read)
		p.end()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	e := a.byQuery[id]
	e.read = nil
	if size := sizeOf(r.value); r.err == nil && size <= maxBytes/4 {
		a.bytes += size - e.bytes
		e.ok, e.value, e.bytes, e.began, e.mark = true, r.value, size, r.began, r.mark
	} else if !e.ok {
		delete(a.byQuery, id)
	}
	a.sweep()
	close(r.done)
}

// recovered calls read, which may call functions of the program, such as that of RedactPayload.
func recovered(ctx context.Context, read func(context.Context) (any, error)) (value any, err error) {
	defer func() {
		if p := recover(); p != nil {
			value, err = nil, af.Errorf(af.ErrInternal, "panic: %v", p)
		}
	}()
	return read(ctx)
}

// sweep removes old answers, and all if there are too many. The caller has locked mu.
func (a *answers) sweep() {
	now := time.Now()
	full := len(a.byQuery) > maxKept || a.bytes > maxBytes
	if !full && now.Sub(a.swept) < keptFor {
		return
	}
	a.swept = now
	a.drop(func(e *answer) bool { return now.Sub(e.began) >= keptFor })
	if len(a.byQuery) > maxKept || a.bytes > maxBytes {
		a.drop(func(*answer) bool { return true })
	}
}

func (a *answers) drop(old func(*answer) bool) {
	for id, e := range a.byQuery {
		if e.read == nil && old(e) {
			a.bytes -= e.bytes
			delete(a.byQuery, id)
		}
	}
}

// sizeOf returns about how many bytes a value has.
func sizeOf(value any) int {
	const least = 4 << 10
	switch v := value.(type) {
	case *rendered:
		return least + len(v.body) + len(v.packed)
	case admin.Task:
		return least + sizeOfTask(&v.Task)
	case af.TaskPage:
		size := least
		for i := range v.Tasks {
			size += sizeOfTask(&v.Tasks[i])
		}
		return size
	case af.JobPage:
		size := least
		for i := range v.Jobs {
			size += 1<<10 + len(v.Jobs[i].Payload)
		}
		return size
	}
	return 8 * least
}

func sizeOfTask(t *af.Task) int {
	size := 1<<10 + len(t.Payload) + len(t.Result) + len(t.Progress)
	for _, line := range t.Log {
		size += len(line)
	}
	if t.Error != nil {
		size += len(t.Error.Message)
		for _, d := range t.Error.Details {
			size += len(d.Value)
		}
	}
	return size
}
