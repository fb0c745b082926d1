package mongo

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	driver "go.mongodb.org/mongo-driver/v2/mongo"
	low "go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/description"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/connstate"
	"github.com/afgen/afgen/runtime/backend/internal/groupcommit"
)

// Error codes of the server that have their own handling.
const (
	badValue             = 2
	unauthorized         = 13
	authenticationFailed = 18
	exceededTimeLimit    = 50
	objectTooLarge       = 10334
	objectTooLargeToo    = 17419
)

// noSuchIndex is what the server says of an operation with the hint of an index that doesn't exist.
const noSuchIndex = "hint provided does not correspond to an existing index"

// transientCodes are codes of errors that pass: a server is starting or shutting down, a replica set has no primary or
// a new one, or its members or routers can't reach each other.
var transientCodes = []int{
	exceededTimeLimit, 262, // ExceededTimeLimit
	91, 11600, // ShutdownInProgress, InterruptedAtShutdown
	// NotYetInitialized, PrimarySteppedDown, NotPrimary…, InterruptedDueToReplStateChange
	94, 189, 10058, 10107, 11602, 13435, 13436,
	6, 7, 89, 133, 134, 202, 317, 9001, // HostUnreachable, HostNotFound, …
}

// Reasons why a server accepts no writes.
var (
	errNotPrimary = errors.New("the server is not the primary of its replica set, which may have none at the moment; " +
		"otherwise list all members in the URI, without directConnection")
	errUninitiated = errors.New("the replica set is not initiated; run rs.initiate() once")
)

// wrapError gives an error of the driver a code and a message that tells what to do. outcome is the default outcome:
// unknown for writes, not sent for reads, which can be repeated. The driver's own messages contain addresses and no
// secrets.
func (c *Client) wrapError(ctx context.Context, err error, outcome backend.Outcome) error {
	if err == nil {
		return nil
	}
	if _, ok := errors.AsType[*backend.Error](err); ok {
		return err
	}
	wrap := func(code backend.Code, text string, outcome backend.Outcome) error {
		outcome = outcomeIn(ctx, outcome)
		return backend.Errorf(code, "MongoDB at %s: %s: %w", c.config.Address, text, err).With(outcome)
	}
	selection, unreachable := errors.AsType[topology.ServerSelectionError](err)
	if unreachable {
		outcome = backend.OutcomeNotSent
	}
	switch {
	case hasCode(err, authenticationFailed):
		return wrap(backend.ErrUnauthenticated, "wrong user or password", backend.OutcomeNotSent)
	case connstate.CertificateError(err):
		return wrap(backend.ErrUnauthenticated, "certificate rejected", backend.OutcomeNotSent)
	case connstate.DownCause(ctx) != nil:
		return wrap(backend.ErrUnavailable, "the server became unreachable", outcome)
	case ctx.Err() != nil:
		return wrap(backend.CodeOf(ctx.Err()), "interrupted: "+context.Cause(ctx).Error(), outcome)
	case pastDeadline(ctx): // the driver has noticed first
		return wrap(backend.ErrDeadlineExceeded, "interrupted: "+context.DeadlineExceeded.Error(), outcome)
	case errors.Is(err, driver.ErrClientDisconnected), errors.Is(err, groupcommit.ErrClosed):
		if outcomeIn(ctx, backend.OutcomeNotSent) != backend.OutcomeNotSent {
			return wrap(backend.ErrUnavailable, errClosed.Message, outcome)
		}
		return errClosed
	case unreachable:
		return wrap(backend.ErrUnavailable, selectionReason(selection.Desc), outcome)
	case errors.Is(err, errNotPrimary), errors.Is(err, errUninitiated):
		return wrap(backend.ErrUnavailable, "the server accepts no writes", backend.OutcomeNotSent)
	case hasCode(err, unauthorized):
		return wrap(backend.ErrPermissionDenied,
			"the user needs the role readWrite on the database, or the one in docs/servers.md",
			backend.OutcomeNotSent)
	case hasCode(err, badValue) && strings.Contains(err.Error(), noSuchIndex):
		return wrap(backend.ErrFailedPrecondition, "an index on tasks is missing, which each program creates when it starts; "+
			"af doctor names it", backend.OutcomeNotSent)
	case hasCode(err, objectTooLarge, objectTooLargeToo):
		return wrap(backend.ErrResourceExhausted, "a task with its payload and result must fit into 16 MB",
			backend.OutcomeNotSent)
	case driver.IsNetworkError(err), driver.IsTimeout(err), hasCode(err, transientCodes...):
		return wrap(backend.ErrUnavailable, "temporarily unavailable", outcome)
	}
	if e, ok := errors.AsType[topology.ConnectionError](err); ok {
		return wrap(backend.ErrUnavailable, "the connection failed", connectionOutcome(e, outcome))
	}
	return wrap(backend.ErrInternal, "unexpected error", outcome)
}

// selectionReason returns why the driver found no writable server.
func selectionReason(d description.Topology) string {
	for _, s := range d.Servers {
		switch s.Kind {
		case description.ServerKindRSGhost:
			return "the server accepts no writes: " + errUninitiated.Error()
		case description.ServerKindRSSecondary, description.ServerKindRSArbiter, description.ServerKindRSMember:
			return "the server accepts no writes: its replica set has no primary"
		}
	}
	return "no writable server found"
}

// connectionOutcome returns the outcome of a failed connection: not sent if it was never established.
func connectionOutcome(e topology.ConnectionError, outcome backend.Outcome) backend.Outcome {
	if strings.Contains(e.Error(), "during connection handshake") {
		return backend.OutcomeNotSent
	}
	return outcome
}

func pastDeadline(ctx context.Context) bool {
	deadline, ok := ctx.Deadline()
	return ok && !time.Now().Before(deadline)
}

// hasCode reports whether the server returned one of the codes.
func hasCode(err error, codes ...int) bool {
	if e, ok := errors.AsType[driver.ServerError](err); ok && slices.ContainsFunc(codes, e.HasErrorCode) {
		return true
	}
	e, ok := errors.AsType[low.Error](err) // during a connection handshake
	return ok && slices.Contains(codes, int(e.Code))
}
