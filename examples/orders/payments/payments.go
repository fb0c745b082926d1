// Package payments collects money.
package payments

import (
	"context"

	"github.com/afgen/afgen/examples/orders/store"
	af "github.com/afgen/afgen/runtime"
)

//go:generate go tool afgen .

// Limit is the highest amount of a charge, in cents.
const Limit = 100_000

// Payments charges the customers of a tenant.
//
//af:rpc timeout=5s
type Payments struct{ Store store.Store }

// Receipt confirms a charge.
type Receipt struct {
	Order string `json:"order"`
	Cents int    `json:"cents"`
}

// Declined is the detail of the error of a charge that is too high.
type Declined struct {
	Limit int `json:"limit"`
}

// Charge collects an amount for an order. The order is charged once, however often the call is repeated: a client may
// repeat calls of an idempotent method, and a task runs again if its process dies.
//
//af:method idempotent
func (p *Payments) Charge(ctx context.Context, order string, cents int) (Receipt, error) {
	if cents > Limit {
		return Receipt{}, af.NewError(af.ErrFailedPrecondition, "the charge was declined", Declined{Limit: Limit})
	}
	receipt := Receipt{Order: order, Cents: cents}
	err := p.Store.Create(ctx, "payment", order, receipt)
	if af.CodeOf(err) == af.ErrAlreadyExists {
		err = p.Store.Get(ctx, "payment", order, &receipt)
	}
	return receipt, err
}
