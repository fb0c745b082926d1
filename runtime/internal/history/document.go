package history

import (
	"cmp"
	"encoding/json"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// Names of documents are
//
//	history/m/2026-11-30T04:18/<instance>.<number>
//	history/h/2026-11-30T04
//
// for a window of an instance, in UTC, and for an hour of all instances.
const (
	minutesPrefix = "history/m/"
	hoursPrefix   = "history/h/"
	minuteFormat  = "2006-01-02T15:04"
	hourFormat    = "2006-01-02T15"

	maxMinuteBytes = 64 << 10
	maxHourBytes   = 256 << 10
)

func minuteOf(t time.Time) string { return t.UTC().Format(minuteFormat) }
func hourOf(t time.Time) string   { return t.UTC().Format(hourFormat) }

// windowName returns the name of the document of a window.
func windowName(t time.Time, instance string, seq int64) string {
	return minutesPrefix + minuteOf(t) + "/" + instance + "." + strconv.FormatInt(seq, 10)
}

// parseWindow returns the parts of the name of a window's document.
func parseWindow(name string) (at time.Time, instance string, seq int64, ok bool) {
	when, rest, ok := strings.Cut(strings.TrimPrefix(name, minutesPrefix), "/")
	dot := strings.LastIndexByte(rest, '.')
	if !ok || dot < 0 {
		return at, "", 0, false
	}
	at, err := time.Parse(minuteFormat, when)
	if err != nil {
		return at, "", 0, false
	}
	seq, err = strconv.ParseInt(rest[dot+1:], 10, 64)
	return at, rest[:dot], seq, err == nil
}

// A document is the content of a document, of a window or an hour.
type document struct {
	Queues map[string]json.RawMessage `json:"q"`
	// Windows are those that an hour contains: of each instance, the first and last number of each run of numbers.
	Windows map[string][]int64 `json:"w,omitempty"`
}

// contains reports whether an hour contains a window.
func (d *document) contains(instance string, seq int64) bool {
	runs := d.Windows[instance]
	for i := 0; i+1 < len(runs); i += 2 {
		if runs[i] <= seq && seq <= runs[i+1] {
			return true
		}
	}
	return false
}

// include records that an hour contains a window.
func (d *document) include(instance string, seq int64) {
	if d.Windows == nil {
		d.Windows = map[string][]int64{}
	}
	runs := d.Windows[instance]
	i := 0
	for i < len(runs) && runs[i+1] < seq-1 {
		i += 2
	}
	switch {
	case i == len(runs) || seq < runs[i]-1:
		runs = slices.Insert(runs, i, seq, seq)
	case seq == runs[i]-1:
		runs[i] = seq
	case seq == runs[i+1]+1:
		if runs[i+1] = seq; i+2 < len(runs) && runs[i+2] == seq+1 {
			runs = slices.Delete(runs, i+1, i+3)
		}
	}
	d.Windows[instance] = runs
}

// numbers is the stored form of Totals.
type numbers struct {
	Submitted int64 `json:"s,omitempty"`
	Started   int64 `json:"a,omitempty"`
	Succeeded int64 `json:"k,omitempty"`
	Failed    int64 `json:"f,omitempty"`
	Retried   int64 `json:"r,omitempty"`
	Returned  int64 `json:"b,omitempty"`
	Stopped   int64 `json:"x,omitempty"`
	Lost      int64 `json:"l,omitempty"`

	Codes map[backend.Code]int64 `json:"c,omitempty"`
	Wait  *durations             `json:"w,omitempty"`
	Run   *durations             `json:"d,omitempty"`
}

// durations is the stored form of a Histogram.
type durations struct {
	Max    time.Duration `json:"m,omitempty"`
	Counts []int64       `json:"n"` // of each bucket that is not empty, its index and its count
}

func store(h *Histogram) *durations {
	var d durations
	for i, n := range h.counts {
		if n != 0 {
			d.Counts = append(d.Counts, int64(i), n)
		}
	}
	if d.Counts == nil {
		return nil
	}
	d.Max = h.max
	return &d
}

// load returns the Histogram. It ignores buckets that it doesn't know.
func (d *durations) load() (h Histogram) {
	if d == nil {
		return h
	}
	for i := 0; i+1 < len(d.Counts); i += 2 {
		if at, n := d.Counts[i], d.Counts[i+1]; at >= 0 && at < buckets && n > 0 {
			h.counts[at] += n
		}
	}
	h.max = max(d.Max, 0)
	return h
}

// MarshalJSON implements json.Marshaler.
func (t *Totals) MarshalJSON() ([]byte, error) {
	return json.Marshal(numbers{
		t.Submitted, t.Started, t.Succeeded, t.Failed, t.Retried, t.Returned, t.Stopped, t.Lost,
		t.Codes, store(&t.Wait), store(&t.Run),
	})
}

// UnmarshalJSON implements json.Unmarshaler.
func (t *Totals) UnmarshalJSON(value []byte) error {
	var n numbers
	if err := json.Unmarshal(value, &n); err != nil {
		return err
	}
	*t = Totals{
		n.Submitted, n.Started, n.Succeeded, n.Failed, n.Retried, n.Returned, n.Stopped, n.Lost,
		nil, n.Wait.load(), n.Run.load(),
	}
	for code, count := range n.Codes {
		t.addCode(code, count)
	}
	return nil
}

// addTo adds the numbers of a queue, or of all queues if queue is "", to t. Queues that can't be decoded are left out:
// they are of another version.
func (d *document) addTo(t *Totals, queue string) {
	for name, value := range d.Queues {
		var one Totals
		if (queue == "" || queue == name) && json.Unmarshal(value, &one) == nil {
			t.Add(&one)
		}
	}
}

// encode returns the stored form of queues. The least active ones beyond limit bytes are added up as OtherQueues.
func encode(queues map[string]*Totals, limit int) (map[string]json.RawMessage, error) {
	names := slices.SortedFunc(maps.Keys(queues), func(a, b string) int {
		return cmp.Or(cmp.Compare(queues[b].activity(), queues[a].activity()), cmp.Compare(a, b))
	})
	out := make(map[string]json.RawMessage, len(names))
	var rest *Totals
	for size, left := 0, names; len(left) > 0; left = left[1:] {
		name := left[0]
		value, err := json.Marshal(queues[name])
		if err != nil {
			return nil, err
		}
		if size += len(name) + len(value) + len(`"":,`); size <= limit && name != OtherQueues {
			out[name] = value
			continue
		}
		if rest == nil {
			rest = &Totals{}
		}
		rest.Add(queues[name])
	}
	if rest != nil {
		value, err := json.Marshal(rest)
		if err != nil {
			return nil, err
		}
		out[OtherQueues] = value
	}
	return out, nil
}
