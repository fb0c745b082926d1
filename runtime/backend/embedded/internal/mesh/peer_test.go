package mesh

import (
	"context"
	"encoding/json"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/afgen/afgen/internal/bubble"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/internal/envelope"
)

func TestLostConnectionMakesOutcomeUnknown(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := unstarted(t, Options{ID: "m", Resolve: always("s")})
		s := connectFake(t, m, "s")
		done := startCall(t.Context(), m, "1")
		s.want(kindRequest, "1")
		_ = s.conn.Close()
		wantError(t, (<-done).err, backend.ErrUnavailable, backend.OutcomeUnknown)
		_, err := m.Call(t.Context(), request())
		wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
		if !errors.Is(err, backend.ErrNoInstance) {
			t.Error(err)
		}
	})
}

func TestLostCallerCancelsHandlers(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := unstarted(t, Options{ID: "m"})
		causes := make(chan error, 1)
		serve(m, 1, func(ctx context.Context, _ *backend.Request, reply func(*backend.Reply)) {
			defer reply(&backend.Reply{})
			<-ctx.Done()
			causes <- context.Cause(ctx)
		})
		s := connectFake(t, m, "s")
		s.sendRequest("1")
		s.sendRequest("2")
		s.want(kindBusy, "2")
		_ = s.conn.Close()
		if c := <-causes; !errors.Is(c, backend.ErrCanceled) {
			t.Errorf("cause %v", c)
		}
		wantIdle(t, m)
	})
}

// If a connection ends before a request is written, the call sends it to another instance.
func TestUnwrittenRequestIsSentElsewhere(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		b := unstarted(t, Options{ID: "b"})
		serve(b, 1, echo)
		m := unstarted(t, Options{ID: "m", Resolve: func(_ context.Context, _ string, fresh bool) ([]string, error) {
			if fresh {
				return []string{"s", "b"}, nil
			}
			return []string{"s"}, nil
		}})
		connectPair(t, m, b)
		s := connectFake(t, m, "s") // reads nothing
		written := startCall(t.Context(), m, "1")
		synctest.Wait()
		queued := startCall(t.Context(), m, "2")
		synctest.Wait()
		ctx, cancel := context.WithCancel(t.Context())
		given := startCall(ctx, m, "3")
		synctest.Wait()
		cancel()
		wantError(t, (<-given).err, backend.ErrCanceled, backend.OutcomeNotSent)
		_ = s.conn.Close()
		wantError(t, (<-written).err, backend.ErrUnavailable, backend.OutcomeUnknown)
		if r := <-queued; r.err != nil {
			t.Error(r.err)
		}
	})
}

// A stopped peer blocks callers no longer than their contexts, and is disconnected after five seconds.
func TestStoppedPeerIsDisconnected(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r, o := newRecord(Options{ID: "m", Resolve: always("s")})
		m := unstarted(t, o)
		connectFake(t, m, "s")
		big := request()
		big.Body = make(json.RawMessage, maxQueued)
		first := make(chan error, 1)
		startTime := time.Now()
		go func() {
			_, err := m.Call(t.Context(), big)
			first <- err
		}()
		synctest.Wait()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err := m.Call(ctx, request()) // the outbox is full
		wantError(t, err, backend.ErrDeadlineExceeded, backend.OutcomeNotSent)
		if d := time.Since(startTime); d != time.Second {
			t.Errorf("the call was blocked for %v", d)
		}
		time.Sleep(time.Until(startTime.Add(writeTimeout + readGrace/2)))
		_, err = m.Call(t.Context(), request())
		wantError(t, err, backend.ErrUnavailable, backend.OutcomeNotSent)
		if d := time.Since(startTime); d != writeTimeout+readGrace/2 {
			t.Errorf("the call to a disconnected peer ended after %v", d)
		}
		wantError(t, <-first, backend.ErrUnavailable, backend.OutcomeUnknown)
		if d := time.Since(startTime); d != writeTimeout+readGrace {
			t.Errorf("the peer was disconnected after %v", d)
		}
		wantEvents(t, r.waitFor(2), "s gap", "s lost")
		s := connectFake(t, m, "s")
		again := startCall(t.Context(), m, "again")
		s.want(kindRequest, "1")
		s.send(&header{Kind: kindReply, CorrelationID: "1"}, nil)
		if got := <-again; got.err != nil {
			t.Error(got.err)
		}
	})
}

