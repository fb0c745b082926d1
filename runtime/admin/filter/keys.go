package filter

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/internal/suggest"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
)

// A Key is a key of a filter line.
type Key struct {
	Name    string   // such as "status"
	Prefix  string   // with which its terms begin: "status:", or "payload."
	Doc     string   // one phrase: what the term selects
	Example string   // a term
	Values  []string // all values, if there are few; else nil
}

// Keys returns all keys, in the order in which Format writes them.
func Keys() []Key {
	list := make([]Key, len(keys))
	for i, k := range keys {
		list[i] = k.Key
		list[i].Values = slices.Clone(k.Values)
	}
	return list
}

// A key is a Key with how its terms are read and written.
type key struct {
	Key
	repeats bool // may be given several times
	set     func(p *parser, t term) error
	format  func(q *af.TaskQuery) []string // what follows Prefix, for each term
}

const (
	payloadPrefix  = "payload."
	metadataPrefix = "metadata."
)

// Words for several statuses.
const (
	live  = "live"
	ended = "ended"
)

var (
	statuses = backend.Statuses()
	groups   = map[string][]af.Status{
		live:  slices.DeleteFunc(backend.Statuses(), af.Status.Final),
		ended: slices.DeleteFunc(backend.Statuses(), func(s af.Status) bool { return !s.Final() }),
	}
	sorts = map[string]af.TaskSort{"newest": af.TasksByNewest, "oldest": af.TasksByOldest, "ended": af.TasksByEnd}
)

var keys []*key

func init() { // errors list the keys
	keys = []*key{
		plain("queue", "of this queue", "queue:mail", func(q *af.TaskQuery) *string { return &q.Queue }),
		{
			Key: Key{Name: "status", Doc: "with one of these statuses; live and ended mean several",
				Example: "status:failed,stopped", Values: append(texts(statuses), live, ended)},
			repeats: true, set: setStatus, format: formatStatus,
		},
		{
			Key: Key{Name: "code", Doc: "failed with this code", Example: "code:unavailable", Values: texts(backend.Codes())},
			set: setCode, format: func(q *af.TaskQuery) []string { return formatText(string(q.Code)) },
		},
		moment("since", "created at this time or later", "since:1h", func(q *af.TaskQuery) *time.Time { return &q.After }),
		moment("before", "created before this time", "before:2026-11-30T02:15", func(q *af.TaskQuery) *time.Time {
			return &q.Before
		}),
		plain("source", "subtasks of this task", "source:ID", func(q *af.TaskQuery) *string { return &q.Source }),
		plain("text", "whose error has this text, in any case", `text:"disk full"`, func(q *af.TaskQuery) *string {
			return &q.Filter.Text
		}),
		plain("instance", "that this instance runs or ran last", "instance:ID", func(q *af.TaskQuery) *string {
			return &q.Filter.Instance
		}),
		plain("unique", "with this unique key", "unique:import-2026", func(q *af.TaskQuery) *string {
			return &q.Filter.UniqueKey
		}),
		plain("retry-of", "that retry this task", "retry-of:ID", func(q *af.TaskQuery) *string { return &q.Filter.RetryOf }),
		plain("id", "whose ID begins with this", "id:import-", func(q *af.TaskQuery) *string { return &q.Filter.IDPrefix }),
		{
			Key: Key{Name: "payload", Prefix: payloadPrefix, Example: "payload.user.id=7",
				Doc: "whose payload has this value at a path of member names and indexes"},
			repeats: true, set: setPayload, format: formatPayload,
		},
		{
			Key: Key{Name: "metadata", Prefix: metadataPrefix, Example: "metadata.tenant=acme",
				Doc: "whose metadata has this value under a name"},
			repeats: true, set: setMetadata, format: formatMetadata,
		},
		{
			Key: Key{Name: "sort", Doc: "the order: of creation, or latest end first", Example: "sort:ended",
				Values: []string{"newest", "oldest", "ended"}},
			set: setSort, format: func(q *af.TaskQuery) []string { return formatText(string(q.Sort)) },
		},
	}
	for _, k := range keys {
		if k.Prefix == "" {
			k.Prefix = k.Name + ":"
		}
	}
}

