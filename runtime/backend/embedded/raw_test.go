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

// A receiver that was cancelled while it took a message puts it back, unless the change was not committed. Then another
// process may have it.
func TestReleaseSparesMessagesOfOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	owner, other := openTestAt(t, path), openTestAt(t, path)
	if err := owner.transport.Send(t.Context(), "q", backend.Message{Body: json.RawMessage(`1`)}); err != nil {
		t.Fatal(err)
	}
	m, _, err := owner.transport.takeRaw(t.Context(), "q")
	if err != nil || m == nil {
		t.Fatal(m, err)
	}
	for _, h := range []backend.Handled{{Release: true}, {}, {Dead: &backend.DeadLetter{}}} {
		other.transport.endRaw("q", m.id, &h)
		if again, _, err := other.transport.takeRaw(t.Context(), "q"); again != nil || err != nil {
			t.Errorf("after %+v it was taken twice: %v", h, err)
		}
	}
	owner.transport.endRaw("q", m.id, &backend.Handled{Release: true})
	if m, _, err := other.transport.takeRaw(t.Context(), "q"); m == nil || m.Attempt != 1 || err != nil {
		t.Errorf("%+v, %v", m, err)
	}
}
