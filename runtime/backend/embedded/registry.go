package embedded

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded/internal/mesh"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A registry knows the peers that share the file and what they offer. Both are rows in the file. Each peer holds a lock
// while it lives; a peer that finds another one's lock free removes its rows.
//
// The registry is cached as a view until its generation changes, which every transaction reads. So a process that has
// written something knows all peers that were there before: a hint that follows an insert reaches every peer that might
// have looked too early.
type registry struct {
	db   *database
	mesh *mesh.Mesh
	self string
	run  string // the directory of locks and sockets
	lock *flock.Flock
	// observer is set if this process is not in the registry and changes nothing in it. It dials all peers.
	observer bool
	joined   sync.Once // by an observer: see join
	log      *slog.Logger

	mu   sync.Mutex
	last *view

	// offerMu is held while an offer is written, so that changes are written in order.
	offerMu sync.Mutex
	offers  map[offer]int // number of addOffer calls minus removeOffer calls, by offer

	files *fileWatch // used only by watch

	lost   signal.Signal // a connection has ended
	deaths signal.Signal // a peer was found dead
}

// A view is the registry at one generation. It is immutable.
type view struct {
	generation int64
	peers      map[string]peer
	offers     map[offer][]string // the peers that make it
}

type peer struct {
	mesh.Address
	joined int64
}

// An offer is something that a peer does for others: it serves a service or listens to a queue.
type offer struct{ kind, name string }

const (
	toServe   = "service"
	toListen  = "queue"
	toReceive = "raw"

	reconcileInterval = time.Second
	connectTimeout    = time.Second
	closeTimeout      = time.Second
	joinTimeout       = 500 * time.Millisecond // shorter than for Connect: a stopped peer doesn't answer

	openLock      = "open.lock" // in the directory of locks
	writeLockFile = "turn.lock"
)

func lockFile(run, peer string) string { return filepath.Join(run, peer+".lock") }

// addSelf registers this peer, which holds its lock and listens, and connects it with the peers that were there before.
func (r *registry) addSelf(ctx context.Context) error {
	a := r.mesh.Address()
	err := change(ctx, r.db.writer, func(tx *tx) error {
		if err := tx.exec("DELETE FROM owner WHERE convicted AND peer NOT IN (SELECT id FROM peer)"); err != nil {
			return err
		}
		if err := tx.exec("UPDATE counter SET joined = joined + 1"); err != nil {
			return err
		}
		if err := tx.exec(`INSERT INTO peer (id, joined, network, address, token) SELECT ?, joined, ?, ?, ? FROM counter`,
			a.ID, a.Network, a.Addr, a.Token); err != nil {
			return err
		}
		return tx.bumpGeneration()
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, joinTimeout)
	defer cancel()
	r.reconcile(ctx)
	return nil
}

// bumpGeneration records that the registry has changed.
func (t *tx) bumpGeneration() error {
	if err := t.exec("UPDATE counter SET registry = registry + 1"); err != nil {
		return err
	}
	return t.readGeneration()
}

// removeSelf removes this peer. If its rows can't be deleted, another peer finds the lock free and deletes them. Once
// the lock is free, another peer may also be first to remove the file.
func (r *registry) removeSelf(ctx context.Context) error {
	_, err := r.removePeer(ctx, r.self)
	unlocked := r.lock.Unlock()
	if err == nil {
		r.removeFile(lockFile(r.run, r.self))
	}
	return errors.Join(err, unlocked)
}

// removePeer deletes a peer's rows and releases the raw messages that it has taken. It returns false if there was no
// such peer.
func (r *registry) removePeer(ctx context.Context, peer string) (removed bool, err error) {
	return write(ctx, r.db.writer, func(tx *tx) (bool, error) {
		n, err := tx.execCount("DELETE FROM peer WHERE id = ?", peer)
		if err != nil || n == 0 {
			return false, err
		}
		if err := tx.exec("DELETE FROM offer WHERE peer = ?", peer); err != nil {
			return false, err
		}
		if err := tx.exec("UPDATE raw SET taken = NULL WHERE taken = ? AND taken IS NOT NULL", peer); err != nil {
			return false, err
		}
		return true, tx.bumpGeneration()
	})
}

// isDead reports whether a peer's process has certainly ended: its lock exists and is free.
func (r *registry) isDead(peer string) bool {
	if peer == r.self {
		return false
	}
	lock := flock.New(lockFile(r.run, peer), flock.SetFlag(os.O_RDWR))
	free, err := lock.TryLock()
	if free {
		err = lock.Unlock()
	}
	return free && err == nil
}

// addOffer registers an offer of this peer. more runs in the same transaction.
func (r *registry) addOffer(ctx context.Context, o offer, facts string, more func(*tx) error) error {
	if r.observer {
		return errObserver("serves nothing and receives no messages or hints")
	}
	r.offerMu.Lock()
	defer r.offerMu.Unlock()
	if r.offers[o] == 0 {
		err := change(ctx, r.db.writer, func(tx *tx) error {
			if err := more(tx); err != nil {
				return err
			}
			if err := tx.exec("INSERT OR REPLACE INTO offer (kind, name, peer, facts) VALUES (?, ?, ?, ?)", o.kind, o.name,
				r.self, facts); err != nil {
				return err
			}
			return tx.bumpGeneration()
		})
		if errors.Is(err, errMayBeWritten) { // otherwise it might be written later, and never removed
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), cleanupTimeout)
			defer cancel()
			err = errors.Join(err, r.deleteOffer(undo, o, noExtra))
		}
		if err != nil {
			return err
		}
	}
	r.offers[o]++
	return nil
}

