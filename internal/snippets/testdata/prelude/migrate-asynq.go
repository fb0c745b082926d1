package prelude

type Mailer interface {
	Send(ctx context.Context, order shop.Order) (string, error)
}

var (
	err         error
	reports     *shop.ReportQueue
	traceparent string
)
