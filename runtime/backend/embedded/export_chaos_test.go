package embedded

import (
	"fmt"
	"strings"
)

// auditedColumns are the columns of table task that the audit records.
var auditedColumns = []string{
	"id", "queue", "status", "weight", "gate", "due", "deadline", "attempt", "crashes", "fence", "owner", "settled",
	"stopping", "fan_in", "unique_key", "source", "batch", "on_failure", "done_of", "started", "ended", "subtasks",
}

// Audited makes the file record, in the table audit, each change of a task, each committed batch and each expired
// owner. The record is written in the same transaction, so it is exact and ordered. who marks the changes of this
// process. The triggers belong to the connection, so all processes that write must use this option.
func Audited(who string) Option {
	return func(o *options) {
		o.setup += `;CREATE TABLE IF NOT EXISTS audit (
			n      INTEGER PRIMARY KEY AUTOINCREMENT,
			at     INTEGER NOT NULL, -- milliseconds since 1970
			who    TEXT    NOT NULL,
			what   TEXT    NOT NULL, -- task, batch, owner
			before TEXT,
			after  TEXT
		)` + strings.Join([]string{
			audit(who, "task", "INSERT", "", "NULL", auditedTask("new")),
			audit(who, "task", "UPDATE", auditedDifference("old.%[1]s IS NOT new.%[1]s"), auditedTask("old"),
				auditedTask("new")),
			audit(who, "task", "DELETE", "", auditedTask("old"), "NULL"),
			audit(who, "batch", "INSERT", "new.committed", "NULL", "json_object('source', new.source, 'batch', new.name)"),
			audit(who, "batch", "UPDATE", "new.committed > old.committed", "NULL",
				"json_object('source', new.source, 'batch', new.name)"),
			audit(who, "owner", "UPDATE", "new.convicted > old.convicted", "NULL", "json_object('owner', new.name)"),
		}, "")
	}
}

// audit returns one trigger.
func audit(who, table, event, when, before, after string) string {
	if when != "" {
		when = "WHEN " + when
	}
	return fmt.Sprintf(`;CREATE TEMP TRIGGER audit_%[1]s_%[2]s AFTER %[2]s ON main.%[1]s %[3]s BEGIN
		INSERT INTO audit (at, who, what, before, after)
		VALUES (CAST(unixepoch('now', 'subsec') * 1000 AS INTEGER), '%[4]s', '%[1]s', %[5]s, %[6]s); END`,
		table, event, when, who, before, after)
}

func auditedTask(row string) string {
	pairs := make([]string, len(auditedColumns))
	for i, c := range auditedColumns {
		pairs[i] = fmt.Sprintf("'%[1]s', %[2]s.%[1]s", c, row)
	}
	return "json_object(" + strings.Join(append(pairs, "'result', CAST("+row+".result AS TEXT)"), ", ") + ")"
}

func auditedDifference(format string) string {
	var any []string
	for _, c := range append([]string{"result"}, auditedColumns...) {
		if c != "gate" {
			any = append(any, fmt.Sprintf(format, c))
		}
	}
	return strings.Join(any, " OR ")
}