// removeOffer removes an offer, once it was removed as often as it was added. more runs in the same transaction.
func (r *registry) removeOffer(ctx context.Context, o offer, more func(*tx) error) error {
	r.offerMu.Lock()
	defer r.offerMu.Unlock()
	if r.offers[o]--; r.offers[o] > 0 {
		return nil
	}
	delete(r.offers, o)
	return r.deleteOffer(ctx, o, more)
}

// deleteOffer deletes the row of an offer.
func (r *registry) deleteOffer(ctx context.Context, o offer, more func(*tx) error) error {
	return change(ctx, r.db.writer, func(tx *tx) error {
		if err := tx.exec("DELETE FROM offer WHERE kind = ? AND name = ? AND peer = ?", o.kind, o.name, r.self); err != nil {
			return err
		}
		if err := more(tx); err != nil {
			return err
		}
		return tx.bumpGeneration()
	})
}

// noExtra writes nothing else.
func noExtra(*tx) error { return nil }

// current returns the registry as of this process's last transaction, or as it is now if that was longer ago than age.
func (r *registry) current(ctx context.Context, age time.Duration) (*view, error) {
	generation, err := r.db.generationWithin(ctx, age)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	v := r.last
	r.mu.Unlock()
	if v != nil && v.generation >= generation {
		return v, nil
	}
	v, err = r.read(ctx, generation)
	if err != nil {
		return nil, err
	}
	_, joined := v.peers[r.self]
	r.db.generation.sawPeers(v.generation, joined && len(v.peers) == 1)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil || r.last.generation <= v.generation {
		r.last = v
	}
	return v, nil
}

// read reads a view. It is of the given generation, or a later one.
func (r *registry) read(ctx context.Context, generation int64) (*view, error) {
	peers, err := readAll(ctx, r.db, func(rows *sql.Rows) (p peer, err error) {
		err = rows.Scan(&p.ID, &p.joined, &p.Network, &p.Addr, &p.Token)
		return p, err
	}, "SELECT id, joined, network, address, token FROM peer")
	if err != nil {
		return nil, err
	}
	v := &view{generation: generation, peers: make(map[string]peer, len(peers)), offers: map[offer][]string{}}
	for _, p := range peers {
		v.peers[p.ID] = p
	}
	type made struct {
		offer
		peer string
	}
	offers, err := readAll(ctx, r.db, func(rows *sql.Rows) (m made, err error) {
		err = rows.Scan(&m.kind, &m.name, &m.peer)
		return m, err
	}, "SELECT kind, name, peer FROM offer ORDER BY kind, name, peer")
	for _, m := range offers {
		v.offers[m.offer] = append(v.offers[m.offer], m.peer)
	}
	return v, err
}

// others returns the other peers that make an offer.
func (r *registry) others(v *view, o offer) []string {
	return slices.DeleteFunc(slices.Clone(v.offers[o]), func(id string) bool { return id == r.self })
}

// resolve returns the peers that serve a service. It implements mesh.Options.Resolve.
func (r *registry) resolve(ctx context.Context, service string, fresh bool) ([]string, error) {
	age := reconcileInterval
	if fresh {
		age = 0
	}
	v, err := r.current(ctx, age)
	if err != nil {
		return nil, err
	}
	return v.offers[offer{toServe, service}], nil
}

// dial connects with a peer. It implements mesh.Options.Dial.
func (r *registry) dial(ctx context.Context, id string) error {
	v, err := r.current(ctx, reconcileInterval)
	if err != nil {
		return err
	}
	p, ok := v.peers[id]
	if !ok {
		return backend.Errorf(backend.ErrUnavailable, "peer %s has left", id).With(backend.OutcomeNotSent)
	}
	return r.mesh.Connect(ctx, p.Address)
}

// join connects an observer with all peers, at its first call. Events and wake-ups need connections; reads don't, so
// that opening makes none, and waits for no peer that is stopped.
func (r *registry) join(ctx context.Context) {
	if !r.observer {
		return
	}
	r.joined.Do(func() {
		ctx, cancel := context.WithTimeout(ctx, joinTimeout)
		defer cancel()
		r.reconcile(ctx)
	})
}

// watch connects this peer with all others and removes dead peers, until ctx ends.
func (r *registry) watch(ctx context.Context) {
	tick := time.NewTicker(reconcileInterval)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.lost.C():
		case <-ctx.Done():
			return
		}
		within, cancel := context.WithTimeout(ctx, connectTimeout)
		r.reconcile(within)
		cancel()
		r.files.checkReplaced(r.log)
	}
}

// checkNow makes watch check at once: a peer whose connection has ended may be dead.
func (r *registry) checkNow(string) { r.lost.Set() }

// reconcile connects to the peers that are not connected, and removes dead ones. The peer that registered later dials.
func (r *registry) reconcile(ctx context.Context) {
	v, err := r.current(ctx, 0)
	if err != nil {
		r.log.Debug("cannot read the registry", "error", err)
		return
	}
	connected := r.mesh.Connected()
	var wg sync.WaitGroup
	for id, p := range v.peers {
		switch {
		case id == r.self || slices.Contains(connected, id):
		case !r.observer && r.isDead(id):
			wg.Go(func() { r.removeDeadPeer(ctx, p) })
		case r.observer || p.joined < v.peers[r.self].joined:
			wg.Go(func() {
				if err := r.mesh.Connect(ctx, p.Address); err != nil && ctx.Err() == nil {
					r.log.Debug("cannot connect to peer", "peer", id, "error", err)
				}
			})
		}
	}
	wg.Wait()
}
