package mongo

import (
	"context"
	"errors"
	"slices"
	"strings"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	low "go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/reach"
)

// The server's codes that say what is to be done.
const (
	unauthorized         = 13
	authenticationFailed = 18
	exceededTimeLimit    = 50
	objectTooLarge       = 10334
	objectTooLargeToo    = 17419
)

// passing has those of a replica set that has no primary now, or another than it had.
var passing = []int{exceededTimeLimit, 91, 189, 10107, 11600, 11602, 13435, 13436}

// failed turns an error of the driver into one with a code, and what to do about it. outcome is what is known of an
// operation of which nothing else is: unknown for a write, not sent for a read, which may be repeated. The driver's own
// messages name addresses and no secrets.
func (c *Client) failed(ctx context.Context, err error, outcome backend.Outcome) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*backend.Error](err); ok {
		return err
	}
	wrap := func(code backend.Code, what string, outcome backend.Outcome) error {
		return backend.Errorf(code, "MongoDB at %s: %s: %w", c.config.Address, what, err).With(outcome)
	}
	_, unreachable := errors.AsType[topology.ServerSelectionError](err)
	if unreachable {
		outcome = backend.OutcomeNotSent
	}
	switch {
	case hasCode(err, authenticationFailed):
		return wrap(backend.ErrUnauthenticated, "user or password is wrong", backend.OutcomeNotSent)
	case reach.Untrusted(err):
		return wrap(backend.ErrUnauthenticated, "certificates", backend.OutcomeNotSent)
	case reach.Away(ctx) != nil:
		return wrap(backend.ErrUnavailable, "it went away", outcome)
	case ctx.Err() != nil:
		return wrap(backend.CodeOf(ctx.Err()), "cut short: "+context.Cause(ctx).Error(), outcome)
	case errors.Is(err, driver.ErrClientDisconnected):
		return errClosed
	case unreachable:
		return wrap(backend.ErrUnavailable, "no server was found that can be written to", outcome)
	case hasCode(err, unauthorized):
		return wrap(backend.ErrPermissionDenied, "the user needs the role readWrite on the database, or the one in docs/servers.md", backend.OutcomeNotSent)
	case hasCode(err, objectTooLarge, objectTooLargeToo):
		return wrap(backend.ErrResourceExhausted, "a task must fit in 16 MB with its payload and result", backend.OutcomeNotSent)
	case driver.IsNetworkError(err), driver.IsTimeout(err), hasCode(err, passing...):
		return wrap(backend.ErrUnavailable, "not now", outcome)
	}
	if e, ok := errors.AsType[topology.ConnectionError](err); ok {
		return wrap(backend.ErrUnavailable, "the connection failed", outcomeOf(e, outcome))
	}
	return wrap(backend.ErrInternal, "unexpected", outcome)
}

// outcomeOf is what a failed connection says: nothing was sent where it was never made.
func outcomeOf(e topology.ConnectionError, outcome backend.Outcome) backend.Outcome {
	if strings.Contains(e.Error(), "during connection handshake") {
		return backend.OutcomeNotSent
	}
	return outcome
}

// hasCode says whether the server answered with one of the codes.
func hasCode(err error, codes ...int) bool {
	if e, ok := errors.AsType[driver.ServerError](err); ok && slices.ContainsFunc(codes, e.HasErrorCode) {
		return true
	}
	e, ok := errors.AsType[low.Error](err) // while a connection is made
	return ok && slices.Contains(codes, int(e.Code))
}
