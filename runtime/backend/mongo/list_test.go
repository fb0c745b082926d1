package mongo_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

// A list by end merges the tasks of many queues in the order of an index.
func TestListByEndOfManyQueues(t *testing.T) {
	seen, uri := newPlans(), devstack.Mongo(t)
	c := join(t, uri, seen.watch)
	wipe(t, uri)
	s := c.Store()
	const queues = 120
	var tasks []backend.NewTask
	for i := range 2 * queues {
		n := newTask(fmt.Sprintf("t%03d", i))
		n.Task.Queue = fmt.Sprint("q", i%queues)
		tasks = append(tasks, n)
	}
	_, err := s.Insert(t.Context(), tasks)
	must(t, err)
	var want []string
	for i := range queues { // every second task ends, those of high queues first
		id := fmt.Sprintf("t%03d", 2*(queues-1-i))
		_, err := s.Stop(t.Context(), backend.Stop{ID: id})
		must(t, err)
		want = append(want, id)
	}
	slices.Reverse(want)
	for i := 2*queues - 1; i > 0; i -= 2 { // those that have not ended come last, newest first
		want = append(want, fmt.Sprintf("t%03d", i))
	}
	var got []string
	for q := (backend.TaskQuery{Sort: backend.SortEnded, Limit: 7}); ; {
		p, err := s.List(t.Context(), q)
		must(t, err)
		for _, task := range p.Tasks {
			got = append(got, task.ID)
		}
		if q.Cursor = p.Cursor; q.Cursor == "" {
			break
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("listed\n%s\nwant\n%s", strings.Join(got, " "), strings.Join(want, " "))
	}
	seen.check(t, c)
}
