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

// A registry knows who shares the file, and what they offer. Rows in the file say it, and each peer holds a lock while it
// lives: whoever finds the lock of another free removes that peer's rows.
//
// What was read of it is kept as a view until its generation changes, which every transaction reads. So who has written
// something knows of all who were there before: a hint that follows an insert reaches everybody who might have looked too
// early.
type registry struct {
	db   *database
	mesh *mesh.Mesh
	self string
	run  string // the folder of locks and sockets
	lock *flock.Flock
	log  *slog.Logger

	mu   sync.Mutex
	last *view

	// offering is held while an offer is written, so that the file learns things in the order in which they happen.
	offering sync.Mutex
	offers   map[offer]int // how often this peer makes each

	custody *custody // only watch uses it

	lost   signal.Signal // a connection has ended
	deaths signal.Signal // a peer was found dead
}

// A view is what a registry says at one generation. It is never changed.
type view struct {
	generation int64
	peers      map[string]peer
	offers     map[offer][]string // the peers that make it
}

type peer struct {
	mesh.Address
	joined int64
}

// An offer is what a peer does for others: serve a service, listen to a queue.
type offer struct{ kind, name string }

const (
	toServe   = "service"
	toListen  = "queue"
	toReceive = "raw"

	reconcileEvery = time.Second
	connectWithin  = time.Second
	closeWithin    = time.Second
	joinWithin     = 500 * time.Millisecond // a peer that was stopped answers nobody

	openLock = "open.lock" // in the folder of locks
	turnLock = "turn.lock"
)

func lockFile(run, peer string) string { return filepath.Join(run, peer+".lock") }

// join enters this peer, whose lock is held and whose mesh listens, and connects it with those that were there before.
func (r *registry) join(ctx context.Context) error {
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
		return tx.registered()
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, joinWithin)
	defer cancel()
	r.reconcile(ctx)
	return nil
}

// registered notes that the registry has changed.
func (t *tx) registered() error {
	if err := t.exec("UPDATE counter SET registry = registry + 1"); err != nil {
		return err
	}
	return t.readGeneration()
}

// leave removes this peer. Where its rows can't be deleted the others find its lock free, and do it. Once that is free they
// may also be first to remove the file.
func (r *registry) leave(ctx context.Context) error {
	_, err := r.remove(ctx, r.self)
	unlocked := r.lock.Unlock()
	if err == nil {
		r.discard(lockFile(r.run, r.self))
	}
	return errors.Join(err, unlocked)
}

// remove deletes a peer's rows, and gives back what it has taken.
func (r *registry) remove(ctx context.Context, peer string) (removed bool, err error) {
	return write(ctx, r.db.writer, func(tx *tx) (bool, error) {
		n, err := tx.affect("DELETE FROM peer WHERE id = ?", peer)
		if err != nil || n == 0 {
			return false, err
		}
		if err := tx.exec("DELETE FROM offer WHERE peer = ?", peer); err != nil {
			return false, err
		}
		if err := tx.exec("UPDATE raw SET taken = NULL WHERE taken = ? AND taken IS NOT NULL", peer); err != nil {
			return false, err
		}
		return true, tx.registered()
	})
}

// dead says that a peer's process has ended for certain: nobody holds its lock. Where there is no lock file nothing is
// certain.
func (r *registry) dead(peer string) bool {
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

// offer tells the others what this peer does. With each write more is to be done in its transaction.
func (r *registry) offer(ctx context.Context, o offer, facts string, more func(*tx) error) error {
	r.offering.Lock()
	defer r.offering.Unlock()
	if r.offers[o] == 0 {
		err := change(ctx, r.db.writer, func(tx *tx) error {
			if err := more(tx); err != nil {
				return err
			}
			if err := tx.exec("INSERT OR REPLACE INTO offer (kind, name, peer, facts) VALUES (?, ?, ?, ?)", o.kind, o.name, r.self, facts); err != nil {
				return err
			}
			return tx.registered()
		})
		if errors.Is(err, errStillWriting) { // it may still be written, and would never be withdrawn
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveWithin)
			defer cancel()
			err = errors.Join(err, r.takeBack(undo, o, noMore))
		}
		if err != nil {
			return err
		}
	}
	r.offers[o]++
	return nil
}

