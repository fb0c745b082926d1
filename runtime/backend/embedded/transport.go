package embedded

import (
	"context"
	"sync"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded/internal/mesh"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A transport carries wake-ups, in this process and over the mesh, and raw messages, which lie in the file.
type transport struct {
	db     *database
	peers  *registry
	closed chan struct{}

	mu        sync.Mutex
	listeners map[offer]map[*listener]struct{}
}

// leaveWithin bounds the writing of what nobody waits for: a row that is left goes with its peer.
const leaveWithin = 10 * time.Second

// hintAge is for how long a view of the registry does for a hint that follows no transaction.
const hintAge = time.Millisecond

// Ids implements backend.Transport: everybody looks into the same file.
func (t *transport) Ids() bool { return false }

// Depth implements backend.Transport.
func (t *transport) Depth(ctx context.Context, _ string) (int, error) { return 0, alive(ctx) }

// State implements backend.Transport: it carries until it is closed.
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

// wake wakes those who listen, here and elsewhere. Where there is nobody it leaves a note for whoever comes next.
func (t *transport) wake(ctx context.Context, o offer) error {
	for range 2 {
		v, err := t.peers.current(ctx, hintAge)
		if err != nil {
			return err
		}
		others := t.peers.others(v, o)
		if len(others) > 0 {
			t.peers.mesh.Notify(others, mesh.Notice{Kind: o.kind, Name: o.name})
		}
		if t.wakeHere(o) || len(others) > 0 || o.kind != toListen {
			return nil
		}
		if noted, err := t.note(ctx, o); noted || err != nil {
			return err
		}
	}
	return nil
}

// note writes down that a hint found nobody, unless somebody has come.
func (t *transport) note(ctx context.Context, o offer) (noted bool, err error) {
	there, err := t.db.readRow(ctx, "SELECT 1 FROM unheard WHERE queue = ?", []any{o.name}, new(int))
	if there || err != nil {
		return there, err
	}
	return write(ctx, t.db.writer, func(tx *tx) (bool, error) { return tx.leaveNote(o) })
}

// wakeHere wakes the listeners of this process, and says whether there are any.
func (t *transport) wakeHere(o offer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	for l := range t.listeners[o] {
		l.wake()
	}
	return len(t.listeners[o]) > 0
}

// wakeAll wakes everybody in this process: something may have been missed.
func (t *transport) wakeAll() {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, listeners := range t.listeners {
		for l := range listeners {
			l.wake()
		}
	}
}

// A listener is woken by the hints of one queue.
type listener struct {
	transport *transport
	offer     offer
	woken     signal.Signal // set where Next has something to return
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
	t.add(l)
	unheard := 0
	err := t.peers.offer(ctx, o, "", func(tx *tx) (err error) {
		unheard, err = tx.affect("DELETE FROM unheard WHERE queue = ? AND ? = 'queue'", o.name, o.kind)
		return err
	})
	if err != nil {
		t.drop(l)
		return nil, err
	}
	if unheard > 0 {
		l.wake()
	}
	return l, nil
}

func (t *transport) add(l *listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.listeners[l.offer] == nil {
		t.listeners[l.offer] = map[*listener]struct{}{}
	}
	t.listeners[l.offer][l] = struct{}{}
}

func (t *transport) drop(l *listener) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.listeners[l.offer], l)
	if len(t.listeners[l.offer]) == 0 {
		delete(t.listeners, l.offer)
	}
}

// Next implements backend.Listener.
func (l *listener) Next(ctx context.Context, _ int) ([]backend.Hint, error) {
	if err := alive(ctx); err != nil {
		return nil, err
	}
	select {
	case <-l.closed:
	case <-l.transport.closed:
	case <-l.woken.C():
		return []backend.Hint{{Done: func() {}}}, nil
	case <-ctx.Done():
		return nil, alive(ctx)
	}
	return nil, backend.Errorf(backend.ErrUnavailable, "listening to %s %q has ended", l.offer.kind, l.offer.name).With(backend.OutcomeNotSent)
}

// Resize implements backend.Listener: wake-ups need no window.
func (l *listener) Resize(ctx context.Context, _ int) error { return alive(ctx) }

// Close implements backend.Listener.
func (l *listener) Close() error {
	l.once.Do(func() {
		close(l.closed)
		l.err = l.leave()
	})
	return l.err
}

// leave takes the listener out. What woke it last and was not seen is for whoever comes next.
func (l *listener) leave() error {
	l.transport.drop(l)
	ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
	defer cancel()
	return l.transport.peers.withdraw(ctx, l.offer, func(tx *tx) error {
		if len(l.woken) == 0 || l.offer.kind != toListen {
			return nil
		}
		_, err := tx.leaveNote(l.offer)
		return err
	})
}

// leaveNote writes down that a hint found nobody, unless there is somebody.
func (t *tx) leaveNote(o offer) (noted bool, err error) {
	n, err := t.affect(`INSERT OR IGNORE INTO unheard (queue) SELECT ?1 WHERE NOT EXISTS
		(SELECT 1 FROM offer WHERE kind = ?2 AND name = ?1)`, o.name, o.kind)
	return n > 0, err
}
