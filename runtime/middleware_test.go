package runtime_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
)

func TestMetadataReachesTheHandlerOnly(t *testing.T) {
	var app *af.App
	var seen []string
	app = serve(t, memory.New(), func(ctx context.Context, x int) (int, error) {
		seen = append(seen, fmt.Sprint(af.MetadataFrom(ctx)))
		if x == 1 {
			return call(ctx, app, 2)
		}
		return x, nil
	})
	ctx := af.WithMetadata(af.WithMetadata(t.Context(), "tenant", "a"), "lang", "de")
	if _, err := call(ctx, app, 1); err != nil {
		t.Fatal(err)
	}
	if want := []string{"map[lang:de tenant:a]", "map[]"}; !slices.Equal(seen, want) {
		t.Errorf("seen %q, want %q", seen, want)
	}
	if md := af.MetadataFrom(ctx); md != nil {
		t.Errorf("MetadataFrom outside of a handler: %v", md)
	}
}

func TestMiddlewareOrderAndHeaders(t *testing.T) {
	var trace []string
	client := func(name string) func(af.Caller) af.Caller {
		return func(next af.Caller) af.Caller {
			return af.CallerFunc(func(ctx context.Context, c af.Call) (json.RawMessage, error) {
				trace = append(trace, name+" "+c.Service+"."+c.Method)
				headers := map[string]string{"traceparent": c.Headers["traceparent"] + name}
				c.Headers = headers
				r, err := next.Invoke(ctx, c)
				trace = append(trace, fmt.Sprint(name, " ", string(r), " ", err))
				return r, err
			})
		}
	}
	server := func(name string) func(af.Handler) af.Handler {
		return func(next af.Handler) af.Handler {
			return func(ctx context.Context, req *af.Request) (json.RawMessage, error) {
				trace = append(trace, name+" "+req.Headers["traceparent"])
				r, err := next(ctx, req)
				trace = append(trace, fmt.Sprint(name, " ", string(r), " ", err))
				return r, err
			}
		}
	}
	app := serve(t, memory.New(), func(_ context.Context, x int) (int, error) {
		if x == 1 {
			panic("!")
		}
		return x, nil
	}, af.ClientMiddleware(client("c1"), client("c2")), af.ServerMiddleware(server("s1"), server("s2")))
	if _, err := call(t.Context(), app, 5); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"c1 calc.Do", "c2 calc.Do", "s1 c1c2", "s2 c1c2",
		`s2 {"result":5} <nil>`, `s1 {"result":5} <nil>`, `c2 {"result":5} <nil>`, `c1 {"result":5} <nil>`,
	}
	if !slices.Equal(trace, want) {
		t.Errorf("trace\n%q\nwant\n%q", trace, want)
	}
	trace = nil
	if _, err := call(t.Context(), app, 1); !errors.Is(err, af.ErrInternal) {
		t.Fatal(err)
	}
	if trace[4] != "s2  the handler panicked" || trace[7] != "c1  internal: the handler panicked" {
		t.Errorf("middleware saw the panic as %q", trace)
	}
}

func TestPanicInServerMiddleware(t *testing.T) {
	app := serve(t, memory.New(), double, af.ServerMiddleware(func(af.Handler) af.Handler {
		return func(context.Context, *af.Request) (json.RawMessage, error) { panic("!") }
	}))
	_, err := call(t.Context(), app, 1)
	wantError(t, err, af.ErrInternal, af.OutcomeAnswered, "panicked")
}

func TestClientMiddlewareErrorsBecomeCoded(t *testing.T) {
	app := serve(t, memory.New(), double, af.ClientMiddleware(func(af.Caller) af.Caller {
		return af.CallerFunc(func(context.Context, af.Call) (json.RawMessage, error) {
			return nil,
				errors.New("breaker open")
		})
	}))
	_, err := call(t.Context(), app, 1)
	wantError(t, err, af.ErrUnknown, af.OutcomeUnknown, "breaker open")
}
