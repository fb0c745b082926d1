package mongo

import (
	"context"
	"errors"
	"slices"
	"strings"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	low "go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/description"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/connstate"
)

// The server's codes that say what is to be done.
const (
	unauthorized         = 13
	authenticationFailed = 18
	exceededTimeLimit    = 50
	objectTooLarge       = 10334
	objectTooLargeToo    = 17419
)

// passing has the codes of errors that pass by themselves: of a server that starts or ends, of a replica set that has no primary
// now or another than it had, and of one whose members or routers can't reach each other.
var passing = []int{
	exceededTimeLimit, 262, // ExceededTimeLimit
	91, 11600, // ShutdownInProgress, InterruptedAtShutdown
	94, 189, 10058, 10107, 11602, 13435, 13436, // NotYetInitialized, PrimarySteppedDown, NotPrimary…, InterruptedDueToReplStateChange
	6, 7, 89, 133, 134, 202, 317, 9001, // HostUnreachable, HostNotFound, …
}

// What a server says of itself that takes no writes.
var (
	errNotPrimary = errors.New("it is not the primary of its replica set, which may have none now; " +
		"if it has, name all members in the URI, and no directConnection")
	errUninitiated = errors.New("its replica set is not initiated; that takes rs.initiate() once")
)

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
		outcome = outcomeIn(ctx, outcome)
		return backend.Errorf(code, "MongoDB at %s: %s: %w", c.config.Address, what, err).With(outcome)
	}
	selection, unreachable := errors.AsType[topology.ServerSelectionError](err)
	if unreachable {
		outcome = backend.OutcomeNotSent
	}
	switch {
	case hasCode(err, authenticationFailed):
		return wrap(backend.ErrUnauthenticated, "user or password is wrong", backend.OutcomeNotSent)
	case connstate.CertificateError(err):
		return wrap(backend.ErrUnauthenticated, "certificates", backend.OutcomeNotSent)
	case connstate.DownCause(ctx) != nil:
		return wrap(backend.ErrUnavailable, "it went away", outcome)
	case ctx.Err() != nil:
		return wrap(backend.CodeOf(ctx.Err()), "cut short: "+context.Cause(ctx).Error(), outcome)
	case errors.Is(err, driver.ErrClientDisconnected):
		if outcomeIn(ctx, backend.OutcomeNotSent) != backend.OutcomeNotSent {
			return wrap(backend.ErrUnavailable, errClosed.Message, outcome)
		}
		return errClosed
	case unreachable:
		return wrap(backend.ErrUnavailable, unwritable(selection.Desc), outcome)
	case errors.Is(err, errNotPrimary), errors.Is(err, errUninitiated):
		return wrap(backend.ErrUnavailable, "it takes no writes", backend.OutcomeNotSent)
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

// unwritable returns why no server was found that can be written to.
func unwritable(d description.Topology) string {
	for _, s := range d.Servers {
		switch s.Kind {
		case description.ServerKindRSGhost:
			return "it takes no writes: " + errUninitiated.Error()
		case description.ServerKindRSSecondary, description.ServerKindRSArbiter, description.ServerKindRSMember:
			return "it takes no writes: its replica set has no primary now"
		}
	}
	return "no server was found that can be written to"
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
