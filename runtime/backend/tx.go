package backend

import (
	"context"
	"sync"
)

// A Tx is a transaction of the caller's own, of a store that has them, in which an Insert takes part: the tasks are there if
// and only if it commits. The context that the store hands to the caller carries it.
type Tx struct {
	// Of is the store whose transaction it is.
	Of any

	mu    sync.Mutex
	after []func()
}

type txKey struct{}

// WithTx returns a context in which Insert takes part in a transaction.
func WithTx(ctx context.Context, tx *Tx) context.Context { return context.WithValue(ctx, txKey{}, tx) }

// TxFrom returns the transaction that ctx carries, nil if there is none.
func TxFrom(ctx context.Context) *Tx {
	tx, _ := ctx.Value(txKey{}).(*Tx)
	return tx
}

// AfterCommit has f called once the transaction has committed, or may have. It must return at once.
func (t *Tx) AfterCommit(f func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.after = append(t.after, f)
}

// Committed calls what was given to AfterCommit. The store calls it.
func (t *Tx) Committed() {
	t.mu.Lock()
	after := t.after
	t.after = nil
	t.mu.Unlock()
	for _, f := range after {
		f()
	}
}
