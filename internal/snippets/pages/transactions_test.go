package pages

import (
	"context"
	"database/sql"
	"encoding/json"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite"

	"github.com/afgen/afgen/internal/snippets/shop"
	af "github.com/afgen/afgen/runtime"
)

// Stock keeps what is in store.
type Stock struct{ DB *sql.DB }

// placeOrder stores an order and, in the outbox, that its receipt is due.
func placeOrder(ctx context.Context, db *sql.DB, id string, order shop.Order) error {
	payload, err := json.Marshal(order)
	if err != nil {
		return err
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // has no effect after Commit
	_, err = tx.ExecContext(ctx, `INSERT INTO orders (id, item, count) VALUES ($1, $2, $3)`, id, order.Item, order.Count)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, `INSERT INTO outbox (id, payload) VALUES ($1, $2)`, "receipt-"+id, payload)
	if err != nil {
		return err
	}
	return tx.Commit()
}

// relay submits what is in the outbox, at most 100 rows, and returns how many it has submitted.
func relay(ctx context.Context, db *sql.DB, receipts *shop.ReceiptQueue) (int, error) {
	rows, err := db.QueryContext(ctx, `SELECT id, payload FROM outbox ORDER BY id LIMIT 100`)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	type row struct {
		id    string
		order shop.Order
	}
	var due []row
	for rows.Next() {
		var r row
		var payload []byte
		if err := rows.Scan(&r.id, &payload); err != nil {
			return 0, err
		}
		if err := json.Unmarshal(payload, &r.order); err != nil {
			return 0, err
		}
		due = append(due, r)
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	for i, r := range due {
		if _, err := receipts.Submit(ctx, r.order, af.TaskID(r.id)); err != nil {
			return i, err
		}
		if _, err := db.ExecContext(ctx, `DELETE FROM outbox WHERE id = $1`, r.id); err != nil {
			return i, err
		}
	}
	return len(due), nil
}

func (s *Stock) Run(ctx context.Context, order shop.Order) error {
	tx, err := s.DB.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback()
	done, err := tx.ExecContext(ctx, `INSERT INTO done (task) VALUES ($1) ON CONFLICT DO NOTHING`, af.TaskFrom(ctx).ID)
	if err != nil {
		return err
	}
	if n, err := done.RowsAffected(); n == 0 || err != nil {
		return err // an earlier attempt has done it
	}
	_, err = tx.ExecContext(ctx, `UPDATE stock SET count = count - $1 WHERE item = $2`, order.Count, order.Item)
	if err != nil {
		return err
	}
	return tx.Commit()
}

func TestOutbox(t *testing.T) {
	compare(t, "transactions.md", "transactions_test.go", "// placeOrder", "// relay", "func (s *Stock)")
	app, db := open(t), database(t)
	receipts := shop.NewReceiptQueue(app)
	order := shop.Order{Item: "tea", Count: 2}
	if err := placeOrder(t.Context(), db, "1", order); err != nil {
		t.Fatal(err)
	}
	if err := placeOrder(t.Context(), db, "1", order); err == nil {
		t.Error("an order was placed twice")
	}
	// A relay that died after it had submitted the task.
	if _, err := receipts.Submit(t.Context(), order, af.TaskID("receipt-1")); err != nil {
		t.Fatal(err)
	}
	for _, want := range []int{1, 0} {
		if n, err := relay(t.Context(), db, receipts); n != want || err != nil {
			t.Errorf("relay: %d, %v", n, err)
		}
	}
	if text, err := receipts.Wait(t.Context(), "receipt-1"); text != "2 × tea: 5.00" || err != nil {
		t.Errorf("%q, %v", text, err)
	}
	if page, err := app.Tasks(t.Context(), af.TaskQuery{}); page.Total != 1 || err != nil {
		t.Errorf("%d tasks, %v", page.Total, err)
	}
}

// twice runs the work of its tasks twice, as if the first attempt had died before its result was stored.
type twice struct{ *Stock }

func (w *twice) Run(ctx context.Context, order shop.Order) error {
	if err := w.Stock.Run(ctx, order); err != nil {
		return err
	}
	return w.Stock.Run(ctx, order)
}

func TestEffectHappensOnce(t *testing.T) {
	db := database(t)
	worker := af.Worker{Name: "stock", Max: 1}
	app := open(t, func(app *af.App) { af.RegisterVoidWorker(app, worker, &twice{&Stock{db}}) })
	queue := af.NewVoidQueue[shop.Order](app, worker)
	id, err := queue.Submit(t.Context(), shop.Order{Item: "tea", Count: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := queue.Wait(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	var count int
	if err := db.QueryRowContext(t.Context(), `SELECT count FROM stock`).Scan(&count); count != 7 || err != nil {
		t.Errorf("%d left, %v, want 7", count, err)
	}
}

func database(t *testing.T) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite", filepath.Join(t.TempDir(), "shop.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	_, err = db.ExecContext(t.Context(), `CREATE TABLE orders (id TEXT PRIMARY KEY, item TEXT, count INTEGER);
		CREATE TABLE outbox (id TEXT PRIMARY KEY, payload BLOB);
		CREATE TABLE done (task TEXT PRIMARY KEY);
		CREATE TABLE stock (item TEXT PRIMARY KEY, count INTEGER);
		INSERT INTO stock VALUES ('tea', 10)`)
	if err != nil {
		t.Fatal(err)
	}
	return db
}
