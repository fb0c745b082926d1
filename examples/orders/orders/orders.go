// Package orders accepts orders and fulfils them.
package orders

import (
	"context"
	"errors"

	"github.com/afgen/afgen/examples/orders/catalog"
	"github.com/afgen/afgen/examples/orders/invoices"
	"github.com/afgen/afgen/examples/orders/payments"
	"github.com/afgen/afgen/examples/orders/tenant"
	af "github.com/afgen/afgen/runtime"
)

//go:generate go tool afgen .

// Order is an order as a customer sends it.
type Order struct {
	Number string         `json:"number"`
	Items  map[string]int `json:"items"` // from SKU to count
}

// Priced is an accepted order.
type Priced struct {
	Order Order `json:"order"`
	Cents int   `json:"cents"`
}

// Orders accepts orders.
//
//af:rpc timeout=10s
type Orders struct {
	Catalog catalog.CatalogAPI
	Fulfil  *FulfilQueue
}

// Place prices an order and submits the task that fulfils it. The task's ID is made from the order's number, so an
// order that is placed twice is fulfilled once.
//
//af:method idempotent
func (o *Orders) Place(ctx context.Context, order Order) (task string, err error) {
	if order.Number == "" || len(order.Items) == 0 {
		return "", af.Errorf(af.ErrInvalidArgument, "an order needs a number and items")
	}
	priced := Priced{Order: order}
	for sku, count := range order.Items {
		cents, err := o.Catalog.Price(ctx, sku)
		if err != nil {
			return "", err
		}
		priced.Cents += count * cents
	}
	id, err := tenant.Key(ctx, "order", order.Number)
	if err != nil {
		return "", err
	}
	return o.Fulfil.Submit(ctx, priced, af.TaskID(id))
}

// Step is the progress of an order.
type Step string

const (
	Charging  Step = "charging"
	Invoicing Step = "invoicing"
)

// Fulfilled is the result of an order.
type Fulfilled struct {
	Receipt payments.Receipt `json:"receipt"`
	Invoice string           `json:"invoice"` // the task that writes it
}

// Fulfil fulfils orders.
//
//af:worker max=8 retries=5 backoff=2s timeout=1m
type Fulfil struct {
	Payments payments.PaymentsAPI
	Invoices *invoices.InvoiceQueue
}

// Run charges the customer and has the invoice written. Each step may be repeated.
func (f *Fulfil) Run(ctx context.Context, p Priced) (done Fulfilled, err error) {
	task := af.TaskFrom(ctx)
	if err := task.Progress(ctx, Charging); err != nil {
		return done, err
	}
	done.Receipt, err = f.Payments.Charge(ctx, p.Order.Number, p.Cents)
	if errors.Is(err, af.ErrFailedPrecondition) {
		return done, af.Permanent(err) // declined; other errors are retried
	}
	if err != nil {
		return done, err
	}
	if err := task.Progress(ctx, Invoicing); err != nil {
		return done, err
	}
	id, err := tenant.Key(ctx, "invoice", p.Order.Number)
	if err != nil {
		return done, err
	}
	done.Invoice, err = f.Invoices.Submit(ctx, invoices.Bill{Order: p.Order.Number, Cents: p.Cents}, af.TaskID(id))
	return done, err
}
