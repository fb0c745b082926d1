package embedded

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

const (
	redeliverAfter  = 50 * time.Millisecond // delay before a message that was not accepted is delivered again
	rawPollInterval = 5 * time.Second       // in case a wake-up was lost
)

// Send implements backend.Transport.
func (t *transport) Send(ctx context.Context, queue string, body json.RawMessage) error {
	if up, _ := t.State(); !up {
		return errClosed
	}
	if len(body) > backend.MaxMessage {
		return backend.Errorf(backend.ErrResourceExhausted, "the message for queue %q is %d bytes; at most %d are allowed",
			queue, len(body),
			backend.MaxMessage).With(backend.OutcomeNotSent)
	}
	err := change(ctx, t.db.writer, func(tx *tx) error {
		return tx.exec("INSERT INTO raw (queue, body) VALUES (?, ?)", queue, []byte(body))
	})
	if err != nil {
		return err
	}
	if err := t.wake(ctx, offer{toReceive, queue}); err != nil {
		t.peers.log.Debug("cannot wake receivers of raw message, it waits for their next poll", "queue", queue, "error", err)
	}
	return nil
}

// A rawMessage is a raw message that this peer has taken.
type rawMessage struct {
	id   int64
	body json.RawMessage
}

// Receive implements backend.Transport. It handles one message at a time.
func (t *transport) Receive(ctx context.Context, queue string, fn func(context.Context, json.RawMessage) error) error {
	l, err := t.listen(ctx, offer{toReceive, queue})
	if err != nil {
		return err
	}
	defer l.Close()
	for {
		m, rest, err := t.takeRaw(ctx, queue)
		if err != nil {
			return err
		}
		if m != nil {
			t.handleRaw(ctx, m, fn)
			continue
		}
		wait, cancel := context.WithTimeout(ctx, rest)
		_, err = l.Next(wait, 1)
		cancel()
		if err != nil && (ctx.Err() != nil || wait.Err() == nil) {
			return err
		}
	}
}

// takeRaw takes the oldest message that is due. If there is none it returns nil and when to try again.
func (t *transport) takeRaw(ctx context.Context, queue string) (m *rawMessage, rest time.Duration, err error) {
	var next sql.NullInt64
	if _, err := t.db.readRow(ctx, "SELECT min(rests) FROM raw WHERE queue = ? AND taken IS NULL", []any{queue},
		&next); err != nil {
		return nil, 0, err
	}
	if rest := time.Duration(next.Int64 - instant.Of(t.db.now())); !next.Valid || rest > 0 {
		if !next.Valid {
			rest = rawPollInterval
		}
		return nil, min(rest, rawPollInterval), nil
	}
	var took *rawMessage // owned by the writer until it is done
	err = change(ctx, t.db.writer, func(tx *tx) error {
		var m rawMessage
		found, err := tx.row("SELECT id, body FROM raw WHERE queue = ? AND taken IS NULL AND rests <= ? ORDER BY id LIMIT 1",
			[]any{queue, tx.now}, &m.id, (*[]byte)(&m.body))
		if took = nil; err != nil || !found {
			return err
		}
		took = &m
		return tx.exec("UPDATE raw SET taken = ? WHERE id = ?", tx.peer, m.id)
	})
	if err == nil {
		return took, 0, nil
	}
	// otherwise it would never be handled
	if errors.Is(err, errMayBeWritten) && t.db.writer.flush() == nil && took != nil {
		t.doneRaw(took.id, false, 0)
	}
	return nil, 0, err
}

// handleRaw passes a message to fn and puts it back unless fn returns nil, even if fn panics or ends the goroutine.
func (t *transport) handleRaw(ctx context.Context, m *rawMessage, fn func(context.Context, json.RawMessage) error) {
	ok := false
	defer func() {
		rest := redeliverAfter
		if ctx.Err() != nil {
			rest = 0 // this receiver is ending
		}
		t.doneRaw(m.id, ok, rest)
	}()
	ok = fn(ctx, m.body) == nil
}

// doneRaw deletes a message, or puts it back. It retries until the transport is closed, since no other process can do
// it.
func (t *transport) doneRaw(id int64, ok bool, rest time.Duration) {
	for {
		err := change(context.Background(), t.db.writer, func(tx *tx) error {
			if ok {
				return tx.exec("DELETE FROM raw WHERE id = ?", id)
			}
			return tx.exec("UPDATE raw SET taken = NULL, rests = ? WHERE id = ?", tx.now+int64(rest), id)
		})
		if err == nil {
			return
		}
		select {
		case <-time.After(redeliverAfter):
		case <-t.closed:
			t.peers.log.Warn("cannot record the result of a raw message, it will be redelivered", "error", err)
			return
		}
	}
}
