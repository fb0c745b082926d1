// Package invoices writes invoices, and each night a statement for each tenant.
package invoices

import (
	"context"
	"fmt"

	"github.com/afgen/afgen/examples/orders/store"
	"github.com/afgen/afgen/examples/orders/tenant"
	af "github.com/afgen/afgen/runtime"
)

//go:generate go tool afgen .

// Bill is what an invoice is about.
type Bill struct {
	Order string `json:"order"`
	Cents int    `json:"cents"`
}

// Invoice writes invoices.
//
//af:worker max=4 retries=5 backoff=2s timeout=30s
type Invoice struct{ Store store.Store }

// Run writes the invoice of a paid order.
func (i *Invoice) Run(ctx context.Context, b Bill) (text string, err error) {
	if err := i.Store.Put(ctx, "invoice", b.Order, b); err != nil {
		return "", err
	}
	return fmt.Sprintf("Order %s: %d.%02d, paid.", b.Order, b.Cents/100, b.Cents%100), nil
}

// Night is the payload of statements.
type Night struct{}

// Statement adds up the invoices of all tenants each night. If a night was missed because no process ran, it runs once
// when one does.
//
//af:worker retries=3 timeout=10m
//af:schedule id=statements cron="30 1 * * *" tz=Europe/Berlin missed=once overlap=skip
type Statement struct {
	Store   store.Store
	Tenants []string
}

// Run returns the sum of each tenant in cents.
func (s *Statement) Run(ctx context.Context, _ Night) (map[string]int, error) {
	sums := map[string]int{}
	for _, name := range s.Tenants {
		ctx := tenant.With(ctx, name) // the job runs for none
		orders, err := s.Store.Keys(ctx, "invoice")
		if err != nil {
			return nil, err
		}
		for _, order := range orders {
			var b Bill
			if err := s.Store.Get(ctx, "invoice", order, &b); err != nil {
				return nil, err
			}
			sums[name] += b.Cents
		}
	}
	af.LoggerFrom(ctx).Info("statements written", "tenants", len(sums))
	return sums, nil
}