// Input from the wire is never trusted.
func TestUnexpectedFrames(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		m := unstarted(t, Options{ID: "m", Resolve: always("m", "s")})
		_, started, release := hold(m, 1)
		s := connectFake(t, m, "s")
		for _, kind := range []string{kindReply, kindRefuse, kindBusy, kindFree, kindPass, kindCancel, kindHello, "unknown"} {
			s.send(&header{Kind: kind, CorrelationID: "unknown"}, nil)
		}
		s.sendRequest("1")
		<-started
		s.sendRequest("1")
		if h := s.want(kindRefuse, "1"); h.error().Code != backend.ErrInvalidArgument {
			t.Errorf("an id in use: %v", h.error())
		}
		s.sendRequest("2")
		s.want(kindBusy, "2")
		s.sendRequest("2")
		s.want(kindRefuse, "2")
		s.send(&header{Kind: kindPass, CorrelationID: "2"}, nil)
		release <- struct{}{}
		s.want(kindReply, "1")

		for want, spoil := range map[backend.Code]func(h *header){
			backend.ErrUnimplemented:   func(h *header) { h.ContentType = "text/plain" },
			backend.ErrInvalidArgument: func(h *header) { delete(h.Headers, envelope.Timeout) },
		} {
			h := requestHeader(request(), "3", time.Second)
			spoil(h)
			s.send(h, nil)
			if r := s.want(kindReply, "3").reply(nil); r.Err == nil || r.Err.Code != want ||
				r.Err.Outcome != backend.OutcomeAnswered {
				t.Errorf("%v, want %s", r.Err, want)
			}
		}
		close(release)

		// As an instance, the peer sends unexpected answers.
		done := startCall(t.Context(), m, "x")
		for range 2 {
			if len(started) > 0 { // it ran here
				<-started
				<-done
				done = startCall(t.Context(), m, "x")
			}
			synctest.Wait()
		}
		s.want(kindRequest, "1")
		for _, kind := range []string{kindFree, kindReply, kindBusy, kindFree, kindRefuse, kindReply} {
			s.send(&header{Kind: kind, CorrelationID: "1"}, []byte(`1`))
		}
		if r := <-done; r.err != nil || string(r.reply.Body) != "1" {
			t.Errorf("%v", r)
		}
	})
}

func TestMalformedFrameEndsTheConnection(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r, o := newRecord(Options{ID: "m"})
		m := unstarted(t, o)
		s := connectFake(t, m, "s")
		if _, err := s.conn.Write([]byte("\xff\xff\xff\xff\xff\xff\xff\xff")); err != nil {
			t.Fatal(err)
		}
		wantEvents(t, r.waitFor(2), "s gap", "s lost")
	})
}

// A peer that sends requests but reads no answers is disconnected before the answers fill the memory.
func TestPeerThatReadsNoAnswersIsDisconnected(t *testing.T) {
	bubble.Test(t, func(t *testing.T) {
		r, o := newRecord(Options{ID: "m"})
		m := unstarted(t, o)
		s := connectFake(t, m, "s")
		ask := bytesOf(t, requestHeader(request(), "1", time.Minute), nil) // for an unknown service
		asked := 0
		for ; asked < 2*maxShorts; asked++ {
			if _, err := s.conn.Write(ask); err != nil {
				break
			}
		}
		if asked < maxShorts || asked == 2*maxShorts {
			t.Errorf("it could send %d requests", asked)
		}
		wantEvents(t, r.waitFor(2), "s gap", "s lost")
	})
}
