package embedded

import (
	"context"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded/internal/mesh"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A transport carries wake-ups, within this process and over the mesh, and raw messages, which are rows of the file.
type transport struct {
	db     *database
	peers  *registry
	closed chan struct{}

	mu        sync.Mutex
	listeners map[offer]map[*listener]struct{}

	missed   map[string]bool // queues with a recorded missed hint, at most maxMissed
	missedAt int64           // the generation of the registry at which they had one
}

const maxMissed = 1000

// cleanupTimeout bounds writes that no caller waits for. A row that could not be removed is removed with its peer.
const cleanupTimeout = 10 * time.Second

// hintAge is the age of the registry's view that is accepted for a hint that follows no transaction.
const hintAge = time.Millisecond

// Ids implements backend.Transport: hints are wake-ups, since all processes read the same file.
func (t *transport) Ids() bool { return false }

// Depth implements backend.Transport.
func (t *transport) Depth(ctx context.Context, _ string) (int, error) { return 0, checkContext(ctx) }

// State implements backend.Transport: the transport is up until it is closed.
func (t *transport) State() (bool, <-chan struct{}) {
	select {
	case <-t.closed:
		return false, t.closed
	default:
		return true, t.closed
	}
}

// Hint implements backend.Transport.
func (t *transport) Hint(ctx context.Context, queue string, ids []string) ([]bool, error) {
	if err := t.wake(ctx, offer{toListen, queue}); err != nil {
		return nil, err
	}
	taken := make([]bool, len(ids))
	for i := range taken {
		taken[i] = true
	}
	return taken, nil
}

// wake wakes all listeners, local and remote. If there is none it records the hint for the next one.
func (t *transport) wake(ctx context.Context, o offer) error {
	for range 2 {
		v, err := t.peers.current(ctx, hintAge)
		if err != nil {
			return err
		}
		others := t.peers.others(v, o)
		if len(others) > 0 {
			t.peers.join(ctx)
			t.peers.mesh.Notify(others, mesh.Notice{Kind: o.kind, Name: o.name})
		}
		if t.wakeLocal(o) || len(others) > 0 || o.kind != toListen {
			return nil
		}
		if t.hasMissedHint(o.name, v.generation) {
			return nil
		}
		recorded, err := t.recordMissedHint(ctx, o)
		if err != nil {
			return err
		}
		if recorded {
			t.noteMissedHint(o.name, v.generation)
			return nil
		}
	}
	return nil
}

// recordMissedHint records that a hint found no listener. It returns false if there is a listener by now.
func (t *transport) recordMissedHint(ctx context.Context, o offer) (recorded bool, err error) {
	known, err := t.db.readRow(ctx, "SELECT 1 FROM unheard WHERE queue = ?", []any{o.name}, new(int))
	if known || err != nil {
		return known, err
	}
	return write(ctx, t.db.writer, func(tx *tx) (bool, error) { return tx.recordMissedHint(o) })
}

// hasMissedHint reports whether a missed hint of the queue is known to be recorded at a generation of the registry. A
// listener deletes the record in the transaction that begins the next generation.
func (t *transport) hasMissedHint(queue string, generation int64) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.missedAt == generation && t.missed[queue]
}

// noteMissedHint notes that a missed hint of the queue is recorded.
func (t *transport) noteMissedHint(queue string, generation int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.missed == nil || t.missedAt != generation || len(t.missed) >= maxMissed {
		t.missed = map[string]bool{}
	}
	t.missed[queue], t.missedAt = true, generation
}

// wakeLocal wakes the listeners of this process and reports whether there are any.
func (t *transport) wakeLocal(o offer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for l := range t.listeners[o] {
		l.wake()
	}
	return len(t.listeners[o]) > 0
}

// wakeAll wakes all listeners of this process, since wake-ups may have been missed.
func (t *transport) wakeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, listeners := range t.listeners {
		for l := range listeners {
			l.wake()
		}
	}
}

// A listener receives the wake-ups of one queue.
type listener struct {
	transport *transport
	offer     offer
	woken     signal.Signal // set if Next has something to return
	closed    chan struct{}
	once      sync.Once
	err       error
}

func (l *listener) wake() { l.woken.Set() }

// Listen implements backend.Transport.
func (t *transport) Listen(ctx context.Context, queue string, _ int) (backend.Listener, error) {
	return t.listen(ctx, offer{toListen, queue})
}

func (t *transport) listen(ctx context.Context, o offer) (*listener, error) {
	if up, _ := t.State(); !up {
		return nil, errClosed
	}
	l := &listener{transport: t, offer: o, woken: signal.New(), closed: make(chan struct{})}
	t.addListener(l)
	missed := 0
	err := t.peers.addOffer(ctx, o, "", func(tx *tx) (err error) {
		missed, err = tx.execCount("DELETE FROM unheard WHERE queue = ? AND ? = 'queue'", o.name, o.kind)
		return err
	})
	if err != nil {
		t.removeListener(l)
		return nil, err
	}
	if missed > 0 {
		l.wake()
	}
	return l, nil
}

func (t *transport) addListener(l *listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listeners[l.offer] == nil {
		t.listeners[l.offer] = map[*listener]struct{}{}
	}
	t.listeners[l.offer][l] = struct{}{}
}

func (t *transport) removeListener(l *listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.listeners[l.offer], l)
	if len(t.listeners[l.offer]) == 0 {
		delete(t.listeners, l.offer)
	}
}

// Next implements backend.Listener.
func (l *listener) Next(ctx context.Context, _ int) ([]backend.Hint, error) {
	if err := checkContext(ctx); err != nil {
		return nil, err
	}
	select {
	case <-l.closed:
	case <-l.transport.closed:
	case <-l.woken.C():
		return []backend.Hint{{Done: func() {}}}, nil
	case <-ctx.Done():
		return nil, checkContext(ctx)
	}
	return nil, backend.Errorf(backend.ErrUnavailable, "the listener of %s %q is closed", l.offer.kind, l.offer.name).
		With(backend.OutcomeNotSent)
}

// Resize implements backend.Listener: wake-ups have no window.
func (l *listener) Resize(ctx context.Context, _ int) error { return checkContext(ctx) }

// Close implements backend.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.err = l.remove()
	})
	return l.err
}

// remove removes the listener. It records a wake-up that Next has not returned.
func (l *listener) remove() error {
	l.transport.removeListener(l)
	ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
	defer cancel()
	return l.transport.peers.removeOffer(ctx, l.offer, func(tx *tx) error {
		if len(l.woken) == 0 || l.offer.kind != toListen {
			return nil
		}
		_, err := tx.recordMissedHint(l.offer)
		return err
	})
}

// recordMissedHint records that a hint found no listener. It returns false if there is one.
func (t *tx) recordMissedHint(o offer) (recorded bool, err error) {
	n, err := t.execCount(`INSERT OR IGNORE INTO unheard (queue) SELECT ?1 WHERE NOT EXISTS
		(SELECT 1 FROM offer WHERE kind = ?2 AND name = ?1)`, o.name, o.kind)
	return n > 0, err
}
