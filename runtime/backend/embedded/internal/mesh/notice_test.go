package mesh

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

// A record collects the events of a Mesh.
type record struct {
	mu    sync.Mutex
	lines []string
	grew  chan struct{} // has an element after lines has grown
}

func newRecord(o Options) (*record, Options) {
	r := &record{grew: make(chan struct{}, 1)}
	o.OnNotice = func(from string, n Notice) { r.add(fmt.Sprintf("%s %s/%s %s", from, n.Kind, n.Name, n.Body)) }
	o.OnGap = func(from string) { r.add(from + " gap") }
	o.OnLost = func(id string) { r.add(id + " lost") }
	return r, o
}

func (r *record) add(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.lines = append(r.lines, line)
	select {
	case r.grew <- struct{}{}:
	default:
	}
}

// waitFor returns the lines once there are at least n.
func (r *record) waitFor(n int) []string {
	for {
		r.mu.Lock()
		lines := slices.Clone(r.lines)
		r.mu.Unlock()
		if len(lines) >= n {
			return lines
		}
		<-r.grew
	}
}

func wantEvents(t *testing.T, got []string, want ...string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("events %q, want %q", got, want)
	}
}

func TestNoticesArriveInOrderAfterAGap(t *testing.T) {
	ra, oa := newRecord(Options{ID: "a"})
	rb, ob := newRecord(Options{ID: "b"})
	a, b := start(t, oa), start(t, ob)
	if err := b.Connect(t.Context(), a.Address()); err != nil {
		t.Fatal(err)
	}
	wantEvents(t, ra.waitFor(1), "b gap")
	wantEvents(t, rb.waitFor(1), "a gap")
	want := []string{"b gap"}
	for i := range 100 {
		body := fmt.Sprint(i)
		b.Notify([]string{"unknown", "a", "b"}, Notice{Kind: "hint", Name: "resize/small", Body: json.RawMessage(body)})
		want = append(want, "b hint/resize/small "+body)
	}
	wantEvents(t, ra.waitFor(101), want...)
	a.Notify([]string{"b"}, Notice{Kind: "look"})
	wantEvents(t, rb.waitFor(2), "a gap", "a look/ ")
	if err := b.Close(t.Context()); err != nil {
		t.Error(err)
	}
	wantEvents(t, ra.waitFor(102)[101:], "b lost")
	wantEvents(t, rb.waitFor(3)[2:], "a lost")
}

// A peer that doesn't read blocks nothing. When it reads again, it receives the queued notices, one gap, and later
// notices.
func TestExcessNoticesBecomeOneGap(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := unstarted(t, Options{ID: "m"})
		s := connectFake(t, m, "s")
		notify := func(i int) { m.Notify([]string{"s"}, Notice{Kind: "n", Name: fmt.Sprint(i)}) }
		notify(0)
		synctest.Wait() // the writer is blocked writing it
		for i := range 10 * maxNotices {
			notify(i + 1)
		}
		for i := range maxNotices + 1 {
			if h := s.receive(); h.Kind != kindNotice || h.Type != fmt.Sprint("n/", i) {
				t.Fatalf("%+v, want notice %d", h, i)
			}
		}
		s.want(kindGap, "")
		synctest.Wait()
		notify(-1)
		if h := s.receive(); h.Type != "n/-1" {
			t.Errorf("after the gap: %+v", h)
		}
	})
}

func TestTooLargeNoticeIsGap(t *testing.T) {
	r, o := newRecord(Options{ID: "a"})
	a, b := start(t, o), start(t, Options{ID: "b"})
	if err := b.Connect(t.Context(), a.Address()); err != nil {
		t.Fatal(err)
	}
	b.Notify([]string{"a"}, Notice{Kind: "n", Body: make([]byte, maxNotice+1)})
	wantEvents(t, r.waitFor(2), "b gap", "b gap")
	b.Notify([]string{"a"}, Notice{Kind: "n", Name: strings.Repeat("x", envelope.MaxShort)})
	wantEvents(t, r.waitFor(3)[2:], "b gap")
}

// With two connections, the end of the first is a gap, and only the end of the second loses the peer.
func TestPeerIsLostWithItsLastConnection(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r, o := newRecord(Options{ID: "a"})
		a, b := unstarted(t, o), unstarted(t, Options{ID: "b"})
		one, two := connectPair(t, a, b), connectPair(t, b, a)
		synctest.Wait()
		_ = one.Close()
		synctest.Wait()
		b.Notify([]string{"a"}, Notice{Kind: "n"})
		synctest.Wait()
		_ = two.Close()
		synctest.Wait()
		wantEvents(t, r.waitFor(5), "b gap", "b gap", "b gap", "b n/ ", "b lost")
	})
}
