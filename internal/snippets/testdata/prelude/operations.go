package prelude

var (
	yesterday time.Time
	err       error
	fixed     json.RawMessage
)
