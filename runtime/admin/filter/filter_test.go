package filter_test

import (
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin/filter"
	"github.com/afgen/afgen/runtime/backend"
)

// now is at 10:00 in a zone two hours east of UTC.
var now = time.Date(2026, 11, 30, 10, 0, 0, 0, time.FixedZone("EET", 2*60*60))

func utc(hour, minute int) time.Time { return time.Date(2026, 11, 30, hour, minute, 0, 0, time.UTC) }

var (
	failed  = []af.Status{af.StatusFailed}
	live    = []af.Status{af.StatusWaiting, af.StatusPending, af.StatusRunning, af.StatusRetrying}
	matches = func(path, value string) af.TaskFilter {
		return af.TaskFilter{Payload: []af.PayloadMatch{{Path: path, Value: value}}}
	}
)

// Each line is parsed into a query, and the query is formatted as the line that follows, or the same.
func TestParseAndFormat(t *testing.T) {
	for _, c := range []struct {
		line string
		want af.TaskQuery
		back string // "" for line
	}{
		{"", af.TaskQuery{}, ""},
		{" \t ", af.TaskQuery{}, " "},
		{"queue:mail", af.TaskQuery{Queue: "mail"}, ""},
		{`queue:"mail"`, af.TaskQuery{Queue: "mail"}, "queue:mail"},
		{"queue:a:b", af.TaskQuery{Queue: "a:b"}, ""},
		{"status:failed", af.TaskQuery{Statuses: failed}, ""},
		{"status:failed,failed status:failed", af.TaskQuery{Statuses: failed}, "status:failed"},
		{"status:stopped,failed", af.TaskQuery{Statuses: []af.Status{af.StatusFailed, af.StatusStopped}},
			"status:failed,stopped"},
		{"status:live", af.TaskQuery{Statuses: live}, ""},
		{"status:running,retrying status:pending,waiting", af.TaskQuery{Statuses: live}, "status:live"},
		{"status:ended", af.TaskQuery{Statuses: []af.Status{af.StatusSuccess, af.StatusFailed, af.StatusStopped}}, ""},
		{"code:unavailable", af.TaskQuery{Statuses: failed, Code: af.ErrUnavailable}, ""},
		{"code:unavailable status:failed", af.TaskQuery{Statuses: failed, Code: af.ErrUnavailable}, "code:unavailable"},
		{"since:1h", af.TaskQuery{After: utc(7, 0)}, "since:2026-11-30T07:00:00Z"},
		{"since:1h30m", af.TaskQuery{After: utc(6, 30)}, "since:2026-11-30T06:30:00Z"},
		{"since:0.5h", af.TaskQuery{After: utc(7, 30)}, "since:2026-11-30T07:30:00Z"},
		{"before:2d", af.TaskQuery{Before: utc(8, 0).AddDate(0, 0, -2)}, "before:2026-11-28T08:00:00Z"},
		{"since:1w before:1d", af.TaskQuery{After: utc(8, 0).AddDate(0, 0, -7), Before: utc(8, 0).AddDate(0, 0, -1)},
			"since:2026-11-23T08:00:00Z before:2026-11-29T08:00:00Z"},
		{"since:2026-11-30", af.TaskQuery{After: utc(-2, 0)}, "since:2026-11-29T22:00:00Z"},
		{"since:2026-11-30T02:15", af.TaskQuery{After: utc(0, 15)}, "since:2026-11-30T00:15:00Z"},
		{`since:"2026-11-30 02:15:00"`, af.TaskQuery{After: utc(0, 15)}, "since:2026-11-30T00:15:00Z"},
		{`since:"2026-11-30 02:15:00.000 +00:00"`, af.TaskQuery{After: utc(2, 15)}, "since:2026-11-30T02:15:00Z"},
		{"since:2026-11-30T02:15:00.25Z", af.TaskQuery{After: utc(2, 15).Add(250 * time.Millisecond)}, ""},
		{"source:x sort:ended", af.TaskQuery{Source: "x", Sort: af.TasksByEnd}, ""},
		{"sort:newest", af.TaskQuery{}, " "},
		{"sort:oldest queue:a", af.TaskQuery{Queue: "a", Sort: af.TasksByOldest}, "queue:a sort:oldest"},
		{`text:"disk full"`, af.TaskQuery{Filter: af.TaskFilter{Text: "disk full"}}, ""},
		{`text:it's`, af.TaskQuery{Filter: af.TaskFilter{Text: "it's"}}, ""},
		{`text:say"x\n`, af.TaskQuery{Filter: af.TaskFilter{Text: `say"x\n`}}, ""},
		{`text:"\"x\u202e\n"`, af.TaskQuery{Filter: af.TaskFilter{Text: "\"x\u202e\n"}}, ""},
		{"text:\u202e", af.TaskQuery{Filter: af.TaskFilter{Text: "\u202e"}}, `text:"\u202e"`},
		{"instance:i unique:u retry-of:r id:p", af.TaskQuery{Filter: af.TaskFilter{
			Instance: "i", UniqueKey: "u", RetryOf: "r", IDPrefix: "p"}}, ""},
		{"payload.user.id=7", af.TaskQuery{Filter: matches("user.id", "7")}, ""},
		{"payload.a=b=c", af.TaskQuery{Filter: matches("a", "b=c")}, ""},
		{`payload.a=""`, af.TaskQuery{Filter: matches("a", "")}, ""},
		{`payload.a=["x","y"]`, af.TaskQuery{Filter: matches("a", `["x","y"]`)}, ""},
		{`payload.a="b c"`, af.TaskQuery{Filter: matches("a", "b c")}, ""},
		{`payload."a b"=c`, af.TaskQuery{Filter: matches("a b", "c")}, ""},
		{`payload."a=b"=c`, af.TaskQuery{Filter: matches("a=b", "c")}, ""},
		{"metadata.tenant=acme", af.TaskQuery{Filter: af.TaskFilter{Metadata: map[string]string{"tenant": "acme"}}}, ""},
		{`metadata."a b"="c d" metadata.x=""`, af.TaskQuery{Filter: af.TaskFilter{
			Metadata: map[string]string{"a b": "c d", "x": ""}}}, ""},
		{"payload.a=1 payload.a=2", af.TaskQuery{Filter: af.TaskFilter{
			Payload: []af.PayloadMatch{{Path: "a", Value: "1"}, {Path: "a", Value: "2"}}}}, ""},
	} {
		t.Run(c.line, func(t *testing.T) {
			q, err := filter.Parse(c.line, now)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(c.want, q); diff != "" {
				t.Error(diff)
			}
			want := c.back
			if want == "" {
				want = c.line
			}
			if got := filter.Format(q); got != strings.TrimSpace(want) {
				t.Errorf("Format: %s, want %s", got, want)
			}
		})
	}
}

