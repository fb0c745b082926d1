package look_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/look"
)

// A list has tasks of which each divisor-th matches. The cursor of a task is its number.
type list struct {
	tasks, divisor int
	takes          time.Duration // of a read
	reads          int
	largest        int // limit of a read
}

func (l *list) query(limit int) backend.TaskQuery {
	q := backend.TaskQuery{Limit: limit, Filter: backend.TaskFilter{UniqueKey: "match"}}
	if err := q.Check(); err != nil {
		panic(err)
	}
	return q
}

func cursorOf(t *backend.Task) string { return t.ID }

func (l *list) read(_ context.Context, limit, _ int, cursor string) (tasks []backend.Task, next string, err error) {
	l.reads++
	l.largest = max(l.largest, limit)
	time.Sleep(l.takes)
	from := 0
	if cursor != "" {
		n, err := strconv.Atoi(cursor)
		if err != nil {
			return nil, "", backend.BadCursor(cursor)
		}
		from = n + 1
	}
	for i := from; i < min(from+limit, l.tasks); i++ {
		t := backend.Task{ID: strconv.Itoa(i), Created: time.Unix(int64(i), 0)}
		if i%l.divisor == 0 {
			t.UniqueKey = "match"
		}
		tasks = append(tasks, t)
	}
	if from+limit < l.tasks {
		next = strconv.Itoa(from + limit - 1)
	}
	return tasks, next, nil
}

func page(t *testing.T, q backend.TaskQuery, l *list) backend.TaskPage {
	t.Helper()
	p, err := look.Page(t.Context(), q, l.read, cursorOf)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestPageEndsWhenFull(t *testing.T) {
	l := &list{tasks: 1_000_000, divisor: 2}
	p := page(t, l.query(10), l)
	if len(p.Tasks) != 10 || p.Total != 10 || !p.AtLeast || p.Bounded || l.reads != 1 || l.largest > 100 {
		t.Errorf("%d tasks of %d, at least: %v, bounded: %v, after %d reads of %d", len(p.Tasks), p.Total, p.AtLeast,
			p.Bounded, l.reads, l.largest)
	}
	// The eleventh match is number 20. It was not looked at, and begins the next page.
	if p.Looked != 20 || !p.LookedTo.Equal(time.Unix(19, 0)) || p.Cursor != "19" {
		t.Errorf("looked at %d, to %v, cursor %s", p.Looked, p.LookedTo, p.Cursor)
	}
	q := l.query(10)
	q.Cursor = p.Cursor
	if p = page(t, q, l); p.Tasks[0].ID != "20" {
		t.Errorf("the next page begins with %s", p.Tasks[0].ID)
	}
}

func TestPagesContainEachMatchOnce(t *testing.T) {
	const all = 1500
	for _, divisor := range []int{1, 3, 700, all} {
		for _, limit := range []int{5, 99, 100, 101, 1000} {
			l := &list{tasks: all, divisor: divisor}
			q, next, looked := l.query(limit), 0, 0
			for {
				p := page(t, q, l)
				for _, task := range p.Tasks {
					if task.ID != strconv.Itoa(next) {
						t.Fatalf("divisor %d, limit %d: %s, want %d", divisor, limit, task.ID, next)
					}
					next += divisor
				}
				looked += p.Looked
				if p.AtLeast != (p.Cursor != "") || p.Total != len(p.Tasks) {
					t.Errorf("%d tasks of %d, at least: %v, cursor %q", len(p.Tasks), p.Total, p.AtLeast, p.Cursor)
				}
				if q.Cursor = p.Cursor; q.Cursor == "" {
					break
				}
			}
			if next < all || looked != all {
				t.Errorf("divisor %d, limit %d: up to %d, looked at %d", divisor, limit, next, looked)
			}
		}
	}
}

func TestPageIsBoundedByTasks(t *testing.T) {
	const rest = 777
	l := &list{tasks: backend.MaxLooked + rest, divisor: 1 << 30}
	bubble.Test(t, func(t *testing.T) { // no time passes
		p := page(t, l.query(10), l)
		if !p.Bounded || p.Looked != backend.MaxLooked || len(p.Tasks) != 1 || !p.AtLeast || p.Total != 1 {
			t.Errorf("bounded: %v, looked at %d, %d tasks, total %d, at least: %v", p.Bounded, p.Looked, len(p.Tasks), p.Total,
				p.AtLeast)
		}
		q := l.query(10)
		q.Cursor = p.Cursor
		p = page(t, q, l)
		if p.Bounded || p.Looked != rest || len(p.Tasks) != 0 || p.AtLeast || p.Cursor != "" {
			t.Errorf("the rest: bounded: %v, looked at %d, %d tasks, at least: %v, cursor %q", p.Bounded, p.Looked,
				len(p.Tasks), p.AtLeast, p.Cursor)
		}
		if want := time.Unix(backend.MaxLooked+rest-1, 0); !p.LookedTo.Equal(want) {
			t.Errorf("looked to %v, want %v", p.LookedTo, want)
		}
	})
}

// A list that ends exactly at the bound has been looked at completely.
func TestPageEndsAtBound(t *testing.T) {
	l := &list{tasks: backend.MaxLooked, divisor: 1 << 30}
	bubble.Test(t, func(t *testing.T) {
		if p := page(t, l.query(10), l); p.Bounded || p.Cursor != "" || p.AtLeast || p.Looked != backend.MaxLooked {
			t.Errorf("bounded: %v, cursor %q, at least: %v, looked at %d", p.Bounded, p.Cursor, p.AtLeast, p.Looked)
		}
	})
}

func TestPageIsBoundedByTime(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		l := &list{tasks: 1_000_000, divisor: 1 << 30, takes: backend.MaxLooking / 4}
		began := time.Now()
		p := page(t, l.query(10), l)
		if took := time.Since(began); took != backend.MaxLooking || !p.Bounded || p.Looked == 0 || l.reads != 4 {
			t.Errorf("took %v, bounded: %v, looked at %d in %d reads", took, p.Bounded, p.Looked, l.reads)
		}
		// Each page makes progress, even if one read takes too long.
		l = &list{tasks: 1000, divisor: 1 << 30, takes: time.Second}
		q, pages := l.query(10), 0
		for ; pages == 0 || q.Cursor != ""; pages++ {
			q.Cursor = page(t, q, l).Cursor
		}
		if pages != 10 {
			t.Errorf("%d pages of 100", pages)
		}
	})
}

