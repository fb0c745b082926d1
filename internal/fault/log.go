package fault

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A Log has the changes of tasks in the order in which they happened.
type Log struct {
	Entries []Entry
	Tasks   map[string]backend.Task // after the last entry

	owners   map[string]*owner
	children map[string][]string // ids by source
	batches  map[batchID]bool    // committed
	births   map[string]int      // how often each id was inserted
	atOnce   int                 // entries with the time of the last one
}

// add adds an entry. It panics with the last entries if processes spin.
func (l *Log) add(e Entry) {
	if n := len(l.Entries); n > 0 && l.Entries[n-1].At == e.At {
		l.atOnce++
	} else {
		l.atOnce = 0
	}
	l.Entries = append(l.Entries, e)
	if l.atOnce >= maxAtOnce {
		last := Log{Entries: l.Entries[len(l.Entries)-30:]}
		panic(fmt.Sprintf("%d operations at once, the last ones:\n%s", l.atOnce, last.String()))
	}
}

// An Entry is one operation that changed something or that a check needs.
type Entry struct {
	At       time.Duration // since the World was created
	Now      time.Time
	Instance string
	Op       string
	Owner    string        // of Claim and ExpireOwner
	Expires  bool          // an ExpireOwner that ended its owner
	Spawn    backend.Spawn // that was not refused
	Commits  string        // its source, if it was the first to commit this batch
	Changes  []Change
	Left     []backend.Task // tasks that Insert did not insert because of their keys
	FanIn    bool           // of Claim
	Keep     backend.Retention
	Doc      string          // the document that was written or, without a Value, deleted
	Value    json.RawMessage // of Doc
}

// A Change is a task before and after. A task without an id does not exist.
type Change struct{ Before, After backend.Task }

type owner struct {
	count   int64
	expired bool
	runs    map[string]bool
}

func newLog() *Log {
	return &Log{
		Tasks: map[string]backend.Task{}, owners: map[string]*owner{}, children: map[string][]string{},
		batches: map[batchID]bool{}, births: map[string]int{},
	}
}

// NewLog returns a log with entries recorded by other means than a World, such as the store itself.
func NewLog(entries []Entry) *Log {
	l := newLog()
	l.Entries = entries
	for _, e := range entries {
		for _, c := range e.Changes {
			if c.After.ID == "" {
				delete(l.Tasks, c.Before.ID)
			} else {
				l.Tasks[c.After.ID] = c.After
			}
		}
	}
	return l
}

func (l *Log) clone() *Log {
	// Entries don't change. Those that are added to l are not added within the clipped capacity.
	return &Log{Entries: slices.Clip(l.Entries), Tasks: maps.Clone(l.Tasks), births: maps.Clone(l.births)}
}

func (l *Log) owner(name string) *owner {
	o := l.owners[name]
	if o == nil {
		o = &owner{runs: map[string]bool{}}
		l.owners[name] = o
	}
	return o
}

// note records a call that has just been made. It asks the store for each task that the call may have changed. A call
// that failed had no effect here; what the process is told may differ.
func (l *Log) note(e *edge, c call, v any, err error) {
	if err != nil {
		return
	}
	n := Entry{At: time.Since(e.w.start), Now: time.Now(), Instance: e.instance, Op: c.op}
	if docs, ok := c.arg.([]backend.Doc); ok {
		for i, put := range v.([]backend.Put) {
			if put.Err == nil {
				n.Doc, n.Value = docs[i].Name, docs[i].Value
				l.add(n)
			}
		}
		return
	}
	for _, id := range l.touched(&n, c, v) {
		l.observe(e, &n, id)
	}
	if tasks, ok := c.arg.([]backend.NewTask); ok {
		for _, t := range tasks {
			if _, there := l.Tasks[t.Task.ID]; !there {
				n.Left = append(n.Left, t.Task)
			}
		}
	}
	if len(n.Changes) > 0 || len(n.Left) > 0 || n.Expires || n.Spawn.Source != "" || n.Doc != "" {
		l.add(n)
	}
}

// touched returns the tasks that a call may have changed, according to its arguments and results, and records owners
// and batches.
func (l *Log) touched(n *Entry, c call, v any) []string {
	var ids []string
	switch arg := c.arg.(type) {
	case []backend.NewTask:
		for _, t := range arg {
			ids = append(ids, t.Task.ID)
		}
	case backend.Claim:
		n.Owner, n.FanIn = arg.Owner, arg.FanIn
		ids = taskIDs(v.(claimed).tasks)
		l.owner(arg.Owner) // known from now on
	case []backend.Settle:
		for _, s := range arg {
			ids = append(ids, s.ID)
		}
	case backend.Spawn:
		n.Spawn = arg
		if key := (batchID{arg.Source, arg.Batch}); !l.batches[key] {
			l.batches[key] = true
			n.Commits = arg.Source
		}
	case batchID:
		for _, id := range l.children[arg.source] {
			if l.Tasks[id].Batch == arg.batch {
				ids = append(ids, id)
			}
		}
	case backend.Stop:
		ids = append(l.below(arg.ID, nil), arg.ID)
	case counter:
		ids = l.count(n, c.op, arg)
	case docWrite:
		n.Doc, n.Value = arg.name, arg.value
	case backend.Retention:
		n.Keep = arg
		if n, ok := v.(int); ok && n > 0 {
			ids = slices.Collect(maps.Keys(l.Tasks))
		}
	case string: // a queue, a source, or an owner
		if c.op == "Refund" {
			for id, t := range l.Tasks {
				if t.Suspect != nil && t.Suspect.Owner == arg {
					ids = append(ids, id)
				}
			}
		}
		if c.op == "Delete" { // with its tree
			ids = slices.Collect(maps.Keys(l.Tasks))
		}
		if c.op == "Finish" {
			return []string{arg, arg + "/done"}
		}
		if p, ok := v.(promoted); ok {
			ids = append(p.ids, taskIDs(p.failed)...)
		}
	}
	return ids
}

