package embedded

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/afgen/afgen/runtime/backend"
)

// applicationID marks a SQLite file as ours, in its header: "afgn".
const applicationID = 0x6166676e

//go:embed schema/*.sql
var schemaFiles embed.FS

// steps returns the schema as its history: step n brings a file of version n to version n+1. They are never changed.
func steps() []string {
	names, err := fs.Glob(schemaFiles, "schema/*.sql") // sorted
	if err != nil {
		panic(err) // the pattern is a constant
	}
	all := make([]string, len(names))
	for i, name := range names {
		text, err := schemaFiles.ReadFile(name)
		if err != nil {
			panic(err) // it is part of the program
		}
		all[i] = string(text)
	}
	return all
}

// migrate brings the file's schema to the version that the steps lead to, in one transaction. A file of a later version,
// or of another program, is refused and left as it is.
func migrate(ctx context.Context, conn *sql.Conn, steps []string) (err error) {
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // err is the reason, and opening fails
		}
	}()
	version, err := check(ctx, conn, len(steps))
	if err != nil {
		return err
	}
	for i, step := range steps[version:] {
		if _, err := conn.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("bringing the schema to version %d: %w", version+i+1, err)
		}
	}
	if version < len(steps) {
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID, len(steps))); err != nil {
			return err
		}
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

// check returns the file's version, 0 for an empty file.
func check(ctx context.Context, conn *sql.Conn, newest int) (version int, err error) {
	var application, tables int
	for query, to := range map[string]*int{
		"PRAGMA application_id": &application, "PRAGMA user_version": &version, "SELECT count(*) FROM sqlite_schema": &tables,
	} {
		if err := conn.QueryRowContext(ctx, query).Scan(to); err != nil {
			return 0, err
		}
	}
	switch {
	case application != applicationID && (application != 0 || tables > 0):
		return 0, backend.NewError(backend.ErrFailedPrecondition, "the file is another program's SQLite database: choose another path")
	case version > newest:
		return 0, backend.Errorf(backend.ErrFailedPrecondition, "the file was written by a newer version of afgen (schema %d, this one "+
			"knows up to %d): upgrade this program, or choose another path", version, newest)
	}
	return version, nil
}
