//go:build unix

package chaos

import (
	"fmt"
	"sync"
	"time"

	"github.com/afgen/afgen/internal/workload"
)

// A book has what the parent was told: the acknowledged submits and the handlers that ran.
type book struct {
	mu     sync.Mutex
	acks   workload.Acks
	asked  map[string]bool // asked to be stopped
	runs   map[string]int  // started handlers by id#fence
	order  []Run
	told   map[string][][4]int // by the id of the done task
	broken []string
	notes  []string
}

func newBook() *book {
	return &book{asked: map[string]bool{}, runs: map[string]int{}, told: map[string][][4]int{}}
}

func (b *book) heard(r report, place int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch r.Kind {
	case "run":
		b.order = append(b.order, Run{r.ID, r.Fence, place, time.Now()})
		b.runs[fmt.Sprintf("%s#%d", r.ID, r.Fence)]++
	case "told":
		b.told[r.ID] = append(b.told[r.ID], r.Counts)
	case "over":
		b.broken = append(b.broken, "I8: one process ran "+r.Text)
	}
}

func (b *book) stops(id string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked[id] = true
}

func (b *book) violated(rule, format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.broken = append(b.broken, rule+": "+fmt.Sprintf(format, args...))
}

func (b *book) note(format string, args ...any) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.notes = append(b.notes, fmt.Sprintf(format, args...))
}