// count tracks owners' counters, by Beat and ExpireOwner.
func (l *Log) count(n *Entry, op string, arg counter) []string {
	if op == "Beat" {
		o := l.owner(arg.owner)
		o.count = max(o.count, arg.count)
		return nil
	}
	o := l.owners[arg.owner]
	if o == nil || o.count != arg.count {
		return nil
	}
	n.Owner, n.Expires = arg.owner, !o.expired
	o.expired = true
	return slices.Sorted(maps.Keys(o.runs))
}

// below returns all descendants of a task.
func (l *Log) below(id string, ids []string) []string {
	for _, child := range l.children[id] {
		ids = l.below(child, append(ids, child))
	}
	return ids
}

func taskIDs(tasks []backend.Task) []string {
	ids := make([]string, len(tasks))
	for i, t := range tasks {
		ids[i] = t.ID
	}
	return ids
}

// observe records how a task has changed since it was last seen.
func (l *Log) observe(e *edge, n *Entry, id string) {
	before, known := l.Tasks[id]
	after, err := e.store.Get(context.Background(), id)
	switch {
	case err != nil && !known:
		return
	case err != nil:
		l.forget(before)
	case known && (same(before, after) || onlyDue(before, after)):
		return
	default:
		l.Tasks[id] = after
		if !known {
			l.births[id]++
		}
		if !known && after.Source != "" && !slices.Contains(l.children[after.Source], id) {
			l.children[after.Source] = append(l.children[after.Source], id)
		}
	}
	n.Changes = append(n.Changes, Change{before, after})
	if n.Op == "Claim" {
		l.owner(n.Owner).runs[id] = true
	} else if before.Status == backend.StatusRunning && n.Op != "Refund" {
		for _, o := range l.owners {
			delete(o.runs, id)
		}
	}
}

// forget removes a deleted task: another one may get its id.
func (l *Log) forget(t backend.Task) {
	delete(l.Tasks, t.ID)
	l.children[t.Source] = slices.DeleteFunc(l.children[t.Source], func(id string) bool { return id == t.ID })
	for key := range l.batches {
		if key.source == t.ID {
			delete(l.batches, key)
		}
	}
}

// onlyDue reports whether the only change is the due time of a task that waits for a worker of its version. Then a
// claim by such a worker has requested it and claimed others.
func onlyDue(a, b backend.Task) bool {
	a.RunAt = b.RunAt
	return !a.WrongVersionSince.IsZero() && same(a, b)
}

// same reports whether nothing has changed that a transition changes.
func same(a, b backend.Task) bool {
	return a.Status == b.Status && a.Fence == b.Fence && a.Attempt == b.Attempt && a.Crashes == b.Crashes &&
		a.RunAt.Equal(b.RunAt) && a.Ended.Equal(b.Ended) && (a.Subtasks == nil) == (b.Subtasks == nil) &&
		string(a.Result) == string(b.Result)
}

// String formats the entries that concern any of the tasks, or all entries without ids.
func (l *Log) String(ids ...string) string {
	var b strings.Builder
	for _, e := range l.Entries {
		var parts []string
		for _, c := range e.Changes {
			if len(ids) == 0 || slices.Contains(ids, c.id()) || slices.Contains(ids, c.source()) {
				parts = append(parts, c.String())
			}
		}
		if len(parts) > 0 || len(ids) == 0 || e.Expires || slices.Contains(ids, e.Commits) ||
			e.Doc != "" && slices.Contains(ids, e.Doc) {
			if len(e.Changes) == 0 && !e.Expires && e.Commits == "" && e.Doc == "" {
				continue // a batch committed again
			}
			fmt.Fprintf(&b, "%10.3fs %.6s %s", e.At.Seconds(), e.Instance, e.Op)
			if e.Expires {
				fmt.Fprintf(&b, " expires %.6s%s", e.Owner, e.Owner[min(26, len(e.Owner)):])
			}
			if e.Commits != "" {
				fmt.Fprintf(&b, " commits to %s", e.Commits)
			}
			if e.Doc != "" {
				fmt.Fprintf(&b, " %s %s", e.Doc, e.Value)
			}
			fmt.Fprintf(&b, " %s\n", strings.Join(parts, "; "))
		}
	}
	return b.String()
}

func (c Change) id() string {
	if c.After.ID == "" {
		return c.Before.ID
	}
	return c.After.ID
}

func (c Change) source() string {
	if c.After.ID == "" {
		return c.Before.Source
	}
	return c.After.Source
}

func (c Change) String() string {
	a := c.After
	if a.ID == "" {
		return c.Before.ID + " deleted"
	}
	s := fmt.Sprintf("%s %s→%s f%d a%d c%d", a.ID, c.Before.Status, a.Status, a.Fence, a.Attempt, a.Crashes)
	if a.Subtasks != nil {
		s += fmt.Sprintf(" set %d=%d+%d+%d", a.Subtasks.Total, a.Subtasks.Succeeded, a.Subtasks.Failed, a.Subtasks.Stopped)
	}
	return s
}
