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

// A session is one opening of the file: a peer among those that share it.
type session struct {
	db        *database
	peers     *registry
	mesh      *mesh.Mesh
	transport *transport
	news      *coordinator

	end     context.CancelFunc // of the background
	working sync.WaitGroup
}

// openSession opens the file and joins those that share it. What has been opened when something fails is closed again.
func openSession(ctx context.Context, p place, o options, env backend.Env) (_ *session, err error) {
	unlock, err := one(ctx, p.run)
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
		return nil, cannot("lock a file in "+p.run, err)
	}
	undo = append(undo, func() error { return errors.Join(lock.Unlock(), os.Remove(lock.Path())) })

	s := &session{}
	if s.db, err = openDatabase(ctx, p.file, id, o, newTurn(filepath.Join(p.run, turnLock))); err != nil {
		return nil, err
	}
	undo = append(undo, s.db.close)

	s.peers = &registry{db: s.db, self: id, run: p.run, lock: lock, log: env.Logger, lost: signal.New(), deaths: signal.New(), offers: map[offer]int{}}
	s.peers.custody = newCustody(p.file, lockFile(p.run, id))
	s.transport = &transport{
		db: s.db, peers: s.peers, closed: make(chan struct{}), listeners: map[offer]map[*listener]struct{}{},
	}
	s.news = &coordinator{db: s.db}
	s.mesh, err = mesh.Listen(mesh.Options{
		ID: id, Dir: p.run, Loopback: o.loopback, Logger: env.Logger,
		Resolve: s.peers.resolve, Dial: s.peers.dial, OnNotice: s.noticed, OnGap: s.missed, OnLost: s.lost,
	})
	if err != nil {
		return nil, err
	}
	s.peers.mesh, s.news.mesh = s.mesh, s.mesh
	undo = append(undo, func() error { return s.mesh.Close(context.WithoutCancel(ctx)) })

	if err := s.peers.join(ctx); err != nil {
		return nil, err
	}
	s.peers.tidy(ctx)
	background, end := context.WithCancel(context.Background())
	s.end = end
	s.working.Go(func() { s.peers.watch(background) })
	return s, nil
}

// one waits until this process is the only one that opens or closes the file: what happens at the first opening happens
// once, and of two that close it one is the last.
func one(ctx context.Context, run string) (unlock func(), err error) {
	path := filepath.Join(run, openLock)
	lock := flock.New(path, flock.SetPermissions(0o600))
	if _, err := lock.TryLockContext(ctx, 5*time.Millisecond); err != nil {
		if ctx.Err() != nil {
			return nil, backend.Errorf(backend.CodeOf(ctx.Err()), "another process is still opening the file: %w", context.Cause(ctx)).
				With(backend.OutcomeNotSent)
		}
		return nil, cannot("lock "+path, err)
	}
	return func() { _ = lock.Unlock() }, nil // it would go with the descriptor, too
}

func (s *session) ports() *backend.Ports {
	return &backend.Ports{
		Name:        "embedded",
		Calls:       &calls{s},
		Store:       &store{s.db, s.peers},
		Docs:        &docs{s.db},
		Transport:   s.transport,
		Coordinator: s.news,
		Close:       s.close,
	}
}

// close leaves the others and closes the file, whatever fails on the way.
func (s *session) close(ctx context.Context) error {
	close(s.transport.closed)
	s.end()
	err := s.mesh.Close(ctx)
	s.working.Wait()
	ctx = context.WithoutCancel(ctx)
	err = errors.Join(err, s.peers.leave(ctx))
	// SQLite removes its log when the last one closes the file; of two at the same moment neither is. Who can't be alone,
	// since another is stopped while it is, leaves without tidying up.
	within, cancel := context.WithTimeout(ctx, closeWithin)
	defer cancel()
	if unlock, oneErr := one(within, s.peers.run); oneErr == nil {
		defer unlock()
		s.peers.tidy(within)
	}
	return errors.Join(err, s.db.close())
}

// noticed is told what other peers tell.
func (s *session) noticed(_ string, n mesh.Notice) {
	switch n.Kind {
	case toListen, toReceive:
		s.transport.wakeHere(offer{n.Kind, n.Name})
	case kindNews:
		s.news.topics.Publish(n.Name, n.Body)
	}
}

// missed is told that notices of another peer may have been lost.
func (s *session) missed(string) {
	s.transport.wakeAll()
	s.news.topics.Gap()
}

// lost is told that the last connection with another peer has ended. What that one had to tell may be lost with it: a process
// that was killed right after it submitted a task has woken nobody.
func (s *session) lost(peer string) {
	s.peers.connectionLost(peer)
	s.missed(peer)
}

// calls is the Calls port: the mesh carries, the registry says who serves.
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
	if err := c.peers.offer(ctx, s.offer, string(facts), noMore); err != nil {
		s.inner.Close(err)
		return nil, err
	}
	return s, nil
}

// A serving is a service that this peer serves and says so.
type serving struct {
	*session
	offer offer
	inner *mesh.Serving
	once  sync.Once
}

// Drain implements backend.Serving. Callers look for another instance from now on.
func (s *serving) Drain(ctx context.Context) error {
	s.once.Do(func() {
		if err := s.peers.withdraw(ctx, s.offer, noMore); err != nil {
			s.peers.log.Debug("a service that drains is still in the registry", "service", s.offer.name, "error", err)
		}
	})
	return s.inner.Drain(ctx)
}

// Close implements backend.Serving.
func (s *serving) Close(cause error) {
	s.inner.Close(cause)
	s.once.Do(func() {
		s.working.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), leaveWithin)
			defer cancel()
			if err := s.peers.withdraw(ctx, s.offer, noMore); err != nil {
				s.peers.log.Debug("a closed service is still in the registry", "service", s.offer.name, "error", err)
			}
		})
	})
}
