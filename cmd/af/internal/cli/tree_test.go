package cli

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// anImport is a task with subtasks on three levels.
func anImport() *fakeAPI {
	n := 0
	node := func(depth int, queue string, status af.Status, counts map[af.Status]af.Count) admin.Node {
		n++
		t := newTask(fmt.Sprintf("2JB7ESTFX4XJHNQKYDRXW3%04d", n), queue, status, time.Hour)
		switch {
		case status.Final():
			t.Started, t.Ended = ago(time.Hour), ago(time.Hour-time.Duration(n)*time.Second)
		case status == af.StatusRunning:
			t.Started = ago(3 * time.Minute)
		}
		if status == af.StatusFailed {
			t.Error = &af.TaskError{Code: af.ErrUnavailable, Message: "the image server does not answer within 10 seconds"}
		}
		t.Spawned = counts != nil
		return admin.Node{Depth: depth, Task: t, Counts: counts}
	}
	root := failedTask(theTask, "import", time.Hour, af.ErrAborted, "2 of 5 images failed")
	return &fakeAPI{
		tasks: []admin.Task{{Task: root, Children: map[af.Status]af.Count{
			af.StatusFailed: {N: 1}, af.StatusSuccess: {N: 1}, af.StatusRunning: {N: 1, AtLeast: true}}}},
		nodes: []admin.Node{
			node(1, "page", af.StatusSuccess, map[af.Status]af.Count{af.StatusSuccess: {N: 2}}),
			node(2, "resize", af.StatusSuccess, nil),
			node(2, "resize", af.StatusSuccess, map[af.Status]af.Count{af.StatusFailed: {N: 1}}),
			node(3, "upload", af.StatusFailed, nil),
			node(1, "page", af.StatusRunning, map[af.Status]af.Count{af.StatusWaiting: {N: 1}}),
			node(2, "resize", af.StatusWaiting, nil),
			node(1, "mail", af.StatusFailed, nil),
		},
	}
}

func TestTree(t *testing.T) {
	api := anImport()
	widths(t, api, "tree", "tree", theTask)
	t.Run("ascii", func(t *testing.T) {
		on := terminal{width: 80, env: map[string]string{"LC_ALL": "C", "LANG": "en_US.UTF-8"}}
		got := runOn(t, api, on, "tree", theTask)
		checkGolden(t, "tree.ascii.txt", got.out)
	})
	t.Run("depth", func(t *testing.T) {
		got := runOn(t, api, terminal{width: 80}, "tree", theTask, "-depth", "1")
		checkGolden(t, "tree.depth.txt", got.out)
	})
}

func TestPen(t *testing.T) {
	for _, c := range []struct {
		env   map[string]string
		ascii bool
	}{
		{nil, false},
		{map[string]string{"LANG": "de_DE.UTF-8"}, false},
		{map[string]string{"LANG": "C.utf8"}, false},
		{map[string]string{"LANG": "C"}, true},
		{map[string]string{"LANG": "C", "LC_ALL": "C.UTF-8"}, false},
		{map[string]string{"LANG": "C.UTF-8", "LC_CTYPE": "POSIX"}, true},
		{map[string]string{"LANG": "C.UTF-8", "LC_ALL": "de_DE.ISO-8859-1"}, true},
	} {
		inv := &invocation{Environment: Environment{Getenv: func(name string) string { return c.env[name] }}}
		if ascii := inv.pen().branch == "|- "; ascii != c.ascii {
			t.Errorf("%v: ASCII %v", c.env, ascii)
		}
	}
}

// A tree is read page by page. It ends after the first 1,000 subtasks, and tells so; its last branches stay open.
func TestTreeIsBounded(t *testing.T) {
	api := anImport()
	api.nodes, api.page = nil, 7
	for i := range 1500 {
		task := newTask(fmt.Sprintf("id%04d", i), "q", af.StatusWaiting, 0)
		api.nodes = append(api.nodes, admin.Node{Depth: 1 + i%2, Task: task})
	}
	got := runOn(t, api, terminal{}, "tree", theTask)
	lines := strings.Split(strings.TrimSpace(got.out), "\n")
	if last := lines[len(lines)-1]; len(lines) != 1002 || !strings.HasPrefix(last, "│  ├─ id0999") {
		t.Errorf("%d lines, the last: %s", len(lines), last)
	}
	if !strings.Contains(got.err, "the first 1,000 subtasks") {
		t.Error(got.err)
	}
	var all subtree
	got = runOn(t, api, terminal{}, "tree", theTask, "-o", "json")
	if err := json.Unmarshal([]byte(got.out), &all); err != nil || len(all.Nodes) != 1000 || !all.More ||
		all.Task.ID != theTask {
		t.Errorf("%v: %d nodes, more %v", err, len(all.Nodes), all.More)
	}
}

func TestTreeWithoutSubtasks(t *testing.T) {
	api := anImport()
	api.nodes = nil
	got := runOn(t, api, terminal{}, "tree", theTask)
	if got.code != exitDone || !strings.Contains(got.err, "has no subtasks") {
		t.Errorf("exit code %d, %s", got.code, got.err)
	}
	if got := runOn(t, api, terminal{}, "tree", "x"); got.code != exitProblem {
		t.Errorf("exit code %d, %s", got.code, got.err)
	}
	if got := runOn(t, api, terminal{}, "tree", theTask, "-depth", "33"); got.code != exitUsage {
		t.Errorf("exit code %d, %s", got.code, got.err)
	}
}

// Whatever depths a server returns, the tree is drawn.
func TestDrawAnyDepth(t *testing.T) {
	p := pen{"+", "L", "|", "."}
	nodes := func(depths ...int) (list []admin.Node) {
		for _, d := range depths {
			list = append(list, admin.Node{Depth: d})
		}
		return list
	}
	for _, c := range []struct {
		nodes []admin.Node
		more  bool
		want  string
	}{
		{nil, false, ""},
		{nodes(1), false, "L"},
		{nodes(1), true, "+"},
		{nodes(1, 2, 2, 1), false, "+ |+ |L L"},
		{nodes(1, 2, 3, 2, 3), false, "L .+ .|L .L ..L"},
		{nodes(1, 2), true, "+ |+"},
		{nodes(2, 3, 1), false, "|L |.L L"},
		{nodes(0, -5, 99), false, "+ L " + strings.Repeat(".", 38) + "L"},
	} {
		if got := strings.Join(draw(c.nodes, c.more, p), " "); got != c.want {
			t.Errorf("%v: %s, want %s", c.nodes, got, c.want)
		}
	}
}
