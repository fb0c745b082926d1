// Package catalog knows the products of each tenant, and imports them from CSV files.
package catalog

import (
	"context"

	"github.com/afgen/afgen/examples/orders/store"
)

//go:generate go tool afgen .

// Product is an article and its price.
type Product struct {
	SKU   string `json:"sku"`
	Cents int    `json:"cents"`
}

// Catalog answers questions about products.
//
//af:rpc timeout=2s
type Catalog struct{ Store store.Store }

// Price returns the price of a product in cents.
//
//af:method idempotent
func (c *Catalog) Price(ctx context.Context, sku string) (cents int, err error) {
	var p Product
	err = c.Store.Get(ctx, "product", sku, &p)
	return p.Cents, err
}

// Report returns the result of an import, or not_found while its lines are imported.
//
//af:method idempotent
func (c *Catalog) Report(ctx context.Context, file string) (r Report, err error) {
	err = c.Store.Get(ctx, "report", file, &r)
	return r, err
}
