package embedded

import (
	"database/sql"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/instant"
)

// Values of the column ended_by. The attempt that ends a task is not written: it is derived from the other columns when
// the task is read, so that a task that succeeds at its first attempt costs nothing.
const (
	notByAttempt   = 0 // or an older program has ended it
	endedByAttempt = 1
	endedByKept    = 2 // the attempt is in the column attempts, because it can't be derived
)

// claimerText returns the column claimer of a claim without the fence, or nil, which is NULL.
func claimerText(c backend.Claim) any {
	if c.Instance == "" && c.IP == "" {
		return nil
	}
	return " " + c.IP + " " + c.Instance
}

// claimerOf returns the instance that has claimed a task, if the column claimer belongs to the task's fence.
func claimerOf(claimer string, fence int64) (instance, ip string) {
	at, place, _ := strings.Cut(claimer, " ")
	if n, err := strconv.ParseInt(at, 10, 64); err != nil || n != fence {
		return "", ""
	}
	ip, instance, _ = strings.Cut(place, " ")
	return instance, ip
}

// scanAttempts decodes the column attempts.
func scanAttempts(id string, text sql.NullString) (all []backend.Attempt, err error) {
	if !text.Valid {
		return nil, nil
	}
	if err := json.Unmarshal([]byte(text.String), &all); err != nil {
		return nil, backend.Errorf(backend.ErrDataLoss, "decoding attempts of task %q: %w", id, err)
	}
	return all, nil
}

// keepAttempt adds the attempt that runs a task, and ends now, to r.attempts. The next endTask or releaseTask writes
// them.
func (t *tx) keepAttempt(r *row, outcome backend.AttemptOutcome, why *backend.TaskError) error {
	var claimer string
	var kept sql.NullString
	ran := backend.Task{ID: r.id, Fence: r.fence, Started: instant.Time(r.started)}
	if _, err := t.row("SELECT ifnull(claimer, ''), attempts, attempt FROM task WHERE seq = ?", []any{r.seq}, &claimer,
		&kept, &ran.Attempt); err != nil {
		return err
	}
	ran.Instance, ran.IP = claimerOf(claimer, r.fence)
	all, err := scanAttempts(r.id, kept)
	if err != nil {
		return err
	}
	a := backend.NewAttempt(&ran, instant.Time(t.now), outcome, why)
	a.Trace = r.trace
	text, err := json.Marshal(backend.AppendAttempt(all, a))
	if err != nil {
		return err
	}
	r.attempts = string(text)
	return nil
}
