package prelude

type (
	Ship struct {
		App      *af.App
		DB       *mongo.Database
		Receipts *shop.ReceiptQueue
	}
	Mail   struct{}
	Placed struct {
		OrderID string
		At      time.Time
	}
	Stock struct{ DB *sql.DB }
)

func (m *Mail) load(ctx context.Context, id string) (shop.Order, error) { return shop.Order{}, nil }

func (m *Mail) send(ctx context.Context, order shop.Order) error { return nil }

var db *sql.DB
