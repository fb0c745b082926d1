package runtime

import (
	"context"
	"time"

	"github.com/afgen/afgen/runtime/internal/audit"
)

// An AuditEntry is a change that was made with [By], or an attempt to make one that was refused.
type AuditEntry struct {
	ID       string    `json:"id"` // sorts by time
	Time     time.Time `json:"time"`
	By       string    `json:"by"`
	Reason   string    `json:"reason,omitempty"`
	Action   string    `json:"action"`           // such as "task.stop", "queue.pause" or "job.disable"
	Target   string    `json:"target"`           // a task, job, queue or method, or the query of a bulk change
	Detail   string    `json:"detail,omitempty"` // such as the new limit; never a payload
	Instance string    `json:"instance"`         // the App through which it was made
	Error    string    `json:"error,omitempty"`  // why it failed; "" if it succeeded
}

// An AuditQuery selects entries for [App.Audit]. A zero field does not restrict.
type AuditQuery struct {
	By, Action, Target string
	Limit              int    // entries on a page: 1 to 1000; 0 means 100
	Cursor             string // the Cursor of the previous page
}

// An AuditPage is one page of entries, latest first.
type AuditPage struct {
	Entries []AuditEntry `json:"entries"`
	Cursor  string       `json:"cursor,omitempty"` // of the next page; "" on the last one
}

// Audit returns a page of the changes that were made with [By], latest first. At least the last 10,000 are kept. A
// change is recorded once it is made. If it is made and can't be recorded, because the process dies or the store is
// unavailable, there is no entry; in the second case it is logged.
func (a *App) Audit(ctx context.Context, q AuditQuery) (AuditPage, error) {
	c, err := a.limited()
	if err != nil {
		return AuditPage{}, err
	}
	var page AuditPage
	err = c.requests.Do(ctx, func(ctx context.Context) error {
		entries, cursor, err := c.audit.Page(ctx, audit.Query(q))
		page = AuditPage{Entries: make([]AuditEntry, len(entries)), Cursor: cursor}
		for i, e := range entries {
			page.Entries[i] = AuditEntry(e)
		}
		return err
	})
	return page, err
}

// A RecordFunc adds an entry to the audit log: action, target and detail are those of the [AuditEntry], and err is the
// result of the action.
type RecordFunc func(ctx context.Context, action, target, detail string, err error)

// Recorder returns a function that records actions of users that no method of App records, such as calls and
// submissions, in the audit log. What [App.Audit] says of recording applies. Without [By] the function does nothing. If
// the options are invalid, or can't be recorded, Recorder returns an error: call it before the action.
func (a *App) Recorder(opts ...ActionOption) (RecordFunc, error) {
	c, act, err := a.acting(opts)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, action, target, detail string, err error) {
		c.record(ctx, act, action, target, detail, err)
	}, nil
}

// newAudit returns the audit log of a core, or nil if the backend does not support documents.
func newAudit(c *core) *audit.Log {
	if c.ports.Docs == nil {
		return nil
	}
	return &audit.Log{Docs: c.ports.Docs, Now: c.store.Now, Instance: c.app.instance.ID, Log: c.log}
}

// record adds a change to the audit log, if it was made with By. err is its result. A change that was not made, because
// it was invalid or the store was unavailable, is not recorded.
func (c *core) record(ctx context.Context, act action, what, target, detail string, err error) {
	if act.By != "" {
		c.audit.Record(ctx, act, audit.Entry{Action: what, Target: target, Detail: detail}, err)
	}
}

// pruneAudit deletes entries of the audit log beyond those that are kept.
func (c *core) pruneAudit(ctx context.Context) {
	if c.audit == nil {
		return
	}
	if err := c.audit.Prune(ctx); err != nil {
		c.log.Debug("deleting old audit entries failed, retrying in a minute", "error", err)
	}
}
