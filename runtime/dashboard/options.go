package dashboard

import (
	"encoding/json"
	"net/http"
	"path"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/admin"
)

// An Option changes what [Handler] serves.
type Option func(*options)

type options struct {
	prefix    string // "" or /ops
	authorize func(*http.Request) (admin.User, error)
	redact    func(queue string, value json.RawMessage) json.RawMessage
	traceLink string
	operator  string
	now       func() time.Time
	// noRights tells a user who may change nothing why; "" means that Authorize decides.
	noRights func() string
}

// Prefix is the path at which the handler is mounted, such as /ops. The handler removes it from the paths of requests:
// don't use [http.StripPrefix]. The default is the root.
func Prefix(p string) Option {
	return func(o *options) { o.prefix = strings.TrimSuffix(path.Clean("/"+p), "/") }
}

// Authorize sets the function that returns who makes a request. Its error refuses the request:
// [af.ErrUnauthenticated] with 401, [af.ErrPermissionDenied] with 403. It is called for every request, also for the
// stream of events, and must be safe for concurrent use. adminhttp.Anyone allows everything to everyone.
//
// Without this option every request is refused.
func Authorize(f func(*http.Request) (admin.User, error)) Option {
	return func(o *options) { o.authorize = f }
}

// RedactPayload sets a function that returns what viewers see of a payload, a result, the progress or the details of an
// error of a task of a queue, whatever their rights. For the result of a call, or the details of its error, queue is the
// service and the method, such as calc.Div. The function may return nil, and must not modify value. With this option
// tasks can't be filtered by their payloads. Messages, logs and metadata are shown as they are.
func RedactPayload(f func(queue string, value json.RawMessage) json.RawMessage) Option {
	return func(o *options) { o.redact = f }
}

// TraceLink is the address of a trace in another system, such as https://traces.example.com/trace/{trace}. {trace} is
// replaced by the trace id of a task or of one of its attempts, 32 hexadecimal digits.
func TraceLink(url string) Option {
	return func(o *options) { o.traceLink = url }
}

// Operator is the name of those who have the token of a [Listener], in the audit log. The default is the user who runs
// the process. With [Authorize] it has no effect.
func Operator(name string) Option {
	return func(o *options) { o.operator = name }
}

// Clock sets the time to which the relative times on pages refer. The default is [time.Now]. It is for pages that show
// what is not of now, such as pictures.
func Clock(now func() time.Time) Option {
	return func(o *options) { o.now = now }
}
