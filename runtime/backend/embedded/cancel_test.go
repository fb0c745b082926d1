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

// cancelled calls do until its context has ended in the middle of a write, while another process holds the write lock.
func cancelled(t *testing.T, path string, do func(ctx context.Context) error) {
	t.Helper()
	locker := openTestAt(t, path)
	for range 100 {
		release := hold(t, locker)
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Millisecond)
		ended := make(chan error, 1)
		go func() { ended <- do(ctx) }()
		<-ctx.Done()
		cancel()
		var err error
		select {
		case err = <-ended:
			release()
		case <-time.After(20 * time.Millisecond): // it is waiting for its write
			release()
			err = <-ended
		}
		if errors.Is(err, errMayBeWritten) {
			return
		}
	}
	t.Error("never cancelled while writing")
}

// A receiver that is cancelled while taking a message doesn't keep it.
func TestCancelledReceiverKeepsNoMessage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	s := openTestAt(t, path)
	tr := s.transport
	if err := tr.Send(t.Context(), "q", backend.Message{Body: json.RawMessage(`1`)}); err != nil {
		t.Fatal(err)
	}
	cancelled(t, path, func(ctx context.Context) error {
		m, _, err := tr.takeRaw(ctx, "q")
		if m != nil {
			t.Error("a message was taken")
		}
		return err
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got := 0
	_ = tr.Receive(ctx, "q", func(_ context.Context, m *backend.Message) backend.Handled {
		if got++; m.Attempt != 1 {
			t.Errorf("attempt %d", m.Attempt)
		}
		cancel()
		return backend.Handled{Done: true}
	})
	if got != 1 {
		t.Error("the message is not delivered again")
	}
}

// An offer that is cancelled while it is written is deleted.
func TestCancelledOfferIsDeleted(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	s := openTestAt(t, path)
	o := offer{toReceive, "q"}
	cancelled(t, path, func(ctx context.Context) error {
		_, err := s.transport.listen(ctx, o)
		return err
	})
	if err := s.db.writer.flush(); err != nil {
		t.Fatal(err)
	}
	offers := 0
	if _, err := s.db.readRow(t.Context(), "SELECT count(*) FROM offer WHERE kind = ? AND name = ?", []any{o.kind, o.name},
		&offers); err != nil {
		t.Fatal(err)
	}
	if offers != 0 {
		t.Errorf("%d offers are left", offers)
	}
	if len(s.peers.offers) != 0 {
		t.Errorf("the registry holds %v", s.peers.offers)
	}
}
