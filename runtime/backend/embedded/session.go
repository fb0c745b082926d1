package embedded

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/gofrs/flock"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded/internal/mesh"
	"github.com/afgen/afgen/runtime/internal/signal"
)

// A session is one opening of the file. Other sessions see it as a peer.
type session struct {
	db          *database
	peers       *registry
	mesh        *mesh.Mesh
	transport   *transport
	coordinator *coordinator

	stop       context.CancelFunc // stops the background goroutines
	background sync.WaitGroup     // the background goroutines
}

// openSession opens the file and registers this peer. If it fails it undoes what it has done.
func openSession(ctx context.Context, p paths, o options, env backend.Env) (_ *session, err error) {
	unlock, err := lockOpening(ctx, p.run)
	if err != nil {
		return nil, err
	}
	defer unlock()

	var undo []func() error
	defer func() {
		if err == nil {
			return
		}
		for i := len(undo) - 1; i >= 0; i-- {
			err = errors.Join(err, undo[i]())
		}
	}()
	id := rand.Text()
	lock := flock.New(lockFile(p.run, id), flock.SetPermissions(0o600))
	if held, err := lock.TryLock(); err != nil || !held {
		return nil, creationError("lock a file in "+p.run, err)
	}
	undo = append(undo, func() error { return errors.Join(lock.Unlock(), os.Remove(lock.Path())) })

	s := &session{}
	if s.db, err = openDatabase(ctx, p.file, id, o, newWriteLock(filepath.Join(p.run, writeLockFile))); err != nil {
		return nil, err
	}
	undo = append(undo, s.db.close)

	s.peers = &registry{db: s.db, self: id, run: p.run, lock: lock, log: env.Logger, lost: signal.New(),
		deaths: signal.New(), offers: map[offer]int{}}
	s.peers.files = newFileWatch(p.file, lockFile(p.run, id))
	s.transport = &transport{
		db: s.db, peers: s.peers, closed: make(chan struct{}), listeners: map[offer]map[*listener]struct{}{},
	}
	s.coordinator = &coordinator{db: s.db, peers: s.peers}
	s.mesh, err = mesh.Listen(mesh.Options{
		ID: id, Dir: p.run, Loopback: o.loopback, Logger: env.Logger,
		Resolve: s.peers.resolve, Dial: s.peers.dial, OnNotice: s.onNotice, OnGap: s.onGap, OnLost: s.onLost,
	})
	if err != nil {
		return nil, err
	}
	s.peers.mesh, s.coordinator.mesh = s.mesh, s.mesh
	undo = append(undo, func() error { return s.mesh.Close(context.WithoutCancel(ctx)) })

	if err := s.peers.addSelf(ctx); err != nil {
		return nil, err
	}
	s.peers.removeStaleFiles(ctx)
	background, end := context.WithCancel(context.Background())
	s.stop = end
	s.background.Go(func() { s.peers.watch(background) })
	return s, nil
}

// lockOpening locks the file against being opened or closed by other processes. So initialization runs once, and of two
// processes that close the file one is the last.
func lockOpening(ctx context.Context, run string) (unlock func(), err error) {
	path := filepath.Join(run, openLock)
	lock := flock.New(path, flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, 5*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			return nil, backend.Errorf(backend.CodeOf(ctx.Err()), "waiting for another process to open the file: %w",
				context.Cause(ctx)).
				With(backend.OutcomeNotSent)
		}
		return nil, pathError("lock "+path, err)
	}
	return func() { _ = lock.Unlock() }, nil // closing the descriptor would release it, too
}

func (s *session) ports() *backend.Ports {
	return &backend.Ports{
		Name:        "embedded",
		Calls:       &calls{s},
		Store:       &store{db: s.db, peers: s.peers},
		Docs:        &docs{s.db},
		Transport:   s.transport,
		Coordinator: s.coordinator,
		Close:       s.close,
	}
}

// close removes this peer and closes the file. It continues after errors.
func (s *session) close(ctx context.Context) error {
	close(s.transport.closed)
	s.stop()
	err := s.mesh.Close(ctx)
	s.background.Wait()
	if s.peers.observer {
		return errors.Join(err, s.db.close())
	}
	ctx = context.WithoutCancel(ctx)
	err = errors.Join(err, s.peers.removeSelf(ctx))
	// SQLite removes its log when the last process closes the file. If two close it at the same moment, neither would,
	// hence the lock. If another process is stopped while it holds the lock, the stale files are left.
	within, cancel := context.WithTimeout(ctx, closeTimeout)
	defer cancel()
	if unlock, oneErr := lockOpening(within, s.peers.run); oneErr == nil {
		defer unlock()
		s.peers.removeStaleFiles(within)
	}
	return errors.Join(err, s.db.close())
}

// onNotice handles a notice from another peer.
func (s *session) onNotice(_ string, n mesh.Notice) {
	switch n.Kind {
	case toListen, toReceive:
		s.transport.wakeLocal(offer{n.Kind, n.Name})
	case kindEvent:
		s.coordinator.topics.Publish(n.Name, n.Body)
	}
}

// onGap handles the loss of notices from another peer.
func (s *session) onGap(string) {
	s.transport.wakeAll()
	s.coordinator.topics.Gap()
}

// onLost handles the end of the last connection with another peer. Its last notices may be lost with it: a process that
// was killed right after submitting a task has woken no listener.
func (s *session) onLost(peer string) {
	s.peers.checkNow(peer)
	s.onGap(peer)
}

// calls implements backend.Calls: the mesh carries calls, and the registry knows which peers serve.
type calls struct{ *session }

// Call implements backend.Calls.
func (c *calls) Call(ctx context.Context, req *backend.Request) (*backend.Reply, error) {
	return c.mesh.Call(ctx, req)
}

// Serve implements backend.Calls.
func (c *calls) Serve(ctx context.Context, e backend.Endpoint, h backend.Handler) (backend.Serving, error) {
	facts, err := json.Marshal(e)
	if err != nil {
		return nil, backend.Errorf(backend.ErrInternal, "describing service %q: %w", e.Service, err)
	}
	s := &serving{session: c.session, offer: offer{toServe, e.Service}, inner: c.mesh.Serve(e, h)}
	if err := c.peers.addOffer(ctx, s.offer, string(facts), noExtra); err != nil {
		s.inner.Close(err)
		return nil, err
	}
	return s, nil
}

// A serving is a service that this peer serves, with its entry in the registry.
type serving struct {
	*session
	offer offer
	inner *mesh.Serving
	once  sync.Once
}

// Drain implements backend.Serving. From now on, callers choose other instances.
func (s *serving) Drain(ctx context.Context) error {
	s.once.Do(func() {
		if err := s.peers.removeOffer(ctx, s.offer, noExtra); err != nil {
			s.peers.log.Debug("cannot remove draining service from the registry", "service", s.offer.name, "error", err)
		}
	})
	return s.inner.Drain(ctx)
}

// Close implements backend.Serving.
func (s *serving) Close(cause error) {
	s.inner.Close(cause)
	s.once.Do(func() {
		s.background.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), cleanupTimeout)
			defer cancel()
			if err := s.peers.removeOffer(ctx, s.offer, noExtra); err != nil {
				s.peers.log.Debug("cannot remove closed service from the registry", "service", s.offer.name, "error", err)
			}
		})
	})
}