func TestErrorsNameTermAndColumn(t *testing.T) {
	const term = "filter term "
	for _, c := range []struct{ line, want string }{
		{"sttus:failed", term + `"sttus:failed" (column 1): unknown key "sttus"; did you mean status:?`},
		{"queue:ü  sttus:failed", term + `"sttus:failed" (column 10): unknown key "sttus"; did you mean status:?`},
		{"after:1h", term + `"after:1h" (column 1): unknown key "after"; did you mean since:?`},
		{"error:x", term + `"error:x" (column 1): unknown key "error"; did you mean text:?`},
		{"zzzzzz:1", term + `"zzzzzz:1" (column 1): unknown key "zzzzzz": want queue, status, code, since, before, ` +
			`source, text, instance, unique, retry-of, id, payload, metadata, sort`},
		{"status=failed", term + `"status=failed" (column 1): did you mean status:failed?`},
		{"user.id=7", term + `"user.id=7" (column 1): did you mean payload.user.id=7?`},
		{"payload:user.id=7", term + `"payload:user.id=7" (column 1): did you mean payload.user.id=7?`},
		{"failed", term + `"failed" (column 1): did you mean status:failed?`},
		{"unavailable", term + `"unavailable" (column 1): did you mean code:unavailable?`},
		{"text:disk full", term + `"full" (column 11): want KEY:VALUE, such as queue:mail; a value with spaces needs ` +
			`quotes, as in text:"disk full"`},
		{"status:faild", term + `"status:faild" (column 1): unknown status "faild"; did you mean status:failed?`},
		{"status:failed,", term + `"status:failed," (column 1): unknown status "": want waiting, pending, running, ` +
			`retrying, success, failed, stopped, live, ended`},
		{"code:unavailible", term + `"code:unavailible" (column 1): unknown code "unavailible"; ` +
			`did you mean code:unavailable?`},
		{"code:aborted status:stopped", term + `"code:aborted" (column 1): only failed tasks have a code: remove the ` +
			`term for the status`},
		{"sort:old", term + `"sort:old" (column 1): unknown sort "old": want newest, oldest, ended`},
		{"queue:", term + `"queue:" (column 1): the value is missing`},
		{`queue:""`, term + `"queue:\"\"" (column 1): the value is empty`},
		{"queue:a queue:b", term + `"queue:b" (column 9): queue is given twice`},
		{"since:1", term + `"since:1" (column 1): want a duration such as 30m, 1h or 2d, a date such as 2026-11-30, or a ` +
			`time such as 2026-11-30T02:15:00Z`},
		{"since:-1h", term + `"since:-1h" (column 1): want a duration such as 30m, 1h or 2d, a date such as 2026-11-30, ` +
			`or a time such as 2026-11-30T02:15:00Z`},
		{"since:300y", term + `"since:300y" (column 1): want a duration such as 30m, 1h or 2d, a date such as ` +
			`2026-11-30, or a time such as 2026-11-30T02:15:00Z`},
		{"since:999999999w", term + `"since:999999999w" (column 1): the time is not in the years 1970 to 2115`},
		{"before:1969-12-31", term + `"before:1969-12-31" (column 1): the time is not in the years 1970 to 2115`},
		{"since:1h before:2h", term + `"before:2h" (column 10): no task matches, because before is not later than since`},
		{`text:"a`, term + `"text:\"a" (column 1): the quotes are not closed, or an escape is wrong: ` +
			`write \" and \\ within them`},
		{`text:"a"b`, term + `"text:\"a\"b" (column 1): want white space after the closing quote, not "b"`},
		{`text:"\xff"`, term + `"text:\"\\xff\"" (column 1): the quoted text is not valid UTF-8`},
		{"payload.a", term + `"payload.a" (column 1): want payload.PATH=VALUE, such as payload.user.id=7`},
		{"payload.=1", term + `"payload.=1" (column 1): want payload.PATH=VALUE, such as payload.user.id=7`},
		{"metadata.a", term + `"metadata.a" (column 1): want metadata.PATH=VALUE, such as metadata.tenant=acme`},
		{"metadata.a=1 metadata.a=2", term + `"metadata.a=2" (column 14): metadata.a is given twice`},
		{"metadata:tenant=x", term + `"metadata:tenant=x" (column 1): did you mean metadata.tenant=x?`},
		{"meta.tenant=x", term + `"meta.tenant=x" (column 1): did you mean metadata.tenant=x?`},
		{`metadata."a=b"=1`, `metadata condition "a=b"="1": want a name without an equals sign, and at most ` +
			`1024 bytes`},
		{"payload.a=", term + `"payload.a=" (column 1): the value is missing`},
		{"\x1b[31m:x", term + `"\x1b[31m:x" (column 1): unknown key "\x1b[31m": want queue, status, code, since, before, ` +
			`source, text, instance, unique, retry-of, id, payload, metadata, sort`},
		{"\x1b[31m=x", term + `"\x1b[31m=x" (column 1): did you mean payload."\x1b[31m=x"?`},
		{"text:\xff", `the filter "text:\xff" is not valid UTF-8`},
		{strings.Repeat("x", 4097), "a filter of 4097 bytes exceeds the maximum of 4096"},
		{strings.Repeat("payload.a=1 ", 51), "a filter has at most 50 terms"},
		{strings.Repeat("payload.a=1 ", 11), "11 conditions on the payload exceed the maximum of 10"},
		{`text:` + strings.Repeat("\x01", 1024) + " id:x",
			"a filter of 4108 bytes, with escapes, exceeds the maximum of 4096"},
		{"text:" + strings.Repeat("x", 1025), "a filter of 1025 bytes exceeds the maximum of 1024"},
	} {
		t.Run(c.line[:min(len(c.line), 30)], func(t *testing.T) {
			_, err := filter.Parse(c.line, now)
			if err == nil || err.Error() != "invalid_argument: "+c.want {
				t.Errorf("%v\nwant %s", err, c.want)
			}
		})
	}
}

