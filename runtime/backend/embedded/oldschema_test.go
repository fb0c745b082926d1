package embedded_test

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
)

// Statements of programs with schema 9, which don't know who claims and keep no attempts. They run on newer files.
const (
	oldClaim = `UPDATE task SET status = 2, place = 0, owner = ?, nonce = ?, settled = 0, fan_in = ?, started = ?,
		max_crashes = ?, fence = fence + 1, attempt = attempt + 1 WHERE id = ?`
	oldEnd = `UPDATE task SET status = ?, place = 0, owner = NULL, stopping = 0, attempt = ?, crashes = ?, nonce = ?,
		settled = ?, result = ifnull(?, result), error_code = ?, error_message = ?, error_details = ?,
		ended = ?, closed = ?, log = ifnull(?, log) WHERE id = ?`
	oldRelease = `UPDATE task SET status = ?1, place = ?2, due = ?3, owner = NULL, stopping = 0, attempt = ?4,
		crashes = ?5, nonce = ?6, settled = ?7, hints = 0,
		error_details = CASE WHEN ?8 IS NULL THEN error_details ELSE ?10 END, error_code = ifnull(?8, error_code),
		error_message = ifnull(?9, error_message), log = ifnull(?11, log) WHERE id = ?12`
)

// An oldProgram works on the tasks of queue q as one with schema 9 does.
type oldProgram struct {
	*testing.T
	db *sql.DB
}

func (p oldProgram) exec(statement string, args ...any) {
	p.Helper()
	_, err := p.db.ExecContext(p.Context(), statement, args...)
	testkit.Must(p, err)
}

func (p oldProgram) count(from, to int) {
	p.Helper()
	const add = "INSERT INTO tally VALUES ('q', ?1, ?2) ON CONFLICT DO UPDATE SET n = n + ?2"
	p.exec(add, from, -1)
	p.exec(add, to, 1)
}

func (p oldProgram) claim(id string) {
	p.Helper()
	p.exec(oldClaim, "old", "n", false, 5, 0, id)
	p.count(0, 2)
}

func (p oldProgram) end(id string, from, status int) {
	p.Helper()
	p.exec(oldEnd, status, 1, 0, "n", true, nil, nil, nil, nil, 6, 6, nil, id)
	p.count(from, status)
}

func (p oldProgram) release(id string) {
	p.Helper()
	p.exec(oldRelease, 0, 1, 0, 0, 0, "n", true, nil, nil, nil, nil, id)
	p.count(2, 0)
}

// What an older program leaves in the columns that it doesn't know is not shown as true.
func TestOlderProgramBeside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	store := openUntilEnd(t, path, embedded.Checked()).Store
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, db.Close()) })
	old := oldProgram{t, db}
	n := 0
	claim := func(id string) backend.Task {
		t.Helper()
		n++
		tasks, _, err := store.Claim(t.Context(), backend.Claim{Queue: "q", Owner: "new", Nonce: fmt.Sprint(n), Max: 1,
			IDs: []string{id}, Instance: "an instance", IP: "10.0.0.1"})
		testkit.Must(t, err)
		return tasks[0]
	}
	settle := func(task backend.Task, to backend.Status) {
		t.Helper()
		_, err := store.Settle(t.Context(), []backend.Settle{{ID: task.ID, Fence: task.Fence, Nonce: "s", To: to}})
		testkit.Must(t, err)
	}
	stop := func(id string) {
		t.Helper()
		_, err := store.Stop(t.Context(), backend.Stop{ID: id})
		testkit.Must(t, err)
	}
	const newer = "an instance"
	for _, c := range []struct {
		name     string
		run      func(id string)
		instance string   // of the task
		attempts []string // their instances
	}{
		{"claimed_by_old", old.claim, "", nil},
		{"claimed_again_by_old", func(id string) { claim(id); old.release(id); old.claim(id) }, "", nil},
		{"ended_by_old", func(id string) { claim(id); old.end(id, 2, 4) }, "", nil},
		{"released_by_old", func(id string) { claim(id); old.release(id) }, "", nil},
		{"released_by_old_and_stopped", func(id string) { claim(id); old.release(id); stop(id) }, "", nil},
		{"released_and_ended_by_old", func(id string) { claim(id); old.release(id); old.end(id, 0, 6) }, "", nil},
		{"released_by_old_and_claimed", func(id string) {
			claim(id)
			old.release(id)
			settle(claim(id), backend.StatusSuccess)
		}, newer, []string{newer}},
		{"released_and_ended_by_old_after", func(id string) {
			settle(claim(id), backend.StatusWaiting)
			claim(id)
			old.end(id, 2, 5)
		}, "", []string{newer}},
		{"claimed_by_old_and_lost", func(id string) { old.claim(id); expireOld(t, store, old) }, "", []string{""}},
		{"claimed_by_old_and_stopped", func(id string) {
			claim(id)
			old.release(id)
			old.claim(id)
			stop(id)
			expireOld(t, store, old)
		}, "", []string{""}},
	} {
		t.Run(c.name, func(t *testing.T) {
			insert(t, &backend.Ports{Store: store}, c.name)
			c.run(c.name)
			got, err := store.Get(t.Context(), c.name)
			testkit.Must(t, err)
			if got.Instance != c.instance {
				t.Errorf("instance %q, want %q", got.Instance, c.instance)
			}
			var of []string
			for _, a := range got.Attempts {
				of = append(of, a.Instance)
			}
			if fmt.Sprint(of) != fmt.Sprint(c.attempts) || len(of) != len(c.attempts) {
				t.Errorf("attempts %+v, want instances %q", got.Attempts, c.attempts)
			}
		})
	}
	if queues, err := store.Queues(context.Background()); err != nil || len(queues) != 1 {
		t.Errorf("queues: %v, %v", queues, err)
	}
}

