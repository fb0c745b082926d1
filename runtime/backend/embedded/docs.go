package embedded

import (
	"context"
	"database/sql"
	"encoding/json"

	"github.com/afgen/afgen/runtime/backend"
)

// docs implements backend.Docs. A revision is never reused, even if a document is deleted and created again.
type docs struct{ db *database }

func scanDoc(rows *sql.Rows) (d backend.Doc, err error) {
	err = rows.Scan(&d.Name, &d.Revision, (*[]byte)(&d.Value))
	return d, err
}

// Get implements backend.Docs.
func (d *docs) Get(ctx context.Context, name string) (backend.Doc, error) {
	found, err := readAll(ctx, d.db, scanDoc, "SELECT name, revision, value FROM doc WHERE name = ?", name)
	switch {
	case err != nil:
		return backend.Doc{}, err
	case len(found) == 0:
		return backend.Doc{}, backend.Errorf(backend.ErrNotFound, "no document %q", name)
	}
	return found[0], nil
}

// PutIf implements backend.Docs.
func (d *docs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	return write(ctx, d.db.writer, func(tx *tx) (next int64, err error) {
		if err := tx.sameRevision(name, rev, false); err != nil {
			return 0, err
		}
		if err := tx.exec("UPDATE counter SET revision = revision + 1"); err != nil {
			return 0, err
		}
		if _, err := tx.row("SELECT revision FROM counter", nil, &next); err != nil {
			return 0, err
		}
		return next, tx.exec("INSERT OR REPLACE INTO doc (name, revision, value) VALUES (?, ?, ?)", name, next, []byte(value))
	})
}

// sameRevision returns an error if a document's revision is not rev, or if it doesn't exist and rev is not 0. With
// mayMiss, any rev is accepted for a document that doesn't exist.
func (t *tx) sameRevision(name string, rev int64, mayMiss bool) error {
	var is int64
	found, err := t.row("SELECT revision FROM doc WHERE name = ?", []any{name}, &is)
	if err == nil && is != rev && (found || !mayMiss) {
		err = backend.Errorf(backend.ErrAborted, "document %q has revision %d, not %d", name, is, rev)
	}
	return err
}

// List implements backend.Docs.
func (d *docs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	return readAll(ctx, d.db, scanDoc,
		"SELECT name, revision, value FROM doc WHERE name >= ?1 AND substr(name, 1, length(?1)) = ?1 ORDER BY name", prefix)
}

// Delete implements backend.Docs.
func (d *docs) Delete(ctx context.Context, name string, rev int64) error {
	return change(ctx, d.db.writer, func(tx *tx) error {
		if err := tx.sameRevision(name, rev, true); err != nil {
			return err
		}
		return tx.exec("DELETE FROM doc WHERE name = ?", name)
	})
}
