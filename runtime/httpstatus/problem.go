package httpstatus

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
)

// ContentType is the media type of problem details.
const ContentType = "application/problem+json"

const (
	maxDetail  = 8 << 10  // bytes of a message
	maxDetails = 64 << 10 // bytes of all typed values, as in a call
	maxCount   = 100      // typed values that are read
)

// A Problem is an error as problem details of RFC 9457.
type Problem struct {
	Type      string                `json:"type"`  // a URI; about:blank if Title says everything
	Title     string                `json:"title"` // of Type
	Status    int                   `json:"status"`
	Detail    string                `json:"detail,omitempty"`   // for people; at most 8 KiB are written
	Instance  string                `json:"instance,omitempty"` // a URI of this occurrence
	Code      backend.Code          `json:"code"`
	Outcome   string                `json:"outcome"`   // answered, not_sent or unknown
	Retryable bool                  `json:"retryable"` // repeating the request is safe and may succeed
	Details   []backend.ErrorDetail `json:"details,omitempty"`
}

// ProblemOf returns err as the public may see it; see the package comment. A nil err counts as internal.
func ProblemOf(err error) Problem {
	p, _ := problemOf(err)
	return p
}

// problemOf is ProblemOf. hidden reports whether a text of err was omitted.
func problemOf(err error) (p Problem, hidden bool) {
	p = Problem{Type: "about:blank", Code: backend.CodeOf(err), Outcome: outcomes[backend.OutcomeUnknown]}
	if _, ok := statuses[p.Code]; !ok {
		p.Code = backend.ErrInternal
	}
	p.Status = Of(p.Code)
	p.Title = text(p.Status)
	e, coded := errors.AsType[*backend.Error](err)
	if !coded {
		return p, err != nil && err.Error() != string(p.Code)
	}
	p.Outcome, p.Retryable = outcomes[e.Outcome], retryable(e)
	if p.Outcome == "" {
		p.Outcome = outcomes[backend.OutcomeUnknown]
	}
	if internal(e) {
		return p, e.Message != "" || len(e.Details) > 0
	}
	p.Detail, p.Details = e.Message, e.Details
	return p, false
}

// outcomes are the outcomes by their names in a body.
var outcomes = map[backend.Outcome]string{
	backend.OutcomeUnknown: "unknown", backend.OutcomeNotSent: "not_sent", backend.OutcomeAnswered: "answered",
}

// internal reports whether the text of an error describes the system: it may have addresses, paths and users.
func internal(e *backend.Error) bool {
	switch e.Code {
	case backend.ErrInvalidArgument, backend.ErrNotFound, backend.ErrAlreadyExists, backend.ErrOutOfRange,
		backend.ErrAborted:
		return false
	case backend.ErrFailedPrecondition, backend.ErrPermissionDenied, backend.ErrResourceExhausted,
		backend.ErrUnauthenticated:
		return e.Outcome == backend.OutcomeNotSent // of the runtime or a server, not of a handler
	}
	return true
}

// retryable reports whether the operation was not begun and may succeed later.
func retryable(e *backend.Error) bool {
	switch e.Code {
	case backend.ErrUnavailable, backend.ErrDeadlineExceeded, backend.ErrResourceExhausted, backend.ErrAborted:
		return e.Outcome == backend.OutcomeNotSent
	}
	return false
}

// Write writes err as the response to r: its status, and [ProblemOf] err as the body. It logs a text that the client
// doesn't see, to slog.Default with r's context. Nothing must have been written to w. Headers that are set before, such
// as WWW-Authenticate, are kept.
func Write(w http.ResponseWriter, r *http.Request, err error) {
	p, hidden := problemOf(err)
	if hidden {
		level := slog.LevelError
		switch p.Code {
		case backend.ErrCanceled:
			level = slog.LevelDebug // the client has gone
		case backend.ErrUnavailable, backend.ErrDeadlineExceeded:
			level = slog.LevelWarn
		}
		slog.Log(r.Context(), level, "request failed", "method", r.Method, "path", r.URL.Path, "status", p.Status,
			"error", err)
	}
	p.Write(w)
}

// Write writes p as a response. If Status is not an error's, the code's is used. Too long a Detail is cut, and Details
// of more than 64 KiB are omitted. An error of writing means that the client has gone, and is ignored.
func (p Problem) Write(w http.ResponseWriter) {
	if p.Status < http.StatusBadRequest || p.Status > 599 {
		if p.Status = Of(p.Code); p.Status < http.StatusBadRequest {
			p.Status = http.StatusInternalServerError
		}
	}
	p.Detail = cut(p.Detail)
	if size(p.Details) > maxDetails {
		p.Details = nil
	}
	body, err := json.Marshal(p)
	if err != nil { // a detail's value isn't JSON
		p.Details = nil
		body, _ = json.Marshal(p) // texts and numbers
	}
	h := w.Header()
	h.Set("Content-Type", ContentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Del("Content-Length") // of another body
	if p.Retryable && h.Get("Retry-After") == "" {
		h.Set("Retry-After", "1")
	}
	w.WriteHeader(p.Status)
	_, _ = w.Write(append(body, '\n')) // net/http sends none in response to HEAD
}

// cut returns valid UTF-8 of at most maxDetail bytes.
func cut(s string) string {
	s = strings.ToValidUTF8(s[:min(len(s), maxDetail)], "\uFFFD")
	if len(s) > maxDetail {
		s = strings.ToValidUTF8(s[:maxDetail], "") // replacing has made it longer
	}
	return s
}

// size returns the number of bytes of typed values.
func size(details []backend.ErrorDetail) (n int) {
	for _, d := range details {
		n += len(d.Type) + len(d.Value)
	}
	return n
}
