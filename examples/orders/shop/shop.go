// Package shop puts the packages of the example together: [Register] is the half that works, [Routes] the half that
// answers HTTP. A program has either or, as in the tests, both.
package shop

import (
	"github.com/afgen/afgen/examples/orders/catalog"
	"github.com/afgen/afgen/examples/orders/invoices"
	"github.com/afgen/afgen/examples/orders/orders"
	"github.com/afgen/afgen/examples/orders/payments"
	"github.com/afgen/afgen/examples/orders/store"
	"github.com/afgen/afgen/examples/orders/tenant"
	"github.com/afgen/afgen/examples/orders/thumbnails"
	af "github.com/afgen/afgen/runtime"
)

// Options returns the middleware that each program of the shop needs.
func Options() []af.AppOption {
	return []af.AppOption{
		af.ServerMiddleware(tenant.Server),
		af.WorkerMiddleware(tenant.Worker),
		af.SubmitMiddleware(tenant.Submit),
	}
}

// Register registers all services and workers. They use each other through clients and queues, so each of them could
// move to a program of its own.
func Register(app *af.App, db store.Store, tenants []string) {
	payments.RegisterPayments(app, &payments.Payments{Store: db})
	catalog.RegisterCatalog(app, &catalog.Catalog{Store: db})
	catalog.RegisterImport(app, &catalog.Import{Store: db, Lines: catalog.NewImportLineQueue(app)})
	catalog.RegisterImportLine(app, &catalog.ImportLine{Store: db})
	invoices.RegisterInvoice(app, &invoices.Invoice{Store: db})
	invoices.RegisterStatement(app, &invoices.Statement{Store: db, Tenants: tenants})
	thumbnails.RegisterThumbnail(app, &thumbnails.Thumbnail{})
	orders.RegisterOrders(app, &orders.Orders{
		Catalog: catalog.NewCatalogClient(app),
		Fulfil:  orders.NewFulfilQueue(app),
	})
	orders.RegisterFulfil(app, &orders.Fulfil{
		Payments: payments.NewPaymentsClient(app),
		Invoices: invoices.NewInvoiceQueue(app),
	})
}
