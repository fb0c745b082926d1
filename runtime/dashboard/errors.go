package dashboard

import (
	"errors"
	"net/http"
	"strconv"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/httpstatus"
)

// maxForm is the limit of the body of a form: a payload of 16 MiB, and what its encoding adds at worst.
const maxForm = 50 << 20

// parseForm reads the form of a request.
func parseForm(w http.ResponseWriter, r *http.Request) error {
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			return af.Errorf(af.ErrResourceExhausted, "the form exceeds %d bytes", maxForm).With(af.OutcomeNotSent)
		}
		return af.Errorf(af.ErrInvalidArgument, "reading the form: %w", err).With(af.OutcomeNotSent)
	}
	return nil
}

// An errorPage is the data of the page of an error.
type errorPage struct {
	frame
	Code, Head, Message string
	Why                 string // the user may not do it
	Back, BackText      string
}

// fail answers with the page of an error.
func (s *server) fail(w http.ResponseWriter, r *http.Request, user admin.User, err error) {
	status := httpstatus.Of(af.CodeOf(err))
	if r.Context().Err() != nil { // the client has gone
		return
	}
	if err := s.failPage(w, user, status, err); err != nil { // a fault in the page of errors
		http.Error(w, messageOf(err), http.StatusInternalServerError)
	}
}

// failWith answers with a page that explains a status in a sentence of its own.
func (s *server) failWith(w http.ResponseWriter, user admin.User, status int, text string) error {
	return s.failPage(w, user, status, errors.New(text))
}

func (s *server) failPage(w http.ResponseWriter, user admin.User, status int, err error) error {
	p := errorPage{Code: strconv.Itoa(status), Message: messageOf(err), Back: backOf(err), BackText: "Back",
		Head: heads[status]}
	if p.Head == "" {
		p.Head = "That did not work"
	}
	if p.Back == "" {
		p.Back, p.BackText = s.link(), "Overview"
	}
	if status == http.StatusServiceUnavailable {
		p.Message += " Reload the page to try again."
	}
	v := &viewer{server: s, user: user, now: s.now()}
	p.frame = frame{viewer: v, Title: p.Head}
	if status == http.StatusForbidden && v.Can("Overview") { // a user who may read, so one who is known
		p.Why = v.Hint()
	}
	return s.render(w, status, "error", &p)
}

var heads = map[int]string{
	http.StatusUnauthorized:          "Sign in first",
	http.StatusForbidden:             "You may not do this",
	http.StatusNotFound:              "Not found",
	http.StatusMethodNotAllowed:      "Not supported here",
	http.StatusBadRequest:            "That was not understood",
	http.StatusConflict:              "The state does not allow it",
	http.StatusRequestEntityTooLarge: "Too large",
	http.StatusServiceUnavailable:    "The system does not answer",
	http.StatusGatewayTimeout:        "The system did not answer in time",
}

// messageOf returns an error's text. Its reader operates the system, so nothing is hidden.
func messageOf(err error) string {
	if e, ok := errors.AsType[*af.Error](err); ok && e.Message != "" {
		return e.Message
	}
	return err.Error()
}
