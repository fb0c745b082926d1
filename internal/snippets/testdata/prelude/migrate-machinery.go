package prelude

type (
	Mailer interface {
		Send(ctx context.Context, order shop.Order) (string, error)
	}
	Pack struct{ Receipts *shop.ReceiptQueue }
)

func (p *Pack) pack(ctx context.Context, order shop.Order) error { return nil }

var (
	err         error
	reports     *shop.ReportQueue
	traceparent string
)
