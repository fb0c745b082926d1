package text_test

import (
	"bytes"
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

func TestWidth(t *testing.T) {
	for s, want := range map[string]int{
		"": 0, "abc": 3, "é": 1, "e\u0301": 1, "日本": 4, "한": 2, "👍": 2,
		"👩\u200d👩\u200d👧": 2, "🇩🇪": 2, "…": 1, "\ufffd": 1,
	} {
		if got := text.Width(s); got != want {
			t.Errorf("Width(%q) = %d, want %d", s, got, want)
		}
	}
}

func TestClean(t *testing.T) {
	for s, want := range map[string]string{
		"plain":                      "plain",
		"a\nb\tc\rd\u2028e":          "a b c d e",
		"\x1b[31mred\x1b[0m":         "\ufffd[31mred\ufffd[0m",
		"\x1b]0;title\x07":           "\ufffd]0;title\ufffd",
		"\u009b31m":                  "\ufffd31m",     // the C1 form of an escape sequence
		"\x9b31m":                    "\ufffd31m",     // the same as a byte, which is no UTF-8
		"gpj.\u202eexe":              "gpj.\ufffdexe", // right-to-left override
		"\u2066a\u2069\u200eb\u061c": "\ufffda\ufffd\ufffdb\ufffd",
		"pay\u200bload\u00ad\ufeff":  "pay\ufffdload\ufffd\ufffd", // invisible
		"a\x00b\x7f":                 "a\ufffdb\ufffd",
		"👩\u200d👩\u200d👧 می\u200cخواهم": "👩\u200d👩\u200d👧 می\u200cخواهم",
		"bad \xff utf-8": "bad \ufffd utf-8",
	} {
		if got := text.Clean(s); got != want {
			t.Errorf("Clean(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestCleanJSON(t *testing.T) {
	texts := []string{"plain é 日本", "gpj.\u202eexe", "\u009b31m \x7f \x1b[2J\n", "\U000e0041 tag", "a\u200db"}
	raw, err := json.MarshalIndent(texts, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	clean := text.CleanJSON(raw)
	for line := range strings.Lines(string(clean)) {
		if line = strings.TrimSuffix(line, "\n"); text.Clean(line) != line {
			t.Errorf("%q is not clean", line)
		}
	}
	var got []string
	if err := json.Unmarshal(clean, &got); err != nil || !cmp.Equal(got, texts) {
		t.Errorf("%q, %v", got, err)
	}
}

func TestShorten(t *testing.T) {
	for _, c := range []struct {
		text  string
		width int
		want  string
	}{
		{"abcdef", 6, "abcdef"}, {"abcdef", 5, "abcd…"}, {"abcdef", 1, "…"}, {"abcdef", 0, ""}, {"abcdef", -1, ""},
		{"", 0, ""}, {"日本語", 6, "日本語"}, {"日本語", 5, "日本…"}, {"日本語", 4, "日…"}, // half character is left out
		{"e\u0301e\u0301e\u0301", 2, "e\u0301…"}, {"👩\u200d👩\u200d👧xyz", 3, "👩\u200d👩\u200d👧…"},
	} {
		got := text.Shorten(c.text, c.width)
		if got != c.want || text.Width(got) > max(c.width, 0) {
			t.Errorf("Shorten(%q, %d) = %q of width %d, want %q", c.text, c.width, got, text.Width(got), c.want)
		}
	}
}

func FuzzShorten(f *testing.F) {
	f.Add("a日\x1b[31m👩\u200d👩", 3)
	f.Fuzz(func(t *testing.T, s string, width int) {
		got := text.Shorten(text.Clean(s), width)
		if text.Width(got) > max(width, 0) {
			t.Errorf("Shorten(%q, %d) = %q, of width %d", s, width, got, text.Width(got))
		}
	})
}

func TestDuration(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{0, "0s"}, {1, "0µs"}, {time.Microsecond, "1µs"}, {time.Millisecond - 1, "999µs"}, {time.Millisecond, "1ms"},
		{time.Second - 1, "999ms"}, {time.Second, "1.0s"}, {10*time.Second - 1, "9.9s"}, {10 * time.Second, "10s"},
		{time.Minute - 1, "59s"}, {time.Minute, "1m00s"}, {time.Hour - 1, "59m59s"}, {time.Hour, "1h00m"},
		{48*time.Hour - 1, "47h59m"}, {48 * time.Hour, "2d"}, {-time.Second, "-1.0s"},
		{math.MaxInt64, "106751d"}, {math.MinInt64, "-106751d"},
	} {
		if got := text.Duration(c.d); got != c.want {
			t.Errorf("Duration(%d) = %s, want %s", c.d, got, c.want)
		}
	}
}

func TestSince(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for _, c := range []struct {
		at   time.Time
		want string
	}{
		{time.Time{}, "-"}, {now, "0s"}, {now.Add(-200 * time.Second), "3m20s"},
		{now.Add(time.Second - 1), "0s"}, {now.Add(time.Second), "in 1.0s"}, {now.AddDate(9999, 0, 0), "in 106751d"},
	} {
		if got := text.Since(c.at, now); got != c.want {
			t.Errorf("Since(%v) = %s, want %s", c.at, got, c.want)
		}
	}
}

func TestNumbers(t *testing.T) {
	for n, want := range map[int64]string{
		0: "0", 999: "999", 1000: "1,000", -1000: "-1,000", 1234567: "1,234,567", math.MinInt64: "-9,223,372,036,854,775,808",
	} {
		if got := text.Number(n); got != want {
			t.Errorf("Number(%d) = %s, want %s", n, got, want)
		}
	}
	if got := text.Count(af.Count{N: 10_000, AtLeast: true}); got != "≥10,000" {
		t.Error(got)
	}
	for n, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1 << 30: "1.0 GiB", 5 << 40: "5.0 TiB", math.MaxUint64: "16777216.0 TiB",
	} {
		if got := text.Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %s, want %s", n, got, want)
		}
	}
}

func TestTime(t *testing.T) {
	at := time.Date(2026, 3, 1, 12, 0, 0, 5_000_000, time.FixedZone("", 3600))
	if got := text.Time(at); got != "2026-03-01 12:00:00.005 +01:00" {
		t.Error(got)
	}
	if got := text.Time(time.Time{}); got != "-" {
		t.Error(got)
	}
}

// A table is aligned whatever is in its cells, and cut where its columns allow it.
func TestTable(t *testing.T) {
	table := func(wide bool) *text.Table {
		tb := &text.Table{Wide: wide, Columns: []text.Column{
			{Title: "ID"}, {Title: "N", Right: true}, {Title: "MORE", Wide: true}, {Title: "MESSAGE", Cut: true},
			{Title: "STATE"},
		}}
		tb.Add(text.Of("id-1"), text.Of("12"), text.Of("more"), text.Of("a message that is too long"), text.Of(""))
		tb.Add(text.Of("日本"), text.Of("3"), text.Of(""), text.Of("\x1b[2J"), text.Cell{Text: "down", Style: text.Red})
		return tb
	}
	for _, c := range []struct {
		name string
		p    text.Printer
		wide bool
		want []string
	}{
		{"no_terminal", text.Printer{}, false, []string{
			"ID     N  MESSAGE                     STATE",
			"id-1  12  a message that is too long",
			"日本   3  \ufffd[2J                        down",
		}},
		{"cut", text.Printer{Width: 30}, false, []string{
			"ID     N  MESSAGE        STATE",
			"id-1  12  a message th…",
			"日本   3  \ufffd[2J           down",
		}},
		// Columns that can't be cut stay whole, and no column is cut to nothing.
		{"narrow", text.Printer{Width: 10}, false, []string{
			"ID     N  MESSAGE   STATE",
			"id-1  12  a messa…",
			"日本   3  \ufffd[2J      down",
		}},
		{"wide", text.Printer{Width: 20}, true, []string{
			"ID     N  MORE  MESSAGE                     STATE",
			"id-1  12  more  a message that is too long",
			"日本   3        \ufffd[2J                        down",
		}},
		{"color", text.Printer{Width: 30, Color: true}, false, []string{
			"\x1b[2mID\x1b[0m     \x1b[2mN\x1b[0m  \x1b[2mMESSAGE\x1b[0m        \x1b[2mSTATE\x1b[0m",
			"id-1  12  a message th…",
			"日本   3  \ufffd[2J           \x1b[31mdown\x1b[0m",
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if diff := cmp.Diff(c.want, table(c.wide).Lines(&c.p)); diff != "" {
				t.Error(diff)
			}
		})
	}
	var out bytes.Buffer
	if err := table(false).Print(&text.Printer{Writer: &out}); err != nil || strings.Count(out.String(), "\n") != 3 {
		t.Error(out.String(), err)
	}
}

func TestLine(t *testing.T) {
	cells := []text.Cell{text.Of("queues 3"), text.Of(""), {Text: "2 down", Style: text.Red}, text.Of("日本語")}
	for width, want := range map[int]string{
		0: "queues 3  2 down  日本語", 24: "queues 3  2 down  日本語", 23: "queues 3  2 down  日本…",
		18: "queues 3  2 down",
		14: "queues 3  2 d…", 11: "queues 3  …", 10: "queues 3", 4: "que…",
	} {
		got := text.Line(&text.Printer{Width: width}, cells...)
		if got != want || width > 0 && text.Width(got) > width {
			t.Errorf("Line of width %d = %q, want %q", width, got, want)
		}
	}
	if got := text.Line(&text.Printer{Color: true}, cells...); got != "queues 3  \x1b[31m2 down\x1b[0m  日本語" {
		t.Errorf("%q", got)
	}
}
