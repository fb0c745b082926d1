// Package httpstatus maps the codes of errors to HTTP statuses and back, and carries errors over HTTP as problem
// details (RFC 9457). A server in front of services writes them:
//
//	price, err := client.Price(r.Context(), order)
//	if err != nil {
//		httpstatus.Write(w, r, err)
//		return
//	}
//
// and its clients read them:
//
//	resp, err := http.DefaultClient.Do(req)
//	…
//	if err := httpstatus.Read(resp); errors.Is(err, af.ErrNotFound) { … }
//
// # Statuses
//
// [Of] has the mapping of Connect and of gRPC gateways. Several codes share a status, so [Code] is not its inverse; the
// member code of the body has the code itself.
//
// # Bodies
//
// A body has the type application/problem+json and the members type, title, status and detail of the RFC, and:
//
//	code       the error's code, such as not_found
//	outcome    not_sent: the operation was not begun; answered: the error is its answer; unknown
//	retryable  whether repeating the request is safe and may succeed
//	details    typed values, as attached by af.NewError
//
// # What clients see
//
// The public reads these bodies. Only the message and the details of an [*backend.Error] are sent, never the text
// around it or another error's. They are also omitted if they describe the system and not the request: for all statuses
// from 499, and if the runtime refused to begin the operation because of a permission, a limit or a state. [Write] logs
// what it omits. A program that decides otherwise changes the [Problem].
package httpstatus

import (
	"net/http"

	"github.com/afgen/afgen/runtime/backend"
)

// StatusClientClosedRequest is the status of canceled requests. It isn't registered; the client has gone.
const StatusClientClosedRequest = 499

// statuses are the statuses of the codes.
var statuses = map[backend.Code]int{
	backend.ErrCanceled:           StatusClientClosedRequest,
	backend.ErrUnknown:            http.StatusInternalServerError,
	backend.ErrInvalidArgument:    http.StatusBadRequest,
	backend.ErrDeadlineExceeded:   http.StatusGatewayTimeout,
	backend.ErrNotFound:           http.StatusNotFound,
	backend.ErrAlreadyExists:      http.StatusConflict,
	backend.ErrPermissionDenied:   http.StatusForbidden,
	backend.ErrResourceExhausted:  http.StatusTooManyRequests,
	backend.ErrFailedPrecondition: http.StatusBadRequest,
	backend.ErrAborted:            http.StatusConflict,
	backend.ErrOutOfRange:         http.StatusBadRequest,
	backend.ErrUnimplemented:      http.StatusNotImplemented,
	backend.ErrInternal:           http.StatusInternalServerError,
	backend.ErrUnavailable:        http.StatusServiceUnavailable,
	backend.ErrDataLoss:           http.StatusInternalServerError,
	backend.ErrUnauthenticated:    http.StatusUnauthorized,
}

// Of returns the HTTP status of a code: 200 for "", and 500 for a code that doesn't exist.
func Of(code backend.Code) int {
	if code == "" {
		return http.StatusOK
	}
	if status, ok := statuses[code]; ok {
		return status
	}
	return http.StatusInternalServerError
}

// codes are the codes of statuses that have one, also of those that Of doesn't return.
var codes = map[int]backend.Code{
	http.StatusUnauthorized:                 backend.ErrUnauthenticated,
	http.StatusForbidden:                    backend.ErrPermissionDenied,
	http.StatusNotFound:                     backend.ErrNotFound,
	http.StatusMethodNotAllowed:             backend.ErrUnimplemented,
	http.StatusRequestTimeout:               backend.ErrDeadlineExceeded,
	http.StatusConflict:                     backend.ErrAborted,
	http.StatusGone:                         backend.ErrNotFound,
	http.StatusPreconditionFailed:           backend.ErrFailedPrecondition,
	http.StatusRequestEntityTooLarge:        backend.ErrResourceExhausted,
	http.StatusRequestedRangeNotSatisfiable: backend.ErrOutOfRange,
	http.StatusLocked:                       backend.ErrFailedPrecondition,
	http.StatusPreconditionRequired:         backend.ErrFailedPrecondition,
	http.StatusTooManyRequests:              backend.ErrResourceExhausted,
	StatusClientClosedRequest:               backend.ErrCanceled,
	http.StatusInternalServerError:          backend.ErrInternal,
	http.StatusNotImplemented:               backend.ErrUnimplemented,
	http.StatusBadGateway:                   backend.ErrUnavailable,
	http.StatusServiceUnavailable:           backend.ErrUnavailable,
	http.StatusGatewayTimeout:               backend.ErrDeadlineExceeded,
}

// Code returns the code of a status whose response has none, such as that of a proxy. It is "" below 400,
// invalid_argument for client errors without a code of their own, and unknown for everything else.
func Code(status int) backend.Code {
	code, ok := codes[status]
	switch {
	case ok:
		return code
	case status < http.StatusBadRequest && status >= http.StatusContinue:
		return ""
	case status >= http.StatusBadRequest && status < StatusClientClosedRequest:
		return backend.ErrInvalidArgument
	}
	return backend.ErrUnknown
}

// text returns the title of a status, also of [StatusClientClosedRequest].
func text(status int) string {
	if status == StatusClientClosedRequest {
		return "Client Closed Request"
	}
	if t := http.StatusText(status); t != "" {
		return t
	}
	return "Error"
}