func TestPageIsLimitedByBytes(t *testing.T) {
	l := &list{tasks: 100, divisor: 1}
	read := func(ctx context.Context, limit, bytes int, cursor string) ([]backend.Task, string, error) {
		tasks, next, err := l.read(ctx, limit, bytes, cursor)
		for i := range tasks {
			tasks[i].Payload = make(json.RawMessage, 10<<10)
		}
		return tasks, next, err
	}
	q := l.query(100)
	q.Bytes = 50 << 10
	p, err := look.Page(t.Context(), q, read, cursorOf)
	if err != nil || len(p.Tasks) != 4 || p.Cursor != "3" || p.Bounded {
		t.Errorf("%d tasks, cursor %q, bounded: %v, %v", len(p.Tasks), p.Cursor, p.Bounded, err)
	}
	q.Bytes = 1
	if p, err = look.Page(t.Context(), q, read, cursorOf); err != nil || len(p.Tasks) != 1 {
		t.Errorf("%d tasks, %v", len(p.Tasks), err)
	}
}

func TestErrorOfReadIsReturned(t *testing.T) {
	l := &list{tasks: 1000, divisor: 1 << 30}
	want := errors.New("the store is down")
	p, err := look.Page(t.Context(), l.query(10), func(ctx context.Context, limit, bytes int, cursor string) (
		[]backend.Task, string, error,
	) {
		if cursor != "" {
			return nil, "", want
		}
		return l.read(ctx, limit, bytes, cursor)
	}, cursorOf)
	if !errors.Is(err, want) || fmt.Sprint(p) != fmt.Sprint(backend.TaskPage{}) {
		t.Errorf("%+v, %v", p, err)
	}
	q := l.query(10)
	q.Cursor = "odd"
	if _, err = look.Page(t.Context(), q, l.read, cursorOf); backend.CodeOf(err) != backend.ErrInvalidArgument {
		t.Error(err)
	}
}
