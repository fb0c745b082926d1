package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"

	"github.com/afgen/afgen/cmd/af/internal/text"
	"github.com/afgen/afgen/runtime/admin"
)

const (
	redrawEvery = time.Second            // and at most that often reads a page
	rereadAfter = 5 * time.Second        // without a tick
	beatEvery   = 200 * time.Millisecond // to notice a resized terminal: Windows has no signal for it
	pageTimeout = 10 * time.Second       // of a page
)

// A Screen is the terminal of a process, for pages that are redrawn. The zero Screen has none.
type Screen struct {
	// Size returns the columns and lines of the terminal that Out is, as they are now. nil means those of Out and 24.
	Size func() (width, height int)
	// Raw makes the terminal that In is deliver each key at once and not echo it, until restore is called. nil means that
	// keys can't be read.
	Raw func() (restore func() error, err error)
}

// processScreen returns the terminal of this process.
func processScreen() Screen {
	var s Screen
	if out := int(os.Stdout.Fd()); term.IsTerminal(out) {
		s.Size = func() (width, height int) {
			width, height, _ = term.GetSize(out) // zeros if it does not tell
			return width, height
		}
	}
	if in := int(os.Stdin.Fd()); term.IsTerminal(in) {
		s.Raw = func() (func() error, error) {
			before, err := term.MakeRaw(in)
			return func() error { return term.Restore(in, before) }, err
		}
	}
	return s
}

// A livePage is a page of the terminal that is read again when something has changed, and redrawn each second.
type livePage[S any] struct {
	kinds []admin.Kind // what is watched
	read  func(ctx context.Context) (S, error)
	lines func(s S, v *view) []string
	key   func(key byte) // a key that the page knows; the rest has no effect; nil if it knows none
}

// A view is how a page is looked at.
type view struct {
	text.Printer     // its width and colors
	Height       int // lines of the terminal; 0 means any number
	Now          time.Time
	Keys         bool  // keys can be pressed
	Paused       bool  // by a key
	Err          error // of the last read: the page is as it was before
}

// live reports whether a page can be redrawn on the output.
func (c *invocation) live() bool { return c.Out.Terminal && c.Getenv("TERM") != "dumb" }

// view returns the view of the terminal as it is now.
func (c *invocation) view() *view {
	v := &view{Printer: text.Printer{Width: c.Out.Width, Color: c.Out.Color}, Height: 24, Now: c.Now(), Keys: c.Raw != nil}
	if c.Size != nil {
		v.Width, v.Height = c.Size()
	}
	if v.Width <= 0 || v.Height <= 0 { // a terminal that does not tell
		v.Width, v.Height = 80, 24
	}
	return v
}

// Control sequences of terminals.
const (
	enterScreen = "\x1b[?1049h\x1b[?25l\x1b[2J" // the alternate screen, without a cursor
	leaveScreen = "\x1b[?25h\x1b[?1049l"
	clearScreen = "\x1b[2J"
)

// run shows the page until q is pressed, which returns nil, or ctx ends, which returns its error. The terminal is then
// as before, also after a panic. An error of the first read ends it, too; later ones are shown. Ctrl-C, which a terminal
// in raw mode delivers as a key, sets the exit code.
func (l *livePage[S]) run(ctx context.Context, c *invocation, api admin.Reader) (err error) {
	s, err := l.first(ctx)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer cancel()
	loop := liveLoop[S]{
		livePage: l, c: c, state: s, started: c.Now(),
		keys: make(chan byte), changed: make(chan struct{}, 1), results: make(chan liveRead[S], 1),
		panics: make(chan string, 4),
	}
	if c.Raw != nil {
		restore, rawErr := c.Raw()
		if rawErr != nil {
			return fmt.Errorf("reading keys: %w", rawErr)
		}
		defer func() { err = errors.Join(err, restore()) }()
		go loop.caught(func() { loop.readKeys(ctx) })()
	}
	defer func() {
		_, wrote := c.Out.Write([]byte(leaveScreen))
		err = errors.Join(err, wrote)
	}()
	if _, err := c.Out.Write([]byte(enterScreen)); err != nil {
		return err
	}
	group.Go(loop.caught(func() {
		follow(ctx, api, admin.WatchQuery{Kinds: l.kinds}, func(admin.Tick) {
			select {
			case loop.changed <- struct{}{}:
			default:
			}
		})
	}))
	return loop.run(ctx, &group)
}

