package oncall

import (
	"bytes"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/cli"
	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

// A question is what the engineer on call asks, and the one command that answers it.
type question struct {
	asks    string
	command string
	answers []string // parts of the answer, as soon as instances have announced what they know
	code    int
	compare comparison
}

// A comparison tells when an answer must be that of the document.
type comparison int

const (
	always comparison = iota
	onFile            // not over HTTP or servers, on which other things are checked
	never             // the answer changes within a night, or the widths of its columns cut it at different places
)

// questions are those of the document, in its order. $REPORT is the task of the job nightly.
var questions = []question{
	{"What is wrong?", "af doctor", []string{
		"slots-lost", `queue "thumbnails" has 1 waiting task`, "abandoned handler", "v1.4.0", "nightly", "prices",
		"problems"}, 1, onFile},
	{"Which queues are affected?", "af queues", []string{"no worker", "paused"}, 0, always},
	{"What fails, and with which error?", "af ls status:failed", []string{"import-1", "line 17", "video-1"}, 0, always},
	{"Why was no thumbnail made?", "af why thumb-1", []string{"No instance runs a worker of queue thumbnails"}, 0, always},
	{"Why are invoices not sent?", "af why invoice-1", []string{"paused since", "ann", "wrong prices"}, 0, always},
	{"Why is this picture not resized?", "af why size-1", []string{"can't decode its payload", newPayload}, 0, never},
	{"Why does the next video not start?", "af why video-3", []string{"All 2 slots", "it is the next one"}, 0, never},
	{"What happens now?", "af top -once", []string{"videos", "all slots busy"}, 0, never},
	{"What runs, where and for how long?", "af ps", []string{"video-2", "10.0.0.7"}, 0, always},
	{"Why was the nightly report not made?", "af why $REPORT", []string{"may run only at 10.0.0.9"}, 0, always},
	{"Why was the price update skipped?", "af fires prices", []string{"an earlier task had not ended"}, 0, always},
	{"Is a process degraded?", "af instances", []string{"v1.4.0", "v1.5.0", "slots-lost"}, 0, never},
	{"What did the failed import do?", "af get import-1", []string{"line 17", "prices.csv"}, 0, onFile},
	{"Who changed what?", "af audit", []string{"queue.pause", "job.run", "ann", "wrong prices"}, 0, always},
}

// Play plays the night on a backend. flags select the system; the questions are asked with them, and once more through
// the HTTP API of an instance. The answers are compared with those in the document, or written to it if update is set.
// The shop runs until the test ends.
func Play(t *testing.T, b af.Backend, flags []string, document string, update bool) *Shop {
	t.Helper()
	s := newShop(t, b)
	for _, over := range []struct {
		name  string
		flags []string
	}{{"direct", flags}, {"http", []string{"-url", s.url}}} {
		if update && over.name == "direct" {
			s.write(document, over.flags)
			continue
		}
		for _, q := range questions {
			s.check(document, over.name, q, over.flags)
		}
	}
	return s
}

// Ask asks for a command over the HTTP API of an instance, until the answer has all texts.
func (s *Shop) Ask(command string, code int, answers ...string) {
	s.Helper()
	s.ask("http", question{command: command, answers: answers, code: code}, []string{"-url", s.url})
}

// shown returns a command with the ids of the night.
func (s *Shop) shown(command string) string { return strings.ReplaceAll(command, "$REPORT", s.report) }

// ask runs a command until its answer is complete, and returns it.
func (s *Shop) ask(over string, q question, flags []string) (answer string) {
	s.Helper()
	args := append(strings.Fields(s.shown(q.command))[1:], flags...)
	for begun := time.Now(); ; time.Sleep(100 * time.Millisecond) {
		var out, errs bytes.Buffer
		code := cli.Run(s.Context(), args, cli.Environment{
			In: strings.NewReader(""), Out: text.Printer{Writer: &out, Width: 120}, Err: text.Printer{Writer: &errs},
			Getenv: func(string) string { return "" }, Now: time.Now,
		})
		missing := ""
		for _, want := range q.answers {
			if !strings.Contains(strings.Join(strings.Fields(out.String()), " "), want) { // it may be wrapped
				missing = want
				break
			}
		}
		if missing == "" && code == q.code {
			return out.String()
		}
		if time.Since(begun) > patience {
			s.Fatalf("%s: %s: code %d, no %q in\n%s%s", over, q.command, code, missing, &out, &errs)
		}
	}
}

// The section of the document.
const (
	sectionBegin = "<!-- a night on call: go test ./cmd/af/internal/oncall -update -->\n\n"
	sectionEnd   = "<!-- end of the night -->\n"
)

// section returns the beginning of a document, the section, and the rest.
func section(t *testing.T, file string) (before, text, after string) {
	t.Helper()
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	before, rest, found := strings.Cut(string(raw), sectionBegin)
	text, after, closed := strings.Cut(rest, sectionEnd)
	if !found || !closed {
		t.Fatalf("%s has no section between %q and %q", file, sectionBegin, sectionEnd)
	}
	return before + sectionBegin, text, sectionEnd + after
}

// block returns a question and its answer as the document has it.
func (s *Shop) block(q question, answer string) string {
	return fmt.Sprintf("**%s**\n\n```\n$ %s\n%s```\n\n", q.asks, s.shown(q.command), answer)
}

// answerIn returns the answer in a block.
func (*Shop) answerIn(block string) string {
	_, answer, _ := strings.Cut(block, "\n$ ")
	_, answer, _ = strings.Cut(answer, "\n")
	answer, _, _ = strings.Cut(answer, "```")
	return answer
}

// write asks all questions and writes the answers to a document.
func (s *Shop) write(file string, flags []string) {
	s.Helper()
	before, _, after := section(s.T, file)
	var b strings.Builder
	for _, q := range questions {
		b.WriteString(s.block(q, s.ask("direct", q, flags)))
	}
	if err := os.WriteFile(file, []byte(before+b.String()+after), 0o644); err != nil {
		s.Fatal(err)
	}
}

// check asks a question and compares the answer with that in a document. It asks several times: some task may be tried
// again just now.
func (s *Shop) check(file, over string, q question, flags []string) {
	s.Helper()
	_, text, _ := section(s.T, file)
	if n := strings.Count(text, "\n$ "); n != len(questions) {
		s.Fatalf("%s has %d answers to %d questions", file, n, len(questions))
	}
	_, old, _ := strings.Cut(text, "**"+q.asks+"**")
	old, _, _ = strings.Cut(old, "**")
	elsewhere := s.web.Health().Backend != "embedded" || over != "direct"
	var answer string
	for range 5 {
		answer = s.ask(over, q, flags)
		if q.compare == never || q.compare == onFile && elsewhere || normal(answer) == normal(s.answerIn(old)) {
			return
		}
	}
	s.Errorf("over %s, %s has another answer to %q. It is now\n%s\nIf that is right, run: "+
		"go test ./cmd/af/internal/oncall -update\nCompared was\n%s\nwith\n%s", over, file, q.asks, s.block(q, answer),
		normal(answer), normal(s.answerIn(old)))
}

// What differs from night to night.
var variable = []struct {
	pattern *regexp.Regexp
	with    string
}{
	{regexp.MustCompile(`\b[0-9A-Z]{26}\b`), "ID"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d([ T]\d\d:\d\d:\d\d(\.\d+)?)?( ?[+-]\d\d:\d\d|Z)?`), "TIME"},
	{regexp.MustCompile(`\b\d\d:\d\d(:\d\d(\.\d+)?)?\b`), "TIME"},
	{regexp.MustCompile(`\b(in )?(\d+(\.\d+)?(µs|ms|s|m|h|d)(\d\d)?)+\b`), "DURATION"},
	{regexp.MustCompile(`( )-( |$)`), " DURATION "}, // none, in a table
	{regexp.MustCompile(`\b\d+ due times?`), "N due times"},
	{regexp.MustCompile(`\bjob/prices/\d+`), "TASK"},
}

// normal returns the words of a text without what differs, in alphabetical order: lines are wrapped at the width of the
// terminal, and instances sorted by their ids. Of equal lines that follow each other it has one: a job may have skipped
// several due times.
func normal(s string) string {
	var words []string
	last := ""
	for line := range strings.Lines(s) {
		for _, v := range variable {
			line = v.pattern.ReplaceAllString(strings.TrimSpace(line), v.with)
		}
		if line != last {
			words = append(words, strings.Fields(line)...)
		}
		last = line
	}
	slices.Sort(words)
	return strings.Join(words, " ")
}
