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
	redeliverAfter  = 50 * time.Millisecond // delay before a message is delivered again whose receiver panicked
	rawPollInterval = 5 * time.Second       // in case a wake-up was lost
)

// Send implements backend.Transport.
func (t *transport) Send(ctx context.Context, queue string, m backend.Message) error {
	if up, _ := t.State(); !up {
		return errClosed
	}
	if len(m.Body) > backend.MaxMessage {
		return backend.Errorf(backend.ErrResourceExhausted, "the message for queue %q is %d bytes; at most %d are allowed",
			queue, len(m.Body), backend.MaxMessage).With(backend.OutcomeNotSent)
	}
	extra, err := encodeExtra(&m)
	if err != nil {
		return err
	}
	err = change(ctx, t.db.writer, func(tx *tx) error {
		if backend.IsDeadQueue(queue) {
			full, err := tx.isDeadFull(queue)
			if err != nil {
				return err
			}
			if full {
				return backend.ErrDeadFull(queue)
			}
		}
		return tx.exec("INSERT INTO raw (queue, body, extra) VALUES (?, ?, ?)", queue, []byte(m.Body), extra)
	})
	if err != nil {
		return err
	}
	t.wakeReceivers(ctx, queue)
	return nil
}

func (t *transport) wakeReceivers(ctx context.Context, queue string) {
	if err := t.wake(ctx, offer{toReceive, queue}); err != nil {
		t.peers.log.Debug("cannot wake receivers of raw message, it waits for their next poll", "queue", queue, "error", err)
	}
}

// extra is the JSON of the column extra.
type extra struct {
	Metadata map[string]string `json:"metadata,omitempty"`
	Trace    string            `json:"trace,omitempty"`
}

// encodeExtra returns the value of the column extra, nil if there is none.
func encodeExtra(m *backend.Message) (any, error) {
	if len(m.Metadata) == 0 && m.Trace == "" {
		return nil, nil
	}
	text, err := json.Marshal(extra{m.Metadata, m.Trace})
	if err != nil {
		return nil, backend.Errorf(backend.ErrInvalidArgument, "encoding metadata: %w", err).With(backend.OutcomeNotSent)
	}
	return string(text), nil
}

// A rawMessage is a raw message that this peer has taken.
type rawMessage struct {
	backend.Message
	id          int64
	extra, dead sql.NullString // JSON
}

// decode sets the fields that the file has as JSON.
func (m *rawMessage) decode() error {
	if m.extra.Valid {
		var x extra
		if err := json.Unmarshal([]byte(m.extra.String), &x); err != nil {
			return err
		}
		m.Metadata, m.Trace = x.Metadata, x.Trace
	}
	if m.dead.Valid {
		return json.Unmarshal([]byte(m.dead.String), &m.Dead)
	}
	return nil
}

// Receive implements backend.Transport.
func (t *transport) Receive(
	ctx context.Context, queue string, fn func(context.Context, *backend.Message) backend.Handled,
) error {
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
			t.handleRaw(ctx, queue, m, fn)
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

// takeRaw takes the oldest message that is due, and counts the delivery: if this process dies, it has taken place. If
// there is no message it returns nil and when to try again.
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
		found, err := tx.row(`SELECT id, body, attempts + 1, extra, dead FROM raw
			WHERE queue = ? AND taken IS NULL AND rests <= ? ORDER BY id LIMIT 1`,
			[]any{queue, tx.now}, &m.id, (*[]byte)(&m.Body), &m.Attempt, &m.extra,
			&m.dead)
		if took = nil; err != nil || !found {
			return err
		}
		took = &m
		return tx.exec("UPDATE raw SET taken = ?, attempts = attempts + 1 WHERE id = ?", tx.peer, m.id)
	})
	if err == nil {
		if took != nil {
			if err := took.decode(); err != nil {
				t.peers.log.Error("raw message delivered without its metadata, which can't be read", "queue", queue, "error", err)
			}
		}
		return took, 0, nil
	}
	// Otherwise it would never be handled. A change that could not be committed has taken nothing.
	if errors.Is(err, errMayBeWritten) && !errors.Is(t.db.writer.flush(), errClosed) && took != nil {
		t.endRaw(queue, took.id, &backend.Handled{Release: true})
	}
	return nil, 0, err
}

