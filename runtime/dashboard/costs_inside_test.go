package dashboard

import (
	"context"
	"fmt"
	"iter"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
)

// A crowded is an API of a system in which something changes every `every`. Each read takes 20 ms.
type crowded struct {
	admin.API
	every time.Duration // 0: nothing changes

	mu    sync.Mutex
	reads []time.Time
}

func (c *crowded) read() {
	c.mu.Lock()
	c.reads = append(c.reads, time.Now())
	c.mu.Unlock()
	time.Sleep(20 * time.Millisecond)
}

func (c *crowded) Tasks(context.Context, af.TaskQuery) (af.TaskPage, error) {
	c.read()
	return af.TaskPage{}, nil
}

func (c *crowded) Queues(context.Context) ([]af.QueueInfo, error) {
	c.read()
	return []af.QueueInfo{{Name: "q"}}, nil
}

func (c *crowded) Watch(ctx context.Context, q admin.WatchQuery) iter.Seq2[admin.Tick, error] {
	return func(yield func(admin.Tick, error) bool) {
		if !yield(startTick, nil) || c.every == 0 {
			<-ctx.Done()
			return
		}
		for ctx.Err() == nil {
			time.Sleep(c.every)
			if !yield(admin.Tick{Kind: admin.KindTasks, IDs: q.Tasks}, nil) {
				return
			}
		}
	}
}

// most returns the most reads that began in any second.
func (c *crowded) most() (most int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i := range c.reads {
		n, _ := slices.BinarySearchFunc(c.reads, c.reads[i].Add(time.Second), time.Time.Compare)
		most = max(most, n-i)
	}
	return most
}

// browse does what the script of an open page does: it reads the page after each tick, at most once a second. It returns
// how often, and the longest time between a tick and the page that shows it.
func browse(ctx context.Context, t *testing.T, s *server, path, task string) (reads int, longest time.Duration) {
	ticks, end, err := s.hub.subscribe(task)
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	defer end()
	for {
		select {
		case <-ticks:
		case <-ctx.Done():
			return reads, longest
		}
		told := time.Now()
		time.Sleep(50 * time.Millisecond)
		for len(ticks) > 0 {
			<-ticks
		}
		w := httptest.NewRecorder()
		s.ServeHTTP(w, httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil))
		if ctx.Err() != nil {
			return reads, longest
		}
		if reads++; w.Code != http.StatusOK {
			t.Errorf("%s: %d", path, w.Code)
		}
		longest = max(longest, time.Since(told))
		time.Sleep(time.Until(told.Add(time.Second)))
	}
}

// However many pages are open, whatever they show and however much happens, the reads are bounded, and each page is
// updated.
func TestReadsAreBounded(t *testing.T) {
	for name, tt := range map[string]struct {
		viewers, paths int
		every          time.Duration
		most           int           // reads in a second
		within         time.Duration // a page shows what it was told
	}{
		"idle":      {100, 100, 0, maxReads, 5 * time.Second}, // when they are opened
		"one":       {1, 1, 50 * time.Millisecond, 2 * 2, 1500 * time.Millisecond},
		"same_page": {100, 1, 50 * time.Millisecond, 2 * 2, 1500 * time.Millisecond},
		"different": {100, 100, 50 * time.Millisecond, maxReads, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			bubble.Test(t, func(t *testing.T) {
				api := &crowded{every: tt.every}
				s := newServer(api, Authorize(adminhttp.Anyone))
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
				defer cancel()
				var group sync.WaitGroup
				for i := range tt.viewers {
					group.Go(func() {
						time.Sleep(time.Duration(i) * time.Second / time.Duration(tt.viewers))
						path := fmt.Sprintf("/tasks?q=queue:%d", i%tt.paths)
						reads, longest := browse(ctx, t, s, path, fmt.Sprint("task", i))
						if reads == 0 || tt.every > 0 && reads < 2 || longest > tt.within {
							t.Errorf("%d reads of a page, after at most %v", reads, longest)
						}
						if tt.every == 0 && reads > 2 { // it begins with a tick of each watch
							t.Errorf("%d reads although nothing has changed", reads)
						}
					})
				}
				group.Wait()
				time.Sleep(time.Second) // the watches have ended
				if most := api.most(); most > tt.most {
					t.Errorf("%d reads in a second exceed %d", most, tt.most)
				}
			})
		})
	}
}

