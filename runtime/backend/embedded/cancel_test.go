package embedded

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"testing"
	"time"
)

// cancelled calls do until its context has ended in the middle of what it writes, while another process holds the write lock.
func cancelled(t *testing.T, path string, do func(ctx context.Context) error) {
	t.Helper()
	locker := openedAt(t, path)
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
		case <-time.After(20 * time.Millisecond): // it waits for what it has begun
			release()
			err = <-ended
		}
		if errors.Is(err, errStillWriting) {
			return
		}
	}
	t.Error("it was never cancelled while writing")
}

// A receiver that is cancelled while it takes a message doesn't keep it.
func TestReceiverCancelledWhileTakingKeepsNoMessage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	s := openedAt(t, path)
	tr := s.transport
	if err := tr.Send(t.Context(), "q", json.RawMessage(`1`)); err != nil {
		t.Fatal(err)
	}
	cancelled(t, path, func(ctx context.Context) error {
		m, _, err := tr.take(ctx, "q")
		if m != nil {
			t.Error("it has taken a message")
		}
		return err
	})
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got := 0
	_ = tr.Receive(ctx, "q", func(context.Context, json.RawMessage) error {
		got++
		cancel()
		return nil
	})
	if got != 1 {
		t.Error("the message never comes again")
	}
}

// What is cancelled while it makes an offer leaves none in the file.
func TestOfferCancelledWhileWritingIsTakenBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "af.db")
	s := openedAt(t, path)
	o := offer{toReceive, "q"}
	cancelled(t, path, func(ctx context.Context) error {
		_, err := s.transport.listen(ctx, o)
		return err
	})
	if err := s.db.writer.caughtUp(); err != nil {
		t.Fatal(err)
	}
	offers := 0
	if _, err := s.db.readRow(t.Context(), "SELECT count(*) FROM offer WHERE kind = ? AND name = ?", []any{o.kind, o.name}, &offers); err != nil {
		t.Fatal(err)
	}
	if offers != 0 {
		t.Errorf("%d offers are left", offers)
	}
	if len(s.peers.offers) != 0 {
		t.Errorf("it holds %v", s.peers.offers)
	}
}
