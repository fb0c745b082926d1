package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"

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

// GetAll implements backend.Docs.
func (d *docs) GetAll(ctx context.Context, names []string) ([]backend.Doc, error) {
	return readAll(ctx, d.db, scanDoc,
		"SELECT name, revision, value FROM doc WHERE name IN (SELECT value FROM json_each(?))", list(names))
}

// PutIf implements backend.Docs.
func (d *docs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	return write(ctx, d.db.writer, func(tx *tx) (int64, error) { return tx.putIf(name, rev, value) })
}

// PutAll implements backend.Docs. The documents share a transaction. If it fails with an error of SQLite, no document
// is written. Then each is written alone, because one of them may have caused the error.
func (d *docs) PutAll(ctx context.Context, docs []backend.Doc) ([]backend.Put, error) {
	puts, err := write(ctx, d.db.writer, func(tx *tx) ([]backend.Put, error) {
		puts := make([]backend.Put, len(docs))
		for i, doc := range docs {
			puts[i].Revision, puts[i].Err = tx.putIf(doc.Name, doc.Revision, doc.Value)
			if _, refused := errors.AsType[*backend.Error](puts[i].Err); puts[i].Err != nil && !refused {
				return nil, puts[i].Err
			}
		}
		return puts, nil
	})
	if code := backend.CodeOf(err); len(docs) < 2 || errors.Is(err, backend.ErrStoreFull) ||
		code != backend.ErrInternal && code != backend.ErrResourceExhausted {
		return puts, err
	}
	puts = make([]backend.Put, len(docs))
	for i, doc := range docs {
		puts[i].Revision, puts[i].Err = d.PutIf(ctx, doc.Name, doc.Revision, doc.Value)
	}
	return puts, nil
}

func (t *tx) putIf(name string, rev int64, value json.RawMessage) (next int64, err error) {
	if err := t.sameRevision(name, rev, false); err != nil {
		return 0, err
	}
	if err := t.exec("UPDATE counter SET revision = revision + 1"); err != nil {
		return 0, err
	}
	if _, err := t.row("SELECT revision FROM counter", nil, &next); err != nil {
		return 0, err
	}
	return next, t.exec("INSERT OR REPLACE INTO doc (name, revision, value) VALUES (?, ?, ?)", name, next, []byte(value))
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

// Latest implements backend.Docs.
func (d *docs) Latest(ctx context.Context, prefix, before string, max int) ([]backend.Doc, error) {
	high := afterPrefix(prefix)
	if before != "" && (high == "" || before < high) {
		high = before
	}
	if high == "" {
		return readAll(ctx, d.db, scanDoc, "SELECT name, revision, value FROM doc ORDER BY name DESC LIMIT ?", max)
	}
	return readAll(ctx, d.db, scanDoc,
		"SELECT name, revision, value FROM doc WHERE name >= ? AND name < ? ORDER BY name DESC LIMIT ?", prefix, high, max)
}

// afterPrefix returns the least string that is greater than all that start with prefix, or "" if there is none.
func afterPrefix(prefix string) string {
	high := []byte(prefix)
	for i := len(high) - 1; i >= 0; i-- {
		if high[i]++; high[i] != 0 {
			return string(high[:i+1])
		}
	}
	return ""
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
