package dashboard

import (
	"context"
	"fmt"
	"sync"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

const (
	maxFeeds     = 20        // logs that are followed at the same time
	maxFeedLines = 2000      // of a log that are kept for those who begin to follow it
	maxFeedBytes = 512 << 10 // of these
)

// feeds are the logs that some pages follow. Each is read once for all of its followers.
type feeds struct {
	api admin.API

	mu   sync.Mutex
	byID map[string]*feed
}

// A feed is a log that is followed.
type feed struct {
	id        string
	cancel    context.CancelFunc
	followers int // guarded by feeds.mu

	mu      sync.Mutex
	lines   []string // the last ones
	bytes   int      // of these
	first   int      // how many came before
	ended   bool
	err     error
	changed chan struct{} // closed when any of these has changed
}

func newFeeds(api admin.API) *feeds { return &feeds{api: api, byID: map[string]*feed{}} }

// open returns the log of a task. The caller must call close.
func (s *feeds) open(id string) (*feed, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f := s.byID[id]
	if f == nil {
		if len(s.byID) >= maxFeeds {
			return nil, af.Errorf(af.ErrResourceExhausted, "%d other logs are being followed", maxFeeds).
				With(af.OutcomeNotSent)
		}
		ctx, cancel := context.WithCancel(context.Background())
		f = &feed{id: id, cancel: cancel, changed: make(chan struct{})}
		s.byID[id] = f
		go s.read(ctx, f) // ends with the log or the last follower
	}
	f.followers++
	return f, nil
}

func (s *feeds) close(f *feed) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f.followers--; f.followers == 0 {
		f.cancel()
		s.forget(f)
	}
}

// forget makes those who open the log from now on read it from its beginning. The caller has locked mu.
func (s *feeds) forget(f *feed) {
	if s.byID[f.id] == f {
		delete(s.byID, f.id)
	}
}

func (s *feeds) read(ctx context.Context, f *feed) {
	var ended error
	for lines, err := range s.api.Logs(ctx, f.id) {
		if ended = err; err != nil {
			break
		}
		f.add(lines)
	}
	s.mu.Lock()
	s.forget(f)
	s.mu.Unlock()
	f.end(ended)
}

func (f *feed) add(lines []string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.lines = append(f.lines, lines...)
	for _, line := range lines {
		f.bytes += len(line)
	}
	for len(f.lines) > maxFeedLines || f.bytes > maxFeedBytes && len(f.lines) > 1 {
		f.bytes -= len(f.lines[0])
		f.lines[0] = ""
		f.lines, f.first = f.lines[1:], f.first+1
	}
	f.tell()
}

func (f *feed) end(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended, f.err = true, err
	f.tell()
}

// tell wakes the followers. The caller has locked mu.
func (f *feed) tell() {
	close(f.changed)
	f.changed = make(chan struct{})
}

// follow calls send with the lines until the log or ctx has ended, or send returns false. It returns the error with
// which the log has ended.
func (f *feed) follow(ctx context.Context, send func(lines []string) bool) error {
	for at := 0; ; {
		lines, next, changed, ended, err := f.after(at)
		if len(lines) > 0 && !send(lines) || ended {
			return err
		}
		at = next
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		}
	}
}

// after returns the lines after the first n, and the n to continue with. If some are not kept any longer, the first line
// tells how many.
func (f *feed) after(n int) (lines []string, next int, changed <-chan struct{}, ended bool, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if gone := f.first - n; gone > 0 {
		lines, n = append(lines, fmt.Sprintf("… %s left out", plural(gone, "line"))), f.first
	}
	lines = append(lines, f.lines[n-f.first:]...)
	return lines, f.first + len(f.lines), f.changed, f.ended, f.err
}
