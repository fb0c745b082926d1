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
	redeliverAfter = 50 * time.Millisecond // how long a raw message rests that its receiver refused
	lookAgain      = 5 * time.Second       // the net under wake-ups
)

// Send implements backend.Transport.
func (t *transport) Send(ctx context.Context, queue string, body json.RawMessage) error {
	if up, _ := t.State(); !up {
		return errClosed
	}
	if len(body) > backend.MaxMessage {
		return backend.Errorf(backend.ErrResourceExhausted, "a message for queue %q is %d bytes; at most %d are allowed", queue, len(body),
			backend.MaxMessage).With(backend.OutcomeNotSent)
	}
	err := change(ctx, t.db.writer, func(tx *tx) error {
		return tx.exec("INSERT INTO raw (queue, body) VALUES (?, ?)", queue, []byte(body))
	})
	if err != nil {
		return err
	}
	if err := t.wake(ctx, offer{toReceive, queue}); err != nil {
		t.peers.log.Debug("a raw message waits for its receiver to look", "queue", queue, "error", err)
	}
	return nil
}

// A message is a raw one that this peer has taken.
type message struct {
	id   int64
	body json.RawMessage
}

// Receive implements backend.Transport: one message after the other.
func (t *transport) Receive(ctx context.Context, queue string, fn func(context.Context, json.RawMessage) error) error {
	l, err := t.listen(ctx, offer{toReceive, queue})
	if err != nil {
		return err
	}
	defer l.Close()
	for {
		m, rest, err := t.take(ctx, queue)
		if err != nil {
			return err
		}
		if m != nil {
			t.handle(ctx, m, fn)
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

// take takes the oldest message that is there and has rested; nil where there is none, and for how long.
func (t *transport) take(ctx context.Context, queue string) (m *message, rest time.Duration, err error) {
	var next sql.NullInt64
	if _, err := t.db.readRow(ctx, "SELECT min(rests) FROM raw WHERE queue = ? AND taken IS NULL", []any{queue}, &next); err != nil {
		return nil, 0, err
	}
	if rest := time.Duration(next.Int64 - instant.Of(t.db.now())); !next.Valid || rest > 0 {
		if !next.Valid {
			rest = lookAgain
		}
		return nil, min(rest, lookAgain), nil
	}
	var took *message // the writer's until it is done
	err = change(ctx, t.db.writer, func(tx *tx) error {
		var m message
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
	if errors.Is(err, errStillWriting) && t.db.writer.caughtUp() == nil && took != nil { // it would never be handled
		t.done(took.id, false, 0)
	}
	return nil, 0, err
}

// handle gives a message to fn, and puts it back unless fn returns nil, however fn ends.
func (t *transport) handle(ctx context.Context, m *message, fn func(context.Context, json.RawMessage) error) {
	ok := false
	defer func() {
		rest := redeliverAfter
		if ctx.Err() != nil {
			rest = 0 // this receiver is leaving
		}
		t.done(m.id, ok, rest)
	}()
	ok = fn(ctx, m.body) == nil
}

// done deletes a message, or puts it back; it goes on trying until the file is closed, for nobody else could.
func (t *transport) done(id int64, ok bool, rest time.Duration) {
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
			t.peers.log.Warn("a raw message comes again: what came of it could not be written", "error", err)
			return
		}
	}
}