// hasPath reports whether the terms of a key have a path, as in payload.PATH=VALUE.
func (k *key) hasPath() bool { return strings.HasSuffix(k.Prefix, ".") }

func find(name string) *key {
	if i := slices.IndexFunc(keys, func(k *key) bool { return k.Name == name }); i >= 0 {
		return keys[i]
	}
	return nil
}

func texts[T ~string](values []T) []string {
	list := make([]string, len(values))
	for i, v := range values {
		list[i] = string(v)
	}
	return list
}

// plain returns the key of a field that is any text.
func plain(name, doc, example string, field func(*af.TaskQuery) *string) *key {
	return &key{
		Key: Key{Name: name, Doc: doc, Example: example},
		set: func(p *parser, t term) error {
			if t.value == "" {
				return problem("the value is empty")
			}
			*field(&p.query) = t.value
			return nil
		},
		format: func(q *af.TaskQuery) []string { return formatText(*field(q)) },
	}
}

// moment returns the key of a time.
func moment(name, doc, example string, field func(*af.TaskQuery) *time.Time) *key {
	return &key{
		Key: Key{Name: name, Doc: doc, Example: example},
		set: func(p *parser, t term) (err error) {
			if *field(&p.query), err = parseTime(t.value, p.now); err != nil {
				return err
			}
			if q := &p.query; !q.After.IsZero() && !q.Before.IsZero() && !q.After.Before(q.Before) {
				return problem("no task matches, because before is not later than since")
			}
			return nil
		},
		format: func(q *af.TaskQuery) []string {
			if at := *field(q); !at.IsZero() {
				return []string{at.UTC().Format(time.RFC3339Nano)}
			}
			return nil
		},
	}
}

func formatText(s string) []string {
	if s == "" {
		return nil
	}
	return []string{quote(s)}
}

// A parser makes a query of terms.
type parser struct {
	now   time.Time
	query af.TaskQuery
	given map[string]bool // keys
	code  *term
}

func (p *parser) add(t term) error {
	if p.given[t.key.Name] && !t.key.repeats {
		return problem("%s is given twice", t.key.Name)
	}
	p.given[t.key.Name] = true
	return t.key.set(p, t)
}

func setStatus(p *parser, t term) error {
	for name := range strings.SplitSeq(t.value, ",") {
		group := groups[name]
		if s := af.Status(name); slices.Contains(statuses, s) {
			group = []af.Status{s}
		}
		if group == nil {
			return wrongValue(t.key, name)
		}
		for _, s := range group {
			if !slices.Contains(p.query.Statuses, s) {
				p.query.Statuses = append(p.query.Statuses, s)
			}
		}
	}
	return nil
}

func formatStatus(q *af.TaskQuery) []string {
	if len(q.Statuses) == 0 || q.Code != "" { // a code implies the status
		return nil
	}
	for _, name := range []string{live, ended} {
		if slices.Equal(q.Statuses, groups[name]) {
			return []string{name}
		}
	}
	return []string{strings.Join(texts(q.Statuses), ",")}
}

func setCode(p *parser, t term) error {
	if !slices.Contains(t.key.Values, t.value) {
		return wrongValue(t.key, t.value)
	}
	p.query.Code, p.code = af.Code(t.value), &t
	return nil
}

// addCode checks that a code goes with the statuses, once these are complete.
func (p *parser) addCode() error {
	if q := &p.query; len(q.Statuses) > 1 || len(q.Statuses) == 1 && q.Statuses[0] != af.StatusFailed {
		return problem("only failed tasks have a code: remove the term for the status")
	}
	p.query.Statuses = []af.Status{af.StatusFailed}
	return nil
}

