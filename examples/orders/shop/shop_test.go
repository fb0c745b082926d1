package shop_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/examples/orders/catalog"
	"github.com/afgen/afgen/examples/orders/orders"
	"github.com/afgen/afgen/examples/orders/payments"
	"github.com/afgen/afgen/examples/orders/shop"
	"github.com/afgen/afgen/examples/orders/store"
	"github.com/afgen/afgen/examples/orders/tenant"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/aftest"
)

var tokens = map[string]string{"s3cret": "acme", "t0psecret": "globex"}

// run tests the whole shop in one App, in virtual time. send sends a request and returns the status and the body.
func run(t *testing.T, test func(t *testing.T, app *af.App, send func(token, request, body string) (int, string))) {
	aftest.Run(t, func(t *testing.T, app *af.App) {
		shop.Register(app, store.Store{Dir: t.TempDir()}, []string{"acme", "globex"})
		if err := app.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		routes := shop.Routes(app, tokens)
		test(t, app, func(token, request, body string) (int, string) {
			method, url, _ := strings.Cut(request, " ")
			r := httptest.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
			r.Header.Set("Authorization", "Bearer "+token)
			w := httptest.NewRecorder()
			routes.ServeHTTP(w, r)
			return w.Code, w.Body.String()
		})
	}, shop.Options()...)
}

// wait waits for a task and returns it.
func wait(t *testing.T, app *af.App, id string) af.Task {
	t.Helper()
	task, err := app.WaitTask(t.Context(), id)
	if err != nil {
		t.Fatalf("task %s: %v", id, err)
	}
	return task
}

// imported waits for an import and its lines.
func imported(t *testing.T, app *af.App, id string) {
	t.Helper()
	if task := wait(t, app, id); task.Status != af.StatusSuccess {
		t.Fatalf("import %s: %+v", id, task.Error)
	}
	tree, err := app.WaitTree(t.Context(), id)
	if err != nil || tree.Done == nil || tree.Done.Status != af.StatusSuccess {
		t.Fatalf("import %s: %v, %v", id, tree, err)
	}
}

func TestOrderIsChargedAndInvoiced(t *testing.T) {
	run(t, func(t *testing.T, app *af.App, send func(token, request, body string) (int, string)) {
		status, body := send("s3cret", "POST /imports/spring", "tea,250\ncoffee,320\n")
		if status != http.StatusAccepted {
			t.Fatalf("import: %d %s", status, body)
		}
		imported(t, app, "acme/import/spring")

		const order = `{"number": "7", "items": {"tea": 2, "coffee": 1}}`
		for range 2 { // a repeated request doesn't order twice
			status, body = send("s3cret", "POST /orders", order)
			if status != http.StatusAccepted || body != `{"task":"acme/order/7"}`+"\n" {
				t.Fatalf("order: %d %s", status, body)
			}
		}
		wait(t, app, "acme/order/7")
		_, body = send("s3cret", "GET /tasks/acme/order/7", "")
		want := `{"status":"success","progress":"invoicing","result":{"receipt":{"order":"7","cents":820},` +
			`"invoice":"acme/invoice/7"}}` + "\n"
		if body != want {
			t.Errorf("order: %s, want %s", body, want)
		}
		if invoice := wait(t, app, "acme/invoice/7"); string(invoice.Result) != `"Order 7: 8.20, paid."` {
			t.Errorf("invoice %s, %v", invoice.Result, invoice.Error)
		}
	})
}

