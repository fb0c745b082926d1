package amqp

import (
	"context"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
)

func TestAcknowledgementsAreTakenTogether(t *testing.T) {
	for name, c := range map[string]struct {
		delivered, batch int
		ready            []uint64
		late             bool
		upTo             uint64
		n                int
		single           []uint64
	}{
		"none_ready":      {delivered: 3, batch: 2},
		"late_but_none":   {delivered: 3, batch: 2, late: true},
		"few_wait":        {delivered: 3, batch: 3, ready: []uint64{1, 2}},
		"all_ready":       {delivered: 3, batch: 9, ready: []uint64{3, 1, 2}, upTo: 3, n: 3},
		"only_one":        {delivered: 1, batch: 9, ready: []uint64{1}, upTo: 1, n: 1},
		"many":            {delivered: 5, batch: 3, ready: []uint64{2, 1, 3}, upTo: 3, n: 3},
		"later_ones_wait": {delivered: 9, batch: 3, ready: []uint64{1, 3, 4}, upTo: 1, n: 1},
		"later_ones_late": {
			delivered: 9, batch: 9, ready: []uint64{1, 4, 6}, late: true, upTo: 1, n: 1, single: []uint64{4, 6},
		},
		"oldest_runs":       {delivered: 9, batch: 3, ready: []uint64{4, 3}},
		"oldest_runs_late":  {delivered: 9, batch: 3, ready: []uint64{4, 3}, late: true, single: []uint64{3, 4}},
		"oldest_runs_many":  {delivered: 9, batch: 3, ready: []uint64{4, 3, 9}, single: []uint64{3, 4, 9}},
		"few_slots_at_once": {delivered: 2, batch: newAcks(2).batch, ready: []uint64{2}, single: []uint64{2}},
	} {
		t.Run(name, func(t *testing.T) {
			a := acks{batch: c.batch, ready: len(c.ready)}
			for tag := uint64(1); tag <= uint64(c.delivered); tag++ {
				a.unacked = append(a.unacked, &request{deliveryTag: tag, acknowledged: slices.Contains(c.ready, tag)})
			}
			upTo, n, single := a.take(c.late)
			if upTo != c.upTo || n != c.n || !slices.Equal(single, c.single) {
				t.Errorf("got %d by tag %d and %v; want %d by tag %d and %v", n, upTo, single, c.n, c.upTo, c.single)
			}
			if taken := n + len(single); len(a.unacked) != c.delivered-taken || a.ready != len(c.ready)-taken {
				t.Errorf("%d of %d are left, %d ready", len(a.unacked), c.delivered, a.ready)
			}
		})
	}
}

// A call that runs for long holds up no acknowledgement of later calls, which would be redelivered if the instance
// died. They don't acknowledge the long call with them.
func TestLongCallHoldsUpNoAcknowledgement(t *testing.T) {
	p := newProxy(t, devstack.AMQP(t))
	client := dial(t, p.direct)
	began, release := make(chan struct{}), make(chan struct{})
	serve(t, dial(t, p.url), "s", 64, func(ctx context.Context, req *backend.Request, reply func(*backend.Reply)) {
		if req.Method == "Long" {
			close(began)
			<-release
		}
		echo(ctx, req, reply)
	})
	long := newRequest("s")
	long.Method = "Long"
	last := startCall(t.Context(), client, long)
	<-began
	var want []uint64
	for tag := uint64(2); tag < 10; tag++ {
		must(t, (<-startCall(t.Context(), client, newRequest("s"))).err)
		want = append(want, tag)
	}
	acknowledged := func() (tags []uint64) {
		p.mu.Lock()
		defer p.mu.Unlock()
		for _, sent := range p.sent {
			for _, args := range methods(sent.Bytes(), 60, 80) { // basic.ack: tag, multiple
				if args[8] != 0 {
					t.Error("an acknowledgement covers older calls")
				}
				tags = append(tags, binary.BigEndian.Uint64(args))
			}
		}
		slices.Sort(tags)
		return tags
	}
	eventually(t, "the short calls are acknowledged", func() bool { return slices.Equal(acknowledged(), want) })
	close(release)
	must(t, (<-last).err)
	want = append([]uint64{1}, want...)
	eventually(t, "the long call is acknowledged", func() bool { return slices.Equal(acknowledged(), want) })
}
