package snowflake

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// openDocs returns the documents of an isolated backend.
func openDocs(t interface {
	Fatal(...any)
	Cleanup(func())
}) backend.Docs {
	ports, err := memory.New().Open(context.Background(), backend.Env{Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ports.Close(context.Background()) })
	return ports.Docs
}

// A trickster loses replies, before or after the write.
type trickster struct {
	backend.Docs
	mood func() int
}

var errTrick = backend.NewError(backend.ErrUnavailable, "the reply was lost")

func (d trickster) PutIf(ctx context.Context, name string, rev int64, value json.RawMessage) (int64, error) {
	switch d.mood() {
	case 0:
		return 0, errTrick
	case 1:
		_, _ = d.Docs.PutIf(ctx, name, rev, value)
		return 0, errTrick
	}
	return d.Docs.PutIf(ctx, name, rev, value)
}

func (d trickster) Get(ctx context.Context, name string) (backend.Doc, error) {
	if d.mood() == 0 {
		return backend.Doc{}, errTrick
	}
	return d.Docs.Get(ctx, name)
}

// A machine is a process with its own clock. The machines of a test share few numbers and so compete for them.
type machine struct {
	g     *Generator
	ahead time.Duration // of the true time
	last  ID
	back  bool // its clock was set back since
}

// Clocks may change, processes may be declared dead at any moment, and replies may get lost: no id repeats, and each
// machine's ids increase unless its clock was set back.
func TestIDsAreUniqueWhateverClocksShow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		docs := trickster{openDocs(t), func() int { return rapid.IntRange(0, 9).Draw(t, "mood") }}
		few := rapid.IntRange(1, 3).Draw(t, "numbers")
		var elapsed time.Duration
		start := time.Date(2026, 11, 24, 0, 0, 0, 0, time.UTC)
		var all []*machine
		boot := func(ahead time.Duration) {
			m := &machine{ahead: ahead}
			m.g = newGenerator(docs, clock{
				wall: func() time.Time { return start.Add(elapsed + m.ahead) },
				mono: func() time.Duration { return elapsed },
			})
			m.g.nodes = few
			all = append(all, m)
		}
		pick := func() *machine { return all[rapid.IntRange(0, len(all)-1).Draw(t, "machine")] }
		span := rapid.Custom(func(t *rapid.T) time.Duration {
			most := rapid.SampledFrom([]time.Duration{3 * time.Millisecond, 2 * time.Second, 40 * time.Second,
				2 * time.Hour}).Draw(t, "most")
			return time.Duration(rapid.Int64Range(0, int64(most)).Draw(t, "span"))
		})
		made := map[ID]bool{}
		boot(0)
		t.Repeat(map[string]func(*rapid.T){
			"boot": func(t *rapid.T) {
				if len(all) < 6 {
					boot(span.Draw(t, "ahead") - span.Draw(t, "behind"))
				}
			},
			"time passes": func(t *rapid.T) { elapsed += span.Draw(t, "time") },
			"set_clock": func(t *rapid.T) {
				m := pick()
				was := m.ahead
				m.ahead += span.Draw(t, "forward") - span.Draw(t, "back")
				m.back = m.back || m.ahead < was
			},
			"keeps": func(t *rapid.T) { _ = pick().g.attempt(context.Background()) },
			"recovers": func(t *rapid.T) {
				pick().g.recover(context.Background())
			},
			"declare_dead": func(t *rapid.T) { // although it is alive
				m := pick()
				_, _ = m.g.watch(context.Background())
				for n, s := range m.g.seen {
					m.g.seen[n] = sighting{s.rev, s.since - lease}
				}
				_ = m.g.attempt(context.Background())
			},
			"gives back": func(t *rapid.T) { _ = pick().g.release(context.Background()) },
			"": func(t *rapid.T) {
				m := pick()
				for range rapid.SampledFrom([]int{1, 3, 5000}).Draw(t, "ids") {
					m.g.mu.Lock()
					id, wants := m.g.draw()
					m.g.mu.Unlock()
					if wants != (need{}) {
						break
					}
					if made[id] {
						t.Fatalf("%s came twice: node %d, %v, sequence %d", id, id.Node(), id.Time(), id.Sequence())
					}
					made[id] = true
					if id <= m.last && !m.back {
						t.Fatalf("%s after %s", id, m.last)
					}
					if now, _ := m.g.now(); int64(id)>>22 > now+maxAhead {
						t.Fatalf("%s is %d ms ahead of the clock", id, int64(id)>>22-now)
					}
					m.last, m.back = id, false
				}
			},
		})
	})
}

// A number has one owner, and a document that can't be parsed has none.
func TestUnreadableNumbersAreNotClaimed(t *testing.T) {
	docs := openDocs(t)
	const few = 16
	for n := range int64(few) {
		value := json.RawMessage(fmt.Sprintf(`{"owner":"","until":%d}`, n-1))
		if n == 7 {
			value = json.RawMessage(`"something else"`)
		}
		if _, err := docs.PutIf(t.Context(), name(n), 0, value); err != nil {
			t.Fatal(err)
		}
	}
	got := map[int64]bool{}
	boot := func() *Generator {
		g := newGenerator(docs, clock{time.Now, func() time.Duration { return 0 }})
		g.nodes = few
		return g
	}
	for range few - 2 {
		g := boot()
		if err := g.attempt(t.Context()); err != nil {
			t.Fatal(err)
		}
		got[g.node] = true
	}
	if len(got) != few-2 || got[7] || got[0] {
		t.Errorf("%d numbers, 7: %v, 0: %v", len(got), got[7], got[0])
	}
	if err := boot().attempt(t.Context()); backend.CodeOf(err) != backend.ErrResourceExhausted {
		t.Errorf("one more: %v", err)
	}
}
