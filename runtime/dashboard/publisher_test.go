package dashboard

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
)

// A fakePort is a port that another process has until it is freed, and what is served there.
type fakePort struct {
	mu    sync.Mutex
	err   error // of opening it; nil if it is free
	tries int
	begun time.Time // when it was served
	log   bytes.Buffer
}

var errInUse = fmt.Errorf("dashboard: %w", syscall.EADDRINUSE)

func (f *fakePort) open() (served, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.tries++; f.err != nil {
		return nil, f.err
	}
	return f, nil
}

func (f *fakePort) URL() string { return "http://127.0.0.1:1/" }

func (f *fakePort) serve(until <-chan struct{}) error {
	f.mu.Lock()
	f.begun = time.Now()
	f.mu.Unlock()
	<-until
	return nil
}

func (f *fakePort) Write(p []byte) (int, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.log.Write(p)
}

// after lets virtual time pass, and returns what has happened.
func (f *fakePort) after(d time.Duration) (tries int, begun time.Time, log string) {
	time.Sleep(d)
	synctest.Wait()
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.tries, f.begun, f.log.String()
}

// publish waits for a port. The function ends the App and returns when nothing runs any more.
func publish(f *fakePort) (end func()) {
	until, done := make(chan struct{}), make(chan struct{})
	p := &publisher{until: until, log: slog.New(slog.NewTextHandler(f, nil)), open: f.open}
	go func() {
		defer close(done)
		p.run(nil)
	}()
	return func() {
		close(until)
		<-done
	}
}

// The process that waits for the port takes over within three seconds, and tells it once. It tries a port in use every
// two to three seconds only.
func TestTakeover(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		port := &fakePort{err: errInUse}
		end := publish(port)
		defer end()
		if tries, _, log := port.after(time.Hour); tries < 3600/3-1 || tries > 3600/2 || log != "" {
			t.Errorf("%d tries in an hour; log:\n%s", tries, log)
		}
		freed := time.Now()
		port.mu.Lock()
		port.err = nil
		port.mu.Unlock()
		_, begun, log := port.after(time.Minute)
		if took := begun.Sub(freed); took < 0 || took > 3*time.Second {
			t.Errorf("served after %v", took)
		}
		if strings.Count(log, "\n") != 1 || !strings.Contains(log, "url=http://127.0.0.1:1/") {
			t.Errorf("log:\n%s", log)
		}
	})
}

// Waiting ends with the App, and at an error that another try would return, too.
func TestTakeoverEnds(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		waiting := &fakePort{err: errInUse}
		end := publish(waiting)
		waiting.after(time.Minute)
		end()
		if _, _, log := waiting.after(0); log != "" {
			t.Errorf("log:\n%s", log)
		}
		failed := &fakePort{err: errors.New("no such interface")}
		end = publish(failed)
		tries, _, log := failed.after(time.Hour)
		if tries != 1 || strings.Count(log, "no such interface") != 1 {
			t.Errorf("%d tries; log:\n%s", tries, log)
		}
		end()
	})
}
