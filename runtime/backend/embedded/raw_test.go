package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// A dead-letter queue that is full refuses messages, which then stay in their queue.
func TestFullDeadLetterQueueRefuses(t *testing.T) {
	s := openTestAt(t, filepath.Join(t.TempDir(), "af.db"))
	tr := s.transport
	err := change(t.Context(), tr.db.writer, func(tx *tx) error {
		return tx.exec(`WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < ?)
			INSERT INTO raw (queue, body) SELECT 'q.dead', '0' FROM n`, backend.MaxDead-1)
	})
	message := backend.Message{Body: json.RawMessage(`1`)}
	for _, queue := range []string{"q.dead", "q"} {
		if err == nil {
			err = tr.Send(t.Context(), queue, message)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	if err := tr.Send(t.Context(), "q.dead", message); !errors.Is(err, backend.ErrResourceExhausted) {
		t.Errorf("sending to the full queue: %v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	var moved error
	attempts := 0
	_ = tr.Receive(ctx, "q", func(_ context.Context, m *backend.Message) backend.Handled {
		if attempts = m.Attempt; attempts == 2 {
			cancel()
			return backend.Handled{Done: true}
		}
		return backend.Handled{Dead: &backend.DeadLetter{}, Moved: func(err error) { moved = err }}
	})
	if !errors.Is(moved, backend.ErrResourceExhausted) || attempts != 2 {
		t.Errorf("attempt %d, moved: %v", attempts, moved)
	}
}

// A message whose metadata or dead letter can't be read is delivered without it.
func TestUnreadableMessageIsDelivered(t *testing.T) {
	s := openTestAt(t, filepath.Join(t.TempDir(), "af.db"))
	tr := s.transport
	err := change(t.Context(), tr.db.writer, func(tx *tx) error {
		return tx.exec(`INSERT INTO raw (queue, body, extra, dead) VALUES ('q', '1', '{', '{'), ('q', '2', NULL, '[]')`)
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	got := ""
	_ = tr.Receive(ctx, "q", func(_ context.Context, m *backend.Message) backend.Handled {
		if got += string(m.Body); len(got) == 2 {
			cancel()
		}
		return backend.Handled{Done: true}
	})
	if got != "12" {
		t.Errorf("received %q", got)
	}
}