// withdraw takes an offer back, once it has been taken back as often as it was made.
func (r *registry) withdraw(ctx context.Context, o offer, more func(*tx) error) error {
	r.offering.Lock()
	defer r.offering.Unlock()
	if r.offers[o]--; r.offers[o] > 0 {
		return nil
	}
	delete(r.offers, o)
	return r.takeBack(ctx, o, more)
}

// takeBack deletes an offer from the file.
func (r *registry) takeBack(ctx context.Context, o offer, more func(*tx) error) error {
	return change(ctx, r.db.writer, func(tx *tx) error {
		if err := tx.exec("DELETE FROM offer WHERE kind = ? AND name = ? AND peer = ?", o.kind, o.name, r.self); err != nil {
			return err
		}
		if err := more(tx); err != nil {
			return err
		}
		return tx.registered()
	})
}

// noMore is for offers that are all there is to write.
func noMore(*tx) error { return nil }

// current returns what the registry says: as it was at the last transaction of this process, or, where that is longer ago
// than age, as it is.
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
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.last == nil || r.last.generation <= v.generation {
		r.last = v
	}
	return v, nil
}

// read makes a view. It is of the generation that was read before, or later.
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

// others returns the peers besides this one that make an offer.
func (r *registry) others(v *view, o offer) []string {
	return slices.DeleteFunc(slices.Clone(v.offers[o]), func(id string) bool { return id == r.self })
}

// resolve names the peers that serve a service, for the mesh.
func (r *registry) resolve(ctx context.Context, service string, fresh bool) ([]string, error) {
	age := reconcileEvery
	if fresh {
		age = 0
	}
	v, err := r.current(ctx, age)
	if err != nil {
		return nil, err
	}
	return v.offers[offer{toServe, service}], nil
}

// dial connects with a peer, for the mesh.
func (r *registry) dial(ctx context.Context, id string) error {
	v, err := r.current(ctx, reconcileEvery)
	if err != nil {
		return err
	}
	p, ok := v.peers[id]
	if !ok {
		return backend.Errorf(backend.ErrUnavailable, "peer %s has left", id).With(backend.OutcomeNotSent)
	}
	return r.mesh.Connect(ctx, p.Address)
}

// watch keeps this peer connected with all others, and removes those that are dead, until ctx ends.
func (r *registry) watch(ctx context.Context) {
	tick := time.NewTicker(reconcileEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-r.lost.C():
		case <-ctx.Done():
			return
		}
		within, cancel := context.WithTimeout(ctx, connectWithin)
		r.reconcile(within)
		cancel()
		r.custody.look(r.log)
	}
}

// connectionLost makes watch look at once: whose connection ends may be dead.
func (r *registry) connectionLost(string) { r.lost.Set() }

// reconcile looks after the peers with whom there is no connection. Of two the younger one dials.
func (r *registry) reconcile(ctx context.Context) {
	v, err := r.current(ctx, 0)
	if err != nil {
		r.log.Debug("the peers can't be read", "error", err)
		return
	}
	connected := r.mesh.Connected()
	var wg sync.WaitGroup
	for id, p := range v.peers {
		switch {
		case id == r.self || slices.Contains(connected, id):
		case r.dead(id):
			wg.Go(func() { r.bury(ctx, p) })
		case p.joined < v.peers[r.self].joined:
			wg.Go(func() {
				if err := r.mesh.Connect(ctx, p.Address); err != nil && ctx.Err() == nil {
					r.log.Debug("not connected", "peer", id, "error", err)
				}
			})
		}
	}
	wg.Wait()
}