// expireOld declares the older program's owner dead.
func expireOld(t *testing.T, store backend.Store, old oldProgram) {
	t.Helper()
	old.exec("INSERT OR REPLACE INTO owner (name, count, peer) VALUES ('old', 1, 'none')")
	_, err := store.ExpireOwner(t.Context(), "old", 1, 3)
	testkit.Must(t, err)
}

// Statements of programs with schema 12, which store attempts without their traces.
const (
	oldClaim12 = `UPDATE task SET status = 2, place = 0, owner = 'old', nonce = 'n', settled = 0, fan_in = 0, started = 5,
		max_crashes = 3, claimer = (fence + 1) || ' 10.0.0.2 old', fence = fence + 1, attempt = attempt + 1 WHERE id = ?`
	oldEnd12 = `UPDATE task SET status = 4, place = 0, owner = NULL, nonce = 'n', settled = 1, ended = 6, closed = 6,
		ended_by = 1 WHERE id = ?`
	oldRelease12 = `UPDATE task SET status = 3, place = 1, due = 0, owner = NULL, nonce = 'n', settled = 1, hints = 0,
		claimer = NULL, attempts = (SELECT json_group_array(json_remove(value, '$.trace')) FROM json_each(attempts))
		WHERE id = ?`
)

// An older program loses at most the traces of the attempts that it rewrites, and has none of its own.
func TestTracesBesideOlderProgram(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	store := openUntilEnd(t, path, embedded.Checked()).Store
	db, err := sql.Open("sqlite", "file:"+path+"?_pragma=busy_timeout(5000)")
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.Must(t, db.Close()) })
	old := oldProgram{t, db}
	const of = "00-0af7651916cd43dd8448eb211c80319c-"
	const a, b = of + "b7ad6b7169203331-01", of + "00f067aa0ba902b7-01"
	ran := func(id string, to backend.Status, trace string) {
		t.Helper()
		tasks, _, err := store.Claim(t.Context(), backend.Claim{Queue: "q", Owner: "new", Nonce: id + trace, Max: 1,
			IDs: []string{id}, Instance: "new"})
		testkit.Must(t, err)
		_, err = store.Settle(t.Context(), []backend.Settle{{ID: id, Fence: tasks[0].Fence, Nonce: "s", To: to, Trace: trace}})
		testkit.Must(t, err)
	}
	for _, c := range []struct {
		name string
		run  func(id string)
		want []string
	}{
		{"ended_by_old", func(id string) {
			ran(id, backend.StatusRetrying, a)
			old.exec(oldClaim12, id)
			old.count(3, 2)
			old.exec(oldEnd12, id)
			old.count(2, 4)
		}, []string{a, ""}},
		{"rewritten_by_old", func(id string) {
			ran(id, backend.StatusRetrying, a)
			old.exec(oldClaim12, id)
			old.count(3, 2)
			old.exec(oldRelease12, id)
			old.count(2, 3)
			ran(id, backend.StatusSuccess, b)
		}, []string{"", b}},
	} {
		t.Run(c.name, func(t *testing.T) {
			insert(t, &backend.Ports{Store: store}, c.name)
			c.run(c.name)
			got, err := store.Get(t.Context(), c.name)
			testkit.Must(t, err)
			var traces []string
			for _, a := range got.Attempts {
				traces = append(traces, a.Trace)
			}
			if fmt.Sprintf("%q", traces) != fmt.Sprintf("%q", c.want) {
				t.Errorf("traces %q, want %q", traces, c.want)
			}
		})
	}
}
