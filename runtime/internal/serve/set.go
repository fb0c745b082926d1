package serve

import (
	"context"
	"log/slog"
	"sync"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/internal/grace"
)

// A Set has the Servers of an App. The zero value is empty. It is safe for concurrent use.
type Set struct {
	mu  sync.Mutex
	all []serving
}

type serving struct {
	server *Server
	backend.Serving
}

// Serve starts answering the requests for a service, until Drain.
func (s *Set) Serve(ctx context.Context, calls backend.Calls, e backend.Endpoint, server *Server) error {
	begun, err := calls.Serve(ctx, e, server.Handle)
	if err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, serving{server, begun})
	return nil
}

func (s *Set) servings() []serving {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all[:len(s.all):len(s.all)]
}

// InFlight returns the number of running handlers, by service.
func (s *Set) InFlight() map[string]int {
	n := map[string]int{}
	for _, one := range s.servings() {
		n[one.server.Service.Name] = int(one.server.Service.Load.InFlight())
	}
	return n
}

// Drain drains all services concurrently. It returns the errors of those that did not end before ctx. It cancels the
// contexts of their handlers, and waits for them for up to grace.Abandon.
func (s *Set) Drain(ctx context.Context, log *slog.Logger) []error {
	all := s.servings()
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, one := range all {
		wg.Go(func() {
			if errs[i] = one.Drain(ctx); errs[i] == nil {
				return
			}
			one.Close(backend.NewError(backend.ErrUnavailable, "the instance is shutting down"))
			grace, cancel := grace.Outlast(ctx, grace.Abandon)
			defer cancel()
			if err := one.Drain(grace); err != nil {
				log.Error("handlers did not return after their contexts ended, abandoned",
					"error", err, "stacks", one.server.stuck())
			}
		})
	}
	wg.Wait()
	return errs
}