// Join quotes again what a shell has unquoted, and nothing else.
func TestJoin(t *testing.T) {
	for _, c := range []struct {
		args []string
		want string
	}{
		{nil, ""},
		{[]string{"queue:mail", "status:failed"}, "queue:mail status:failed"},
		{[]string{"queue:mail status:failed"}, "queue:mail status:failed"},
		{[]string{"text:disk full"}, `text:"disk full"`},
		{[]string{`text:"disk full"`}, `text:"disk full"`},
		{[]string{`text:say "x y`}, `text:"say \"x y"`},
		{[]string{"metadata.note=disk full"}, `metadata.note="disk full"`},
		{[]string{"payload.note=disk full"}, `payload.note="disk full"`},
		{[]string{"payload.my note=disk full"}, `payload."my note"="disk full"`},
		{[]string{"queue:mail text:disk full"}, "queue:mail text:disk full"}, // two terms: the error tells how to quote
		{[]string{"text:disk", "full"}, "text:disk full"},
		{[]string{"disk full"}, "disk full"},
		{[]string{"sttus:a b"}, "sttus:a b"},
	} {
		if got := filter.Join(c.args); got != c.want {
			t.Errorf("Join(%q) = %s, want %s", c.args, got, c.want)
		}
	}
}

// The example of each key is a line, and every value of a key is accepted.
func TestKeys(t *testing.T) {
	for _, k := range filter.Keys() {
		if k.Doc == "" || !strings.HasPrefix(k.Example, k.Prefix) {
			t.Errorf("%+v has no doc, or its example does not begin with the prefix", k)
		}
		lines := []string{k.Example}
		for _, v := range k.Values {
			lines = append(lines, k.Prefix+v)
		}
		for _, line := range lines {
			if _, err := filter.Parse(line, now); err != nil {
				t.Error(err)
			}
		}
	}
}