func TestTenantsSeeOnlyTheirOwn(t *testing.T) {
	run(t, func(t *testing.T, app *af.App, send func(token, request, body string) (int, string)) {
		send("s3cret", "POST /imports/spring", "tea,250\n")
		imported(t, app, "acme/import/spring")
		for request, want := range map[string]int{
			"GET /imports/spring":              http.StatusNotFound,
			"GET /tasks/acme/import/spring":    http.StatusNotFound,
			"DELETE /tasks/acme/import/spring": http.StatusNotFound,
		} {
			if status, body := send("t0psecret", request, ""); status != want {
				t.Errorf("%s of another tenant: %d %s", request, status, body)
			}
			if status, _ := send("guessed", request, ""); status != http.StatusUnauthorized {
				t.Errorf("%s without a token: %d", request, status)
			}
		}
		status, body := send("t0psecret", "POST /orders", `{"number": "1", "items": {"tea": 1}}`)
		if status != http.StatusNotFound {
			t.Errorf("order of another tenant's product: %d %s", status, body)
		}
		_, err := catalog.NewCatalogClient(app).Price(t.Context(), "tea")
		if af.CodeOf(err) != af.ErrUnauthenticated {
			t.Errorf("a call without a tenant: %v", err)
		}
		for _, id := range []string{"acme/import/spring", "acme/import/spring/done"} {
			if task, err := app.GetTask(t.Context(), id); err != nil || task.Metadata["tenant"] != "acme" {
				t.Errorf("%s: %v, %v", id, task.Metadata, err)
			}
		}
		_, err = catalog.NewImportQueue(app).Submit(t.Context(), catalog.File{})
		if af.CodeOf(err) != af.ErrUnauthenticated {
			t.Errorf("a task without a tenant: %v", err)
		}
	})
}

// flaky is unavailable at first, and then declines charges.
type flaky struct{ failures int }

func (f *flaky) Charge(context.Context, string, int) (payments.Receipt, error) {
	if f.failures > 0 {
		f.failures--
		return payments.Receipt{}, af.Errorf(af.ErrUnavailable, "no answer")
	}
	return payments.Receipt{}, af.Errorf(af.ErrFailedPrecondition, "declined")
}

// The five pauses between the attempts take a minute of virtual time.
func TestPaymentIsRetriedUnlessDeclined(t *testing.T) {
	aftest.Run(t, func(t *testing.T, app *af.App) {
		orders.RegisterFulfil(app, &orders.Fulfil{Payments: &flaky{failures: 5}})
		if err := app.Start(t.Context()); err != nil {
			t.Fatal(err)
		}
		id, err := orders.NewFulfilQueue(app).Submit(tenant.With(t.Context(), "acme"), orders.Priced{Cents: 1})
		if err != nil {
			t.Fatal(err)
		}
		task := wait(t, app, id)
		if task.Attempt != 6 || task.Error.Code != af.ErrFailedPrecondition {
			t.Errorf("%d attempts, %v; want 5 failures, then the charge is declined", task.Attempt, task.Error)
		}
	})
}

// csv returns a file of n lines, of which each hundredth is wrong.
func csv(n int) string {
	var b strings.Builder
	for i := 1; i <= n; i++ {
		cents := 100 + i
		if i%100 == 0 {
			cents = 0
		}
		fmt.Fprintf(&b, "sku-%d,%d\n", i, cents)
	}
	return b.String()
}

func TestImportOfThousandLines(t *testing.T) {
	run(t, func(t *testing.T, app *af.App, send func(token, request, body string) (int, string)) {
		send("s3cret", "POST /imports/big", csv(1000))
		imported(t, app, "acme/import/big")
		_, body := send("s3cret", "GET /imports/big", "")
		var report catalog.Report
		if err := json.Unmarshal([]byte(body), &report); err != nil {
			t.Fatal(err)
		}
		if report.Imported != 990 || report.Refused != 10 || len(report.Errors) != 10 {
			t.Errorf("report %+v", report)
		}
		ctx := tenant.With(t.Context(), "acme")
		cents, err := catalog.NewCatalogClient(app).Price(ctx, "sku-999")
		if cents != 1099 || err != nil {
			t.Errorf("sku-999: %d, %v", cents, err)
		}
		if task, err := app.GetTask(t.Context(), "acme/import/big"); err != nil || task.Attempt != 1 ||
			string(task.Progress) != `"1000 lines read"` || task.Subtasks.Total != 1000 {
			t.Errorf("%+v, %v", task, err)
		}
		if status, body := send("s3cret", "POST /imports/wrong", `one,"two`); status != http.StatusAccepted {
			t.Errorf("an import is read later: %d %s", status, body)
		}
		if task := wait(t, app, "acme/import/wrong"); task.Status != af.StatusFailed || task.Attempt != 1 {
			t.Errorf("a wrong file: %s after %d attempts", task.Status, task.Attempt)
		}
	})
}

