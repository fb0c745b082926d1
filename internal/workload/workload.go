// Package workload has what the simulation of package fault and the process tests of package chaos share: random
// choices repeatable by a seed, and submissions of tasks.
package workload

import (
	"math/rand/v2"
	"sync"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// A Draw makes random choices. It is not safe for concurrent use.
type Draw struct{ *rand.Rand }

// NewDraw returns a Draw whose choices are determined by the two numbers.
func NewDraw(seed, sequence uint64) Draw { return Draw{rand.New(rand.NewPCG(seed, sequence))} }

// Chance returns true with probability p.
func (d Draw) Chance(p float64) bool { return d.Float64() < p }

// Span returns a duration in [from, to].
func (d Draw) Span(from, to time.Duration) time.Duration {
	return from + time.Duration(d.Int64N(int64(to-from)+1))
}

// A Submission describes how a task is submitted. Durations count from the submission.
type Submission struct {
	ID       string        `json:",omitzero"` // submitted again until it is acknowledged
	Key      string        `json:",omitzero"` // unique key
	Weight   int           `json:",omitzero"`
	RunIn    time.Duration `json:",omitzero"`
	Deadline time.Duration `json:",omitzero"`
}

// SubmitOptions returns the options of a submission made now.
func (s Submission) SubmitOptions() []af.SubmitOption {
	opts := []af.SubmitOption{af.Weight(s.Weight)}
	if s.ID != "" {
		opts = append(opts, af.TaskID(s.ID))
	}
	if s.Key != "" {
		opts = append(opts, af.UniqueKey(s.Key))
	}
	if s.RunIn > 0 {
		opts = append(opts, af.RunAt(time.Now().Add(s.RunIn)))
	}
	if s.Deadline > 0 {
		opts = append(opts, af.Deadline(time.Now().Add(s.Deadline)))
	}
	return opts
}

// Acks are the ids of acknowledged tasks. The zero value is empty. It is safe for concurrent use.
type Acks struct {
	mu  sync.Mutex
	ids []string
}

// Add adds ids.
func (a *Acks) Add(ids ...string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ids = append(a.ids, ids...)
}

// Pick returns the id selected by a random number, or "" if there is none.
func (a *Acks) Pick(n int) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.ids) == 0 {
		return ""
	}
	return a.ids[n%len(a.ids)]
}

// All returns the ids in the order of Add.
func (a *Acks) All() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ids[:len(a.ids):len(a.ids)]
}

// Rest waits for d, or until calm is closed.
func Rest(d time.Duration, calm <-chan struct{}) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
	case <-calm:
	}
}