func setSort(p *parser, t term) error {
	sort, ok := sorts[t.value]
	if !ok {
		return wrongValue(t.key, t.value)
	}
	p.query.Sort = sort
	return nil
}

func setPayload(p *parser, t term) error {
	p.query.Filter.Payload = append(p.query.Filter.Payload, af.PayloadMatch{Path: t.path, Value: t.value})
	return nil
}

func formatPayload(q *af.TaskQuery) (terms []string) {
	for _, m := range q.Filter.Payload {
		terms = append(terms, quotePath(m.Path)+"="+quote(m.Value))
	}
	return terms
}

func setMetadata(p *parser, t term) error {
	md := &p.query.Filter.Metadata
	if _, ok := (*md)[t.path]; ok {
		return problem("metadata.%s is given twice", cite(t.path))
	}
	if *md == nil {
		*md = map[string]string{}
	}
	(*md)[t.path] = t.value
	return nil
}

func formatMetadata(q *af.TaskQuery) (terms []string) {
	for _, name := range slices.Sorted(maps.Keys(q.Filter.Metadata)) {
		terms = append(terms, quotePath(name)+"="+quote(q.Filter.Metadata[name]))
	}
	return terms
}

// problem returns a part of an error's message.
func problem(format string, args ...any) error { return fmt.Errorf(format, args...) }

// wrongValue returns the error of a value that a key does not have.
func wrongValue(k *key, value string) error {
	if near, ok := suggest.Nearest(value, k.Values); ok {
		return problem("unknown %s %.40q; did you mean %s%s?", k.Name, value, k.Prefix, near)
	}
	return problem("unknown %s %.40q: want %s", k.Name, value, strings.Join(k.Values, ", "))
}

// alsoCalled has other names for keys, which are too different to be found as misspellings.
var alsoCalled = map[string]string{
	"after": "since", "from": "since", "created": "since", "until": "before", "to": "before", "state": "status",
	"error": "text", "message": "text", "key": "unique", "parent": "source", "order": "sort", "worker": "queue",
	"type": "queue", "retry_of": "retry-of", "meta": "metadata", "unique_key": "unique", "statuses": "status",
}

// unknown returns the error of a word that is no term.
func unknown(w string) error {
	i := strings.IndexAny(w, ":=")
	if i < 0 {
		for _, name := range []string{"status", "code", "sort"} {
			if k := find(name); slices.Contains(k.Values, w) {
				return problem("did you mean %s%s?", k.Prefix, w)
			}
		}
		return problem(`want KEY:VALUE, such as queue:mail; a value with spaces needs quotes, as in text:"disk full"`)
	}
	name, value := w[:i], w[i+1:]
	k := find(name)
	switch {
	case k != nil && k.hasPath():
		return problem("did you mean %s%s?", k.Prefix, cite(value))
	case k != nil:
		return problem("did you mean %s%s?", k.Prefix, cite(value))
	}
	if k = find(alsoCalled[name]); k == nil {
		if near, ok := suggest.Nearest(name, names()); ok {
			k = find(near)
		}
	}
	switch {
	case k != nil:
		return problem("unknown key %.40q; did you mean %s?", name, k.Prefix)
	case w[i] == '=':
		if rest, ok := strings.CutPrefix(w, "meta."); ok {
			return problem("did you mean %s%s?", metadataPrefix, cite(rest))
		}
		return problem("did you mean payload.%s?", cite(w))
	}
	return problem("unknown key %.40q: want %s", name, strings.Join(names(), ", "))
}

// cite returns a text for a message: its beginning, quoted if that must be.
func cite(s string) string {
	if r := []rune(s); len(r) > 40 {
		s = string(r[:40]) + "…"
	}
	return quote(s)
}

func names() []string {
	list := make([]string, len(keys))
	for i, k := range keys {
		list[i] = k.Name
	}
	return list
}
