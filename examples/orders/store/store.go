// Package store keeps the data of the tenants, each one's apart. It takes the place of a database: values are JSON
// files in a directory that all worker processes share.
package store

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"

	"github.com/afgen/afgen/examples/orders/tenant"
	af "github.com/afgen/afgen/runtime"
)

// A Store is a directory. It is safe for concurrent use by any number of processes.
type Store struct{ Dir string }

// Put stores the current tenant's value of a key, in place of an older one.
func (s Store) Put(ctx context.Context, kind, key string, v any) error {
	return s.write(ctx, kind, key, v, os.Rename)
}

// Create stores a value whose key must be new: otherwise it returns already_exists.
func (s Store) Create(ctx context.Context, kind, key string, v any) error {
	err := s.write(ctx, kind, key, v, os.Link)
	if errors.Is(err, fs.ErrExist) {
		return af.Errorf(af.ErrAlreadyExists, "%s %q exists", kind, key)
	}
	return err
}

// Get reads a value of the current tenant into v, or returns not_found.
func (s Store) Get(ctx context.Context, kind, key string, v any) error {
	dir, err := s.dir(ctx, kind)
	if err != nil {
		return err
	}
	data, err := os.ReadFile(filepath.Join(dir, file(key)))
	if errors.Is(err, fs.ErrNotExist) {
		return af.Errorf(af.ErrNotFound, "no %s %q", kind, key)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// Keys returns the keys of the current tenant's values.
func (s Store) Keys(ctx context.Context, kind string) (keys []string, err error) {
	dir, err := s.dir(ctx, kind)
	if err != nil {
		return nil, err
	}
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	for _, f := range files {
		name := filepath.Base(f)
		key, err := url.PathUnescape(name[:len(name)-len(".json")])
		if err != nil {
			return nil, err
		}
		keys = append(keys, key)
	}
	return keys, err
}

// write writes a temporary file, and puts it in place at once: a process may die at any time.
func (s Store) write(ctx context.Context, kind, key string, v any, place func(from, to string) error) error {
	dir, err := s.dir(ctx, kind)
	if err != nil {
		return err
	}
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(dir, "new")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // a rename has removed it
	_, err = tmp.Write(data)
	if err := errors.Join(err, tmp.Close()); err != nil {
		return err
	}
	return place(tmp.Name(), filepath.Join(dir, file(key)))
}

func (s Store) dir(ctx context.Context, kind string) (string, error) {
	name, err := tenant.From(ctx)
	return filepath.Join(s.Dir, name, kind), err
}

func file(key string) string { return url.PathEscape(key) + ".json" }
