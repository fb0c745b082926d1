package shop

import (
	"context"

	af "github.com/afgen/afgen/runtime"
)

// Order is an order of a customer.
type Order struct {
	Item  string `json:"item"`
	Count int    `json:"count"`
}

// Shop sells tea and coffee.
//
//af:rpc timeout=5s
type Shop struct{}

// Price returns the price of an order in cents.
//
//af:method idempotent
func (s *Shop) Price(ctx context.Context, order Order) (cents int, err error) {
	each, ok := map[string]int{"tea": 250, "coffee": 320}[order.Item]
	if !ok {
		return 0, af.Errorf(af.ErrNotFound, "no item %q", order.Item)
	}
	return each * order.Count, nil
}