func (l *livePage[S]) first(ctx context.Context) (S, error) {
	ctx, cancel := context.WithTimeout(ctx, pageTimeout)
	defer cancel()
	return l.read(ctx)
}

// A liveLoop is a page on the screen. All of its fields but the channels belong to run.
type liveLoop[S any] struct {
	*livePage[S]
	c       *invocation
	keys    chan byte
	changed chan struct{}
	results chan liveRead[S] // at most one read is under way
	panics  chan string      // of other goroutines: they must not end the process before the terminal is restored

	state   S
	err     error
	paused  bool
	reading bool
	dirty   bool      // something has changed since started
	started time.Time // of the last read
	drawn   time.Time
	frame   string // on the screen
	width   int    // of the frame
	height  int
}

type liveRead[S any] struct {
	state S
	err   error
}

func (l *liveLoop[S]) run(ctx context.Context, group *sync.WaitGroup) error {
	beat := time.NewTicker(beatEvery)
	defer beat.Stop()
	for {
		if err := l.draw(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case message := <-l.panics:
			panic(message)
		case k := <-l.keys:
			switch k {
			case 'q', 'Q':
				return nil
			case 3: // Ctrl-C
				l.c.code = exitInterrupted
				return nil
			case 'p', 'P', ' ':
				l.paused = !l.paused
			case 12: // Ctrl-L
				l.width = 0
			default:
				if l.key != nil {
					l.key(k)
				}
			}
			l.drawn = time.Time{}
		case <-l.changed:
			l.dirty = true
		case r := <-l.results:
			l.reading = false
			if l.err = r.err; r.err == nil {
				l.state = r.state
			}
			if !l.paused {
				l.drawn = time.Time{}
			}
		case <-beat.C:
		}
		since := l.c.Now().Sub(l.started)
		if !l.paused && !l.reading && (l.dirty && since >= redrawEvery || since >= rereadAfter) {
			l.reading, l.dirty, l.started = true, false, l.c.Now()
			group.Go(l.caught(func() {
				s, err := l.first(ctx)
				l.results <- liveRead[S]{s, err}
			}))
		}
	}
}

// draw redraws the page if it is due, or the terminal's size has changed.
func (l *liveLoop[S]) draw() error {
	v := l.c.view()
	resized := v.Width != l.width || v.Height != l.height
	if !resized && (v.Now.Sub(l.drawn) < redrawEvery || l.paused && !l.drawn.IsZero()) {
		return nil
	}
	v.Paused, v.Err = l.paused, l.err
	l.drawn, l.width, l.height = v.Now, v.Width, v.Height
	lines := l.lines(l.state, v)
	// A line is erased before it is written: after the last column, some terminals would erase its last character.
	frame := "\x1b[H\x1b[K" + strings.Join(lines[:min(len(lines), v.Height)], "\r\n\x1b[K")
	if len(lines) < v.Height {
		frame += "\r\n\x1b[J"
	}
	switch {
	case resized:
		frame = clearScreen + frame
	case frame == l.frame:
		return nil
	}
	l.frame = frame
	_, err := l.c.Out.Write([]byte(frame))
	return err
}

// readKeys sends keys until ctx ends. A read of a terminal can't be interrupted, so it then ends with the next key, or
// with the process.
func (l *liveLoop[S]) readKeys(ctx context.Context) {
	buf := make([]byte, 64)
	for {
		n, err := l.c.In.Read(buf)
		if n > 0 && (buf[0] != 0x1b || n == 1) { // not an arrow or a function key
			for _, k := range buf[:n] {
				select {
				case l.keys <- k:
				case <-ctx.Done():
					return
				}
			}
		}
		if err != nil {
			return
		}
	}
}

// caught returns a function that calls f, and lets the loop panic if f does.
func (l *liveLoop[S]) caught(f func()) func() {
	return func() {
		defer func() {
			if v := recover(); v != nil {
				l.panics <- fmt.Sprintf("%v\n\n%s", v, debug.Stack())
			}
		}()
		f()
	}
}

// follow calls tick for what Watch yields until ctx ends. It watches again after an error, such as of a server that
// restarts: the readers of what has changed report those that last.
func follow(ctx context.Context, api admin.Reader, q admin.WatchQuery, tick func(admin.Tick)) {
	for ctx.Err() == nil {
		for t, err := range api.Watch(ctx, q) {
			if err != nil {
				break
			}
			tick(t)
		}
		select {
		case <-time.After(redrawEvery):
		case <-ctx.Done():
		}
	}
}
