package jobs

import (
	"context"
	"encoding/json"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
)

// presence is a coordinator with fixed announcements.
type presence struct {
	backend.Coordinator
	ids  map[string]json.RawMessage
	down bool
	asks int
}

func (p *presence) Announce(_ context.Context, _, id string, facts json.RawMessage) error {
	if p.down {
		return backend.NewError(backend.ErrUnavailable, "down")
	}
	p.ids[id] = facts
	return nil
}

func (p *presence) Present(context.Context, string) (map[string]json.RawMessage, error) {
	p.asks++
	return p.ids, nil
}

func TestLeastInstanceLeads(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		p := &presence{ids: map[string]json.RawMessage{}}
		a, b := leader{coordinator: p, self: "a"}, leader{coordinator: p, self: "b"}
		b.elect(t.Context())
		if b.lag() != 0 {
			t.Error("the only scheduler doesn't lead")
		}
		a.elect(t.Context())
		time.Sleep(announceEvery)
		b.elect(t.Context())
		if a.lag() != 0 || b.lag() != followerLag {
			t.Errorf("lags of %v and %v", a.lag(), b.lag())
		}
		asks := p.asks
		b.elect(t.Context())
		if p.asks != asks {
			t.Error("it asks again at once")
		}
		p.down = true
		time.Sleep(announceEvery)
		if b.elect(t.Context()); b.lag() != 0 {
			t.Error("without a coordinator it doesn't lead")
		}
		p.down = false
		if b.elect(t.Context()); b.lag() != followerLag {
			t.Error("the next election waits although the last one failed")
		}
	})
}