// More pages than can be read in time are refused, not read.
func TestPagesThatComeTooLate(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		api := &crowded{}
		s := newServer(api, Authorize(adminhttp.Anyone))
		var group sync.WaitGroup
		codes := make([]int, 300)
		for i := range codes {
			group.Go(func() {
				w := httptest.NewRecorder()
				path := fmt.Sprintf("/tasks?q=queue:%d", i)
				s.ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil))
				codes[i] = w.Code
			})
		}
		group.Wait()
		slices.Sort(codes)
		if codes[0] != http.StatusOK || codes[len(codes)-1] != http.StatusTooManyRequests {
			t.Errorf("from %d to %d", codes[0], codes[len(codes)-1])
		}
		if most := api.most(); most > maxReads {
			t.Errorf("%d reads in a second", most)
		}
	})
}

// Who asks after a change gets what was read after it: soon if a tick told of it, at once if a viewer made it.
func TestAnswersFollowChanges(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		a, n := newAnswers(), 0
		get := func(want int, within time.Duration) {
			t.Helper()
			begun := time.Now()
			value, err := a.get(t.Context(), "q", readGap, nil, func(context.Context) (any, error) {
				n++
				return n, nil
			})
			if took := time.Since(begun); err != nil || value != want || took > within {
				t.Errorf("got %v, %v after %v; want %d", value, err, took, want)
			}
		}
		get(1, 0)
		get(1, 0)
		a.changed()
		get(2, readGap)
		a.changed()
		a.expire()
		get(3, 0)
		time.Sleep(keptFor)
		get(4, 0)
		if a.bytes != sizeOf(4) {
			t.Errorf("%d bytes", a.bytes)
		}
	})
}

// A read that began before a change is not what those get who ask after it. One is cancelled when no request waits for it any longer.
func TestAnswersThatAreBeingRead(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		a, n := newAnswers(), 0
		read := func(ctx context.Context) (any, error) {
			n++
			value := n
			return value, sleep(ctx, time.Second)
		}
		var group sync.WaitGroup
		for i := range 4 {
			group.Go(func() {
				if value, err := a.get(t.Context(), "q", readGap, nil, read); err != nil || value != 1+i/2 {
					t.Errorf("%d: %v, %v", i, value, err)
				}
			})
			time.Sleep(time.Millisecond)
			if i == 1 {
				a.changed()
			}
		}
		group.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		ended := make(chan error, 1)
		time.Sleep(keptFor)
		_, err := a.get(ctx, "q", readGap, nil, func(ctx context.Context) (any, error) {
			<-ctx.Done()
			ended <- ctx.Err()
			return nil, ctx.Err()
		})
		if af.CodeOf(err) != af.ErrDeadlineExceeded || <-ended == nil {
			t.Error(err)
		}
		_, err = a.get(t.Context(), "q", readGap, nil, func(context.Context) (any, error) { panic("a fault") })
		if af.CodeOf(err) != af.ErrInternal {
			t.Error(err)
		}
	})
}

// Answers are bounded in number and size.
func TestAnswersAreBounded(t *testing.T) {
	a := newAnswers()
	add := func(i, size int) {
		_, err := a.get(t.Context(), fmt.Sprint(i), 0, nil, func(context.Context) (any, error) {
			return &rendered{body: make([]byte, size)}, nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(a.byQuery) > maxKept || a.bytes > maxBytes {
			t.Fatalf("%d answers with %d bytes", len(a.byQuery), a.bytes)
		}
	}
	for i := range 2 * maxKept {
		add(i, 10)
	}
	for i := range 20 {
		add(i, maxBytes/8)
	}
	add(-1, maxBytes) // is not kept
	a.drop(func(*answer) bool { return true })
	if len(a.byQuery) != 0 || a.bytes != 0 {
		t.Errorf("%d answers and %d bytes are left", len(a.byQuery), a.bytes)
	}
}
