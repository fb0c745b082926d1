package httpstatus

import (
	"encoding/json"
	"io"
	"mime"
	"net/http"
	"strconv"

	"github.com/afgen/afgen/runtime/backend"
)

// maxBody is the size of the largest body that Read parses.
const maxBody = 256 << 10

// Read returns the error of a response, as an [*backend.Error], or nil if its status is below 400. Then the body is not
// touched. The caller closes the body in either case.
//
// The body is read if it is problem details of [Write], or JSON with the members code and message as of Connect. Read
// does not rely on it. The response's status is authoritative, so a code that has another status is replaced by that of
// [Code]. Members that are missing or of the wrong type are ignored. So is a body of more than 256 KiB or of another
// type, such as a proxy's page; then the error has the title of the status as its message. An error of reading the body
// is ignored as well.
//
// Without a known outcome, a client error counts as answered, and every other one as unknown.
func Read(resp *http.Response) error {
	if resp.StatusCode < http.StatusBadRequest && resp.StatusCode >= http.StatusContinue {
		return nil
	}
	e := &backend.Error{Code: Code(resp.StatusCode), Outcome: backend.OutcomeUnknown}
	s := resp.StatusCode
	if s >= http.StatusBadRequest && s < StatusClientClosedRequest && s != http.StatusRequestTimeout {
		e.Outcome = backend.OutcomeAnswered
	}
	members := object(resp)
	if code := backend.Code(member[string](members, "code")); Of(code) == resp.StatusCode && statuses[code] != 0 {
		e.Code = code
	}
	for outcome, name := range outcomes {
		if member[string](members, "outcome") == name {
			e.Outcome = outcome
		}
	}
	for _, name := range []string{"detail", "message", "title"} {
		if e.Message = cut(member[string](members, name)); e.Message != "" {
			break
		}
	}
	if e.Message == "" {
		e.Message = "HTTP status " + strconv.Itoa(resp.StatusCode) + " " + text(resp.StatusCode)
	}
	e.Details = detailsOf(members)
	return e
}

// object returns the members of a body of JSON, or nil.
func object(resp *http.Response) (members map[string]json.RawMessage) {
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != ContentType && kind != "application/json" || resp.Body == nil {
		return nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxBody+1))
	if err != nil || len(body) > maxBody || json.Unmarshal(body, &members) != nil {
		return nil
	}
	return members
}

// member returns the member of an object, or the zero value if it is missing or has another type.
func member[T any](members map[string]json.RawMessage, name string) T {
	var v, zero T
	if raw, ok := members[name]; !ok || json.Unmarshal(raw, &v) != nil {
		return zero
	}
	return v
}

// detailsOf returns the typed values of an error that have a type, unless they are too many or too large.
func detailsOf(members map[string]json.RawMessage) (details []backend.ErrorDetail) {
	all := member[[]json.RawMessage](members, "details")
	if len(all) > maxCount {
		return nil
	}
	for _, raw := range all {
		var d backend.ErrorDetail
		if json.Unmarshal(raw, &d) == nil && d.Type != "" && len(d.Value) > 0 {
			details = append(details, d)
		}
	}
	if size(details) > maxDetails {
		return nil
	}
	return details
}
