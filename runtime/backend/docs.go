package backend

import (
	"context"
	"encoding/json"
)

// Docs stores small documents under names such as "jobs/nightly". Each write gives a document a new, higher revision.
type Docs interface {
	// Get returns a document. The error is ErrNotFound if there is none.
	Get(ctx context.Context, name string) (Doc, error)
	// GetAll returns those of the documents that exist, in any order.
	GetAll(ctx context.Context, names []string) ([]Doc, error)
	// PutIf writes a document if its current revision is rev, where 0 means that it must not exist, and returns the new
	// revision. Otherwise the error is ErrAborted. After any other error the document may or may not have been written.
	PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error)
	// PutAll is PutIf for several documents with different names, where Doc.Revision is the expected revision. It returns
	// the result of each write, in order; a write that fails doesn't affect others. A document that was written, and then
	// overwritten before PutAll returned, may have ErrAborted as well. After an error there are no results, and each
	// document may or may not have been written.
	PutAll(ctx context.Context, docs []Doc) ([]Put, error)
	// List returns the documents whose names start with prefix, sorted by name.
	List(ctx context.Context, prefix string) ([]Doc, error)
	// Latest returns up to max documents whose names start with prefix, in reverse order of their names. If before is not
	// "", their names are less than it.
	Latest(ctx context.Context, prefix, before string, max int) ([]Doc, error)
	// Delete deletes a document if its current revision is rev. Otherwise the error is ErrAborted. Deleting a document
	// that doesn't exist succeeds.
	Delete(ctx context.Context, name string, rev int64) error
}

// A Doc is one document.
type Doc struct {
	Name     string
	Revision int64
	Value    json.RawMessage
}

// A Put is the result of one write of PutAll, like that of PutIf.
type Put struct {
	Revision int64 // the new one, if Err is nil
	Err      error
}
