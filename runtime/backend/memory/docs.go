package memory

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strings"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
)

// docs implements backend.Docs. A revision is never reused, even if a document is deleted and created again.
type docs struct {
	mu       sync.Mutex
	revision int64
	byName   map[string]backend.Doc
}

// Get implements backend.Docs.
func (d *docs) Get(ctx context.Context, name string) (backend.Doc, error) {
	if err := checkContext(ctx); err != nil {
		return backend.Doc{}, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	doc, ok := d.byName[name]
	if !ok {
		return backend.Doc{}, backend.Errorf(backend.ErrNotFound, "no document %q", name)
	}
	return doc, nil
}

// GetAll implements backend.Docs.
func (d *docs) GetAll(ctx context.Context, names []string) ([]backend.Doc, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []backend.Doc
	for _, name := range names {
		if doc, ok := d.byName[name]; ok {
			found = append(found, doc)
		}
	}
	return found, nil
}

// PutIf implements backend.Docs.
func (d *docs) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	if err := checkContext(ctx); err != nil {
		return 0, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.putIf(name, rev, value)
}

// PutAll implements backend.Docs.
func (d *docs) PutAll(ctx context.Context, docs []backend.Doc) ([]backend.Put, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	puts := make([]backend.Put, len(docs))
	for i, doc := range docs {
		puts[i].Revision, puts[i].Err = d.putIf(doc.Name, doc.Revision, doc.Value)
	}
	return puts, nil
}

// putIf is PutIf with d.mu held.
func (d *docs) putIf(name string, rev int64, value json.RawMessage) (int64, error) {
	if is := d.byName[name].Revision; is != rev {
		return 0, conflict(name, is, rev)
	}
	if d.byName == nil {
		d.byName = map[string]backend.Doc{}
	}
	d.revision++
	d.byName[name] = backend.Doc{Name: name, Revision: d.revision, Value: value}
	return d.revision, nil
}

func conflict(name string, is, want int64) error {
	return backend.Errorf(backend.ErrAborted, "document %q has revision %d, not %d", name, is, want)
}

// List implements backend.Docs.
func (d *docs) List(ctx context.Context, prefix string) ([]backend.Doc, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	var found []backend.Doc
	for name, doc := range d.byName {
		if strings.HasPrefix(name, prefix) {
			found = append(found, doc)
		}
	}
	slices.SortFunc(found, func(a, b backend.Doc) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}

// Latest implements backend.Docs.
func (d *docs) Latest(ctx context.Context, prefix, before string, max int) ([]backend.Doc, error) {
	found, err := d.List(ctx, prefix)
	if err != nil {
		return nil, err
	}
	if before != "" {
		n, _ := slices.BinarySearchFunc(found, before, func(d backend.Doc, name string) int {
			return cmp.Compare(d.Name, name)
		})
		found = found[:n]
	}
	slices.Reverse(found)
	return found[:min(len(found), max)], nil
}

// Delete implements backend.Docs.
func (d *docs) Delete(ctx context.Context, name string, rev int64) error {
	if err := checkContext(ctx); err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if doc, ok := d.byName[name]; ok && doc.Revision != rev {
		return conflict(name, doc.Revision, rev)
	}
	delete(d.byName, name)
	return nil
}