// Every field of a query but those of its page can be given.
func TestEveryFieldHasKey(t *testing.T) {
	all := af.TaskQuery{
		Queue: "a", Source: "b", Statuses: failed, Code: af.ErrAborted, After: utc(1, 0), Before: utc(2, 0),
		Filter: af.TaskFilter{Text: "c", Instance: "d", UniqueKey: "e", RetryOf: "f", IDPrefix: "g",
			Payload: []af.PayloadMatch{{Path: "h", Value: "i"}}, Metadata: map[string]string{"j": "k"}},
		Sort: af.TasksByEnd,
	}
	for _, v := range []reflect.Value{reflect.ValueOf(all), reflect.ValueOf(all.Filter)} {
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if v.Field(i).IsZero() && !slices.Contains([]string{"Limit", "Bytes", "Cursor"}, name) {
				t.Errorf("%s has no key", name)
			}
		}
	}
	got, err := filter.Parse(filter.Format(all), now)
	if diff := cmp.Diff(all, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestDocumentListsKeys(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/filters.md")
	if err != nil {
		t.Fatal(err)
	}
	var want []string
	for _, k := range filter.Keys() {
		want = append(want, "| `"+k.Example+"` | "+k.Doc+" |")
	}
	for _, s := range backend.Statuses() {
		want = append(want, "`"+string(s)+"`")
	}
	for _, text := range want {
		if !strings.Contains(string(raw), text) {
			t.Errorf("docs/filters.md lacks %s", text)
		}
	}
}

// What is parsed passes the store's check, is formatted printably, and parsed again as the same.
func FuzzParse(f *testing.F) {
	for _, line := range []string{
		"", "queue:resize status:failed,stopped since:1h text:\"disk full\" payload.user.id=7", "code:aborted before:2d",
		`payload."a b"="c\u202e" payload.x=[1,"y"] metadata."a b"="c\u202e" sort:oldest`,
		"since:2026-11-30T02:15:00.000000001+01:00",
		`id:"\\" unique:"`,
	} {
		f.Add(line)
	}
	f.Fuzz(func(t *testing.T, line string) {
		q, err := filter.Parse(line, now)
		if err != nil {
			if af.CodeOf(err) != af.ErrInvalidArgument {
				t.Fatal(err)
			}
			return
		}
		checked := q
		if err := checked.Check(); err != nil {
			t.Fatalf("%q: %v", line, err)
		}
		formatted := filter.Format(q)
		again, err := filter.Parse(formatted, now)
		if diff := cmp.Diff(q, again); err != nil || diff != "" {
			t.Fatalf("%q, formatted %q: %v\n%s", line, formatted, err, diff)
		}
		if i := strings.IndexFunc(formatted, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\u202e' }); i >= 0 {
			t.Fatalf("%q is not printable", formatted)
		}
	})
}
