package child

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"sync"
)

const (
	keepTail   = 64 << 10
	maxExcerpt = 4 << 10
)

// A tail forwards a child's stderr and keeps the end of it.
type tail struct {
	to io.Writer
	mu sync.Mutex
	b  []byte
}

// Write keeps p and forwards it. It keeps p even if forwarding fails.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	t.b = append(t.b, p...)
	if len(t.b) > 2*keepTail {
		t.b = append(t.b[:0], t.b[len(t.b)-keepTail:]...)
	}
	t.mu.Unlock()
	t.to.Write(p) // ignore errors: the tail is kept
	return len(p), nil
}

// crash matches the first line that a crashing Go program prints. It has the reason; the stacks after it may be long.
var crash = regexp.MustCompile(`(?m)^(panic: |fatal error: |runtime: out of memory|SIG[A-Z]+: |` +
	`unexpected fault address |WARNING: DATA RACE)`)

// end returns the kept output.
func (t *tail) end() []byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	return bytes.Clone(t.b[max(0, len(t.b)-keepTail):])
}

// excerpt returns the output from the first line of a crash, or else its end: at most 4 KiB of whole runes.
func (t *tail) excerpt() string {
	text := t.end()
	before, after := "", ""
	if at := crash.FindIndex(text); at != nil {
		if text = text[at[0]:]; len(text) > maxExcerpt {
			text, after = text[:maxExcerpt], "…"
		}
	} else if len(text) > maxExcerpt {
		text, before = text[len(text)-maxExcerpt:], "…\n"
	}
	// The cut may be within a rune.
	return before + strings.TrimRight(strings.ToValidUTF8(string(text), ""), "\n") + after
}
