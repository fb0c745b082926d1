package cli

import (
	"bytes"
	"context"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

var update = flag.Bool("update", false, "rewrite the files in testdata")

// now is when commands run.
var now = time.Date(2026, 11, 30, 3, 0, 0, 0, time.UTC)

// ago returns a time before now.
func ago(d time.Duration) time.Time { return now.Add(-d) }

// fakeAPI is a system in memory. Its lists are pages of at most page entries. Methods that it does not have panic.
type fakeAPI struct {
	admin.API
	page    int // 0 means the limit of a query
	tasks   []admin.Task
	whys    map[string]admin.Explanation
	nodes   []admin.Node
	queues  []af.QueueInfo
	entries []af.AuditEntry
	looked  int // with a filter: how many tasks a page looks at; 0 means all
}

// pageOf returns a page of a list, and the cursor of the next one.
func pageOf[T any](f *fakeAPI, all []T, limit, usual int, cursor string) ([]T, string, error) {
	from := 0
	if cursor != "" {
		var err error
		if from, err = strconv.Atoi(strings.TrimPrefix(cursor, "at-")); err != nil {
			return nil, "", af.NewError(af.ErrInvalidArgument, "the cursor is invalid")
		}
	}
	if limit == 0 {
		limit = usual
	}
	if f.page > 0 {
		limit = min(limit, f.page)
	}
	to := min(from+limit, len(all))
	if to == len(all) {
		return all[from:to], "", nil
	}
	return all[from:to], "at-" + strconv.Itoa(to), nil
}

func (f *fakeAPI) Tasks(_ context.Context, q af.TaskQuery) (af.TaskPage, error) {
	filtered, all := q.Filter, []af.Task{}
	if err := q.Check(); err != nil {
		return af.TaskPage{}, err
	}
	matching := func(t *af.Task) bool {
		return (q.Queue == "" || t.Queue == q.Queue) && (q.Source == "" || t.Source == q.Source) &&
			(len(q.Statuses) == 0 || slices.Contains(q.Statuses, t.Status)) && !t.Created.Before(q.After) &&
			(q.Before.IsZero() || t.Created.Before(q.Before)) &&
			(q.Code == "" || t.Error != nil && t.Error.Code == q.Code)
	}
	for i := range f.tasks {
		if t := &f.tasks[i].Task; matching(t) {
			all = append(all, *t)
		}
	}
	if !filtered.IsZero() && f.looked > 0 { // a page is what matches of the next tasks
		tasks, cursor, err := pageOf(f, all, f.looked, f.looked, q.Cursor)
		page := af.TaskPage{Tasks: []af.Task{}, Cursor: cursor, Bounded: cursor != "",
			AtLeast: cursor != "", Looked: len(tasks)}
		for _, t := range tasks {
			page.LookedTo = t.Created
			if filtered.Matches(&t) {
				page.Tasks = append(page.Tasks, t)
			}
		}
		page.Total = len(page.Tasks)
		return page, err
	}
	all = slices.DeleteFunc(all, func(t af.Task) bool { return !filtered.Matches(&t) })
	tasks, cursor, err := pageOf(f, all, q.Limit, 100, q.Cursor)
	return af.TaskPage{Tasks: tasks, Cursor: cursor, Total: len(all)}, err
}

func (f *fakeAPI) Task(_ context.Context, id string) (admin.Task, error) {
	for i := range f.tasks {
		if f.tasks[i].ID == id {
			return f.tasks[i], nil
		}
	}
	return admin.Task{}, af.Errorf(af.ErrNotFound, "task %q does not exist", id)
}

func (f *fakeAPI) Why(_ context.Context, id string) (admin.Explanation, error) {
	if e, ok := f.whys[id]; ok {
		return e, nil
	}
	return admin.Explanation{}, af.Errorf(af.ErrNotFound, "task %q does not exist", id)
}

func (f *fakeAPI) Tree(_ context.Context, q admin.TreeQuery) (admin.TreePage, error) {
	nodes := slices.DeleteFunc(slices.Clone(f.nodes), func(n admin.Node) bool { return q.Depth > 0 && n.Depth > q.Depth })
	page, cursor, err := pageOf(f, nodes, q.Limit, 100, q.Cursor)
	return admin.TreePage{Nodes: page, Cursor: cursor}, err
}

func (f *fakeAPI) Queues(context.Context) ([]af.QueueInfo, error) { return f.queues, nil }

func (f *fakeAPI) Audit(_ context.Context, q af.AuditQuery) (af.AuditPage, error) {
	matching := slices.DeleteFunc(slices.Clone(f.entries), func(e af.AuditEntry) bool {
		return q.By != "" && e.By != q.By || q.Action != "" && e.Action != q.Action || q.Target != "" && e.Target != q.Target
	})
	entries, cursor, err := pageOf(f, matching, q.Limit, 100, q.Cursor)
	return af.AuditPage{Entries: entries, Cursor: cursor}, err
}

// A terminal is where a command of a test prints. The zero terminal is a pipe.
type terminal struct {
	width int
	color bool
	env   map[string]string
	zone  *time.Location // nil means UTC
}

// An outcome is what a command has printed, and its exit code.
type outcome struct {
	out, err string
	code     int
}

// runOn runs a command on a system.
func runOn(t *testing.T, api admin.API, on terminal, args ...string) outcome {
	t.Helper()
	var out, errs bytes.Buffer
	zone := on.zone
	if zone == nil {
		zone = time.UTC
	}
	code := Run(t.Context(), args, Environment{
		In:     strings.NewReader(""),
		Out:    text.Printer{Writer: &out, Width: on.width, Color: on.color, Terminal: on.width > 0},
		Err:    text.Printer{Writer: &errs, Width: on.width, Color: on.color, Terminal: on.width > 0},
		Getenv: func(name string) string { return on.env[name] },
		Now:    func() time.Time { return now.In(zone) },
		system: api,
	})
	return outcome{out.String(), errs.String(), code}
}

// checkGolden compares a text with a file in testdata.
func checkGolden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s is different; go test -update rewrites it:\n%s", path, diff)
	}
}

// widths runs a command on terminals of 80 and 120 columns, with and without color, and compares what it prints with
// files named after it.
func widths(t *testing.T, api admin.API, name string, args ...string) {
	t.Helper()
	for _, on := range []struct {
		suffix string
		on     terminal
	}{
		{"80", terminal{width: 80}}, {"80.color", terminal{width: 80, color: true}},
		{"120", terminal{width: 120}}, {"120.color", terminal{width: 120, color: true}},
	} {
		t.Run(on.suffix, func(t *testing.T) {
			got := runOn(t, api, on.on, args...)
			if got.code != exitDone || got.err != "" {
				t.Errorf("exit code %d: %s", got.code, got.err)
			}
			for line := range strings.Lines(got.out) {
				if !on.on.color && text.Width(strings.TrimRight(line, "\n")) > on.on.width {
					t.Errorf("wider than %d: %s", on.on.width, line)
				}
			}
			checkGolden(t, name+"."+on.suffix+".txt", got.out)
		})
	}
}
