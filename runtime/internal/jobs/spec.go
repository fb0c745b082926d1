package jobs

import (
	"encoding/json"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/cron"
)

// A Spec is a job as declared by a program. Zero fields of its Content mean the defaults.
type Spec struct {
	ID string
	Content
	Disabled bool // initial state; ignored for an existing job
}

// A Content has the properties of a job that a program sets. Two programs declare the same job if their contents are
// equal.
type Content struct {
	Cron        string            `json:"cron"`
	Zone        string            `json:"zone,omitempty"`
	Queue       string            `json:"queue"`
	Payload     json.RawMessage   `json:"payload"`
	Fingerprint string            `json:"fingerprint,omitempty"`
	Weight      int               `json:"weight"`
	Timeout     time.Duration     `json:"timeout,omitempty"`
	Retries     *int              `json:"retries,omitempty"`
	Allow       []string          `json:"allow,omitempty"`
	Missed      string            `json:"missed"`
	Window      time.Duration     `json:"window,omitempty"`
	Overlap     string            `json:"overlap"`
	Declared    bool              `json:"declared,omitempty"`
	Metadata    map[string]string `json:"metadata,omitempty"` // of its tasks
}

// Policies for missed due times.
const (
	MissedSkip = "skip"
	MissedOnce = "once"
	MissedAll  = "all"
)

// Policies for due times while the task of an earlier one has not ended.
const (
	OverlapSkip  = "skip"
	OverlapAllow = "allow"
	OverlapQueue = "queue"
)

const (
	defaultWindow = 24 * time.Hour
	maxJobName    = 200
	maxJobPayload = 64 << 10 // schedulers hold the payloads of all jobs in memory
)

// Check returns an error if a spec is invalid.
func (s Spec) Check() error {
	if _, err := s.content(); err != nil {
		return err
	}
	return nil
}

// content validates a spec and returns its content with defaults filled in.
func (s Spec) content() (Content, *backend.Error) {
	c := s.Content
	c.Cron, c.Allow = strings.Join(strings.Fields(s.Cron), " "), nil
	wrong := func(format string, args ...any) (Content, *backend.Error) {
		err := backend.Errorf(backend.ErrInvalidArgument, "job %q: "+format, append([]any{s.ID}, args...)...)
		return c, err.With(backend.OutcomeNotSent)
	}
	var err error
	if c.Payload, err = json.Marshal(c.Payload); err != nil { // normalized, as it will be read
		return wrong("payload: %w", err)
	}
	switch {
	case s.ID == "" || len(s.ID) > maxJobName || !utf8.ValidString(s.ID) || strings.ContainsFunc(s.ID, unicode.IsControl):
		return wrong("id must have 1 to %d bytes and no control characters", maxJobName)
	case c.Queue == "":
		return wrong("queue is empty")
	case c.Retries != nil && (*c.Retries < 0 || *c.Retries > backend.MaxRetries):
		return wrong("retries %d out of range [0, %d]", *c.Retries, backend.MaxRetries)
	case len(c.Payload) > maxJobPayload:
		return c, backend.Errorf(backend.ErrResourceExhausted, "job %q: payload of %d bytes exceeds the maximum of %d", s.ID,
			len(c.Payload), maxJobPayload).With(backend.OutcomeNotSent)
	}
	if err := backend.ValidateMetadata(c.Metadata); err != nil {
		return c, backend.Errorf(backend.CodeOf(err), "job %q: %w", s.ID, err).With(backend.OutcomeNotSent)
	}
	if len(c.Metadata) == 0 {
		c.Metadata = nil // as it will be read
	}
	if c.Zone == "UTC" {
		c.Zone = ""
	}
	zone, err := cron.Zone(c.Zone)
	if err != nil {
		return wrong("%w", err)
	}
	if _, err := cron.Parse(c.Cron, zone); err != nil {
		return wrong("cron %q: %w", c.Cron, err)
	}
	for _, text := range s.Allow {
		a, ok := backend.Allowance(text)
		if !ok {
			return wrong("%q is neither an ip nor a network", text)
		}
		c.Allow = append(c.Allow, a)
	}
	switch c.Missed {
	case "":
		c.Missed = MissedOnce
	case MissedSkip, MissedOnce, MissedAll:
	default:
		return wrong("unknown missed-run policy %q", c.Missed)
	}
	switch c.Overlap {
	case "":
		c.Overlap = OverlapAllow
	case OverlapSkip, OverlapAllow, OverlapQueue:
	default:
		return wrong("unknown overlap policy %q", c.Overlap)
	}
	switch {
	case c.Missed != MissedAll:
		c.Window = 0
	case c.Window == 0:
		c.Window = defaultWindow
	case c.Window < 0:
		return wrong("window %v is negative", c.Window)
	}
	return c, nil
}