// handleRaw passes a message to fn and carries out what fn returns. If fn panics or ends the goroutine, it puts the
// message back.
func (t *transport) handleRaw(
	ctx context.Context, queue string, m *rawMessage, fn func(context.Context, *backend.Message) backend.Handled,
) {
	h := backend.Handled{Delay: redeliverAfter}
	defer func() { t.endRaw(queue, m.id, &h) }()
	h = fn(ctx, &m.Message)
}

// endRaw carries out the result of a message of a queue. It retries until the transport is closed, since no other
// process can do it.
func (t *transport) endRaw(queue string, id int64, h *backend.Handled) {
	for {
		var full bool
		err := change(context.Background(), t.db.writer, func(tx *tx) (err error) {
			full, err = tx.endRaw(queue, id, h)
			return err
		})
		if err == nil {
			t.tellMoved(queue, h, full)
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

func (t *transport) tellMoved(queue string, h *backend.Handled, full bool) {
	if h.Dead == nil {
		return
	}
	var err error
	if full {
		err = backend.ErrDeadFull(queue + backend.DeadSuffix)
	} else {
		t.wakeReceivers(context.Background(), queue+backend.DeadSuffix)
	}
	if h.Moved != nil {
		h.Moved(err)
	}
}

// endRaw carries out the result of a message, unless this peer does not have it. full reports that it can't be moved and
// was put back instead.
func (t *tx) endRaw(queue string, id int64, h *backend.Handled) (full bool, err error) {
	if h.Done {
		return false, t.exec("DELETE FROM raw WHERE id = ? AND taken = ?", id, t.peer)
	}
	taken, err := t.exists("SELECT 1 FROM raw WHERE id = ? AND taken = ?", id, t.peer)
	switch {
	case err != nil || !taken:
		return false, err
	case h.Release:
		return false, t.exec("UPDATE raw SET taken = NULL, rests = ?, attempts = attempts - 1 WHERE id = ?",
			t.now+int64(h.Delay), id)
	case h.Dead != nil:
		if full, err = t.isDeadFull(queue + backend.DeadSuffix); err != nil {
			return false, err
		}
		if !full {
			return false, t.bury(queue, id, *h.Dead)
		}
	}
	return full, t.exec("UPDATE raw SET taken = NULL, rests = ?, failed = coalesce(failed, ?) WHERE id = ?",
		t.now+int64(h.Delay), t.now, id)
}

// isDeadFull reports whether a dead-letter queue is full. Messages that are being handled don't count.
func (t *tx) isDeadFull(queue string) (bool, error) {
	return t.exists("SELECT 1 FROM raw WHERE queue = ? AND taken IS NULL LIMIT 1 OFFSET ?", queue, backend.MaxDead-1)
}

// bury moves a message to the dead-letter queue.
func (t *tx) bury(queue string, id int64, d backend.DeadLetter) error {
	first := t.now
	d.Queue, d.Last = queue, instant.Time(t.now)
	if _, err := t.row("SELECT attempts, coalesce(failed, ?) FROM raw WHERE id = ?", []any{t.now, id}, &d.Attempts,
		&first); err != nil {
		return err
	}
	d.First = instant.Time(first)
	dead, err := json.Marshal(d)
	if err != nil {
		return err
	}
	return t.exec(`UPDATE raw SET queue = ?, dead = ?, taken = NULL, rests = 0, attempts = 0, failed = NULL WHERE id = ?`,
		queue+backend.DeadSuffix, string(dead), id)
}
