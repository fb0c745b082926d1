package prelude

type Mailer interface {
	Send(ctx context.Context, order shop.Order) (string, error)
}

var (
	err         error
	page        af.TaskPage
	rec         *aftest.Recorder
	reports     *shop.ReportQueue
	t           *testing.T
	traceparent string
)
