package backend

import (
	"context"
	"sync"
)

// A Tx is a database transaction of the user in which Insert takes part: the tasks exist if and only if it commits. The
// store passes it to the user in a context.
type Tx struct {
	// Of is the store that the transaction belongs to.
	Of any

	mu    sync.Mutex
	after []func()
}

type txKey struct{}

// WithTx returns a context with a transaction.
func WithTx(ctx context.Context, tx *Tx) context.Context { return context.WithValue(ctx, txKey{}, tx) }

// TxFrom returns the transaction in ctx, or nil.
func TxFrom(ctx context.Context) *Tx {
	tx, _ := ctx.Value(txKey{}).(*Tx)
	return tx
}

// AfterCommit registers f to be called after the transaction has committed, or may have. f must not block.
func (t *Tx) AfterCommit(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.after = append(t.after, f)
}

// Committed calls the registered functions. Only the store calls it.
func (t *Tx) Committed() {
	t.mu.Lock()
	after := t.after
	t.after = nil
	t.mu.Unlock()
	for _, f := range after {
		f()
	}
}