func TestImportIsUniqueAndStops(t *testing.T) {
	run(t, func(t *testing.T, app *af.App, send func(token, request, body string) (int, string)) {
		if err := app.PauseQueue(t.Context(), "import"); err != nil {
			t.Fatal(err)
		}
		send("s3cret", "POST /imports/a", csv(10))
		status, body := send("s3cret", "POST /imports/b", csv(10))
		if status != http.StatusConflict || !strings.Contains(body, "acme/import/a has not ended") {
			t.Errorf("a second import: %d %s", status, body)
		}
		if status, _ := send("t0psecret", "POST /imports/b", csv(10)); status != http.StatusAccepted {
			t.Errorf("an import of another tenant: %d", status)
		}
		if err := app.PauseQueue(t.Context(), "import_line"); err != nil {
			t.Fatal(err)
		}
		if err := app.ResumeQueue(t.Context(), "import"); err != nil {
			t.Fatal(err)
		}
		wait(t, app, "acme/import/a")
		if status, body := send("s3cret", "DELETE /tasks/acme/import/a", ""); status != http.StatusAccepted {
			t.Errorf("stop: %d %s", status, body)
		}
		imported(t, app, "acme/import/a")
		_, body = send("s3cret", "GET /imports/a", "")
		if !strings.HasPrefix(body, `{"imported":0,"refused":10`) {
			t.Errorf("report of a stopped import: %s", body)
		}
	})
}

func TestStatementEachNight(t *testing.T) {
	run(t, func(t *testing.T, app *af.App, send func(token, request, body string) (int, string)) {
		for _, token := range []string{"s3cret", "t0psecret"} {
			send(token, "POST /imports/spring", "tea,250\n")
			imported(t, app, tokens[token]+"/import/spring")
			send(token, "POST /orders", `{"number": "1", "items": {"tea": 3}}`)
			wait(t, app, tokens[token]+"/order/1")
		}
		time.Sleep(31 * time.Minute) // from 1:00 in Berlin
		fires, err := app.Fires(t.Context(), af.FireQuery{Job: "statements"})
		if err != nil || len(fires.Fires) != 1 {
			t.Fatalf("fires %+v, %v", fires.Fires, err)
		}
		sums, err := af.ResultOf[map[string]int](wait(t, app, fires.Fires[0].TaskID))
		if err != nil || sums["acme"] != 750 || sums["globex"] != 750 {
			t.Errorf("sums %v, %v", sums, err)
		}
	})
}

func TestThumbnail(t *testing.T) {
	run(t, func(t *testing.T, app *af.App, send func(token, request, body string) (int, string)) {
		status, body := send("s3cret", "POST /thumbnails?width=10", picture(t))
		thumb, err := png.Decode(strings.NewReader(body))
		if status != http.StatusOK || err != nil || thumb.Bounds().Size() != image.Pt(10, 20) {
			t.Errorf("thumbnail: %d, %v", status, err)
		}
		if status, body := send("s3cret", "POST /thumbnails?width=10", "GIF89a"); status != http.StatusBadRequest {
			t.Errorf("not a PNG: %d %s", status, body)
		}
	})
}

// picture returns a PNG of 100 × 200.
func picture(t *testing.T) string {
	var b bytes.Buffer
	if err := png.Encode(&b, image.NewGray(image.Rect(0, 0, 100, 200))); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
