package shop

import (
	"context"
	"fmt"
)

// Receipt writes receipts.
//
//af:worker max=4 timeout=30s retries=5 backoff=2s
type Receipt struct{ Shop ShopAPI }

// Run writes the receipt of an order.
func (r *Receipt) Run(ctx context.Context, order Order) (string, error) {
	cents, err := r.Shop.Price(ctx, order)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d × %s: %d.%02d", order.Count, order.Item, cents/100, cents%100), nil
}
