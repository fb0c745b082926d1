package shop_test

import (
	"errors"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/aftest"

	"github.com/afgen/afgen/internal/snippets/shop"
)

func TestShop(t *testing.T) {
	aftest.Run(t, func(t *testing.T, app *af.App) {
		shop.RegisterShop(app, &shop.Shop{})
		shop.RegisterReceipt(app, &shop.Receipt{Shop: shop.NewShopClient(app)})
		if err := app.Start(t.Context()); err != nil {
			t.Fatal(err)
		}

		client := shop.NewShopClient(app)
		if _, err := client.Price(t.Context(), shop.Order{Item: "milk", Count: 1}); !errors.Is(err, af.ErrNotFound) {
			t.Errorf("got %v, want not_found", err)
		}

		receipts := shop.NewReceiptQueue(app)
		id, err := receipts.Submit(t.Context(), shop.Order{Item: "tea", Count: 3})
		if err != nil {
			t.Fatal(err)
		}
		text, err := receipts.Wait(t.Context(), id)
		if want := "3 × tea: 7.50"; text != want || err != nil {
			t.Errorf("got %q, %v, want %q", text, err, want)
		}
	})
}
