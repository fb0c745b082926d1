package embedded

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"

	"github.com/afgen/afgen/runtime/backend"
)

// applicationID marks a SQLite file as ours in its header: "afgn".
const applicationID = 0x6166676e

//go:embed schema/*.sql
var schemaFiles embed.FS

// migrations returns the schema's history: step n migrates a file from version n to n+1. Existing steps never change.
func migrations() []string {
	names, err := fs.Glob(schemaFiles, "schema/*.sql") // sorted
	if err != nil {
		panic(err) // the pattern is a constant
	}
	all := make([]string, len(names))
	for i, name := range names {
		text, err := schemaFiles.ReadFile(name)
		if err != nil {
			panic(err) // embedded in the program
		}
		all[i] = string(text)
	}
	return all
}

// migrate migrates the file's schema to the latest version in one transaction. It refuses, without changing it, a file
// of a later version or of another program.
func migrate(ctx context.Context, conn *sql.Conn, steps []string) (err error) {
	if _, err := conn.ExecContext(ctx, "BEGIN IMMEDIATE"); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK") // the first error is returned
		}
	}()
	version, err := check(ctx, conn, len(steps))
	if err != nil {
		return err
	}
	for i, step := range steps[version:] {
		if _, err := conn.ExecContext(ctx, step); err != nil {
			return fmt.Errorf("migrating the schema to version %d: %w", version+i+1, err)
		}
	}
	if version < len(steps) {
		if _, err := conn.ExecContext(ctx, fmt.Sprintf("PRAGMA application_id = %d; PRAGMA user_version = %d", applicationID,
			len(steps))); err != nil {
			return err
		}
	}
	_, err = conn.ExecContext(ctx, "COMMIT")
	return err
}

// check returns the schema version of the file, 0 if it is empty.
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
		return 0, backend.NewError(backend.ErrFailedPrecondition,
			"the file is a SQLite database of another program, choose another path")
	case version > newest:
		return 0, backend.Errorf(backend.ErrFailedPrecondition,
			"the file was written by a newer version of afgen (schema %d, this program "+
				"supports up to %d): upgrade this program, or choose another path", version, newest)
	}
	return version, nil
}
