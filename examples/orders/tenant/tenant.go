// Package tenant carries the name of a customer from an HTTP request to everything that is done for it: the calls and
// tasks of the request, the tasks that these submit, and their subtasks.
//
// The name travels as metadata. Metadata is no proof: every program on the backend can set it. [Authenticate] checks
// who sends a request, before the first call.
package tenant

import (
	"context"
	"encoding/json"
	"net/http"
	"regexp"
	"strings"

	af "github.com/afgen/afgen/runtime"
)

const metadata = "tenant"

type key struct{}

// With returns a context for work on behalf of a tenant. The calls and tasks made with it carry the name.
func With(ctx context.Context, name string) context.Context {
	return af.WithMetadata(context.WithValue(ctx, key{}, name), metadata, name)
}

// From returns the tenant on whose behalf the code runs, or an error with code unauthenticated.
func From(ctx context.Context) (string, error) {
	if name, ok := ctx.Value(key{}).(string); ok {
		return name, nil
	}
	return "", af.Errorf(af.ErrUnauthenticated, "no tenant")
}

// Key returns a task ID or unique key for something of the current tenant, such as an order.
func Key(ctx context.Context, kind, name string) (string, error) {
	tenant, err := From(ctx)
	return tenant + "/" + kind + "/" + name, err
}

// Owns returns not_found unless a task is of the current tenant.
func Owns(ctx context.Context, t af.Task) error {
	name, err := From(ctx)
	if err == nil && t.Metadata[metadata] != name {
		err = af.Errorf(af.ErrNotFound, "no task %q", t.ID)
	}
	return err
}

// names are valid as parts of paths and task IDs.
var names = regexp.MustCompile(`^[a-z][a-z0-9]{0,30}$`)

// received returns ctx with the tenant in the metadata of the call or task that is handled.
func received(ctx context.Context) (_ context.Context, ok bool) {
	name := af.MetadataFrom(ctx)[metadata]
	if !names.MatchString(name) {
		return ctx, false
	}
	return With(ctx, name), true
}

// Server is middleware for handlers of calls. It refuses calls without a tenant.
func Server(next af.Handler) af.Handler {
	return func(ctx context.Context, req *af.Request) (json.RawMessage, error) {
		ctx, ok := received(ctx)
		if !ok {
			return nil, af.Errorf(af.ErrUnauthenticated, "%s.%s needs a tenant", req.Service, req.Method)
		}
		return next(ctx, req)
	}
}

// Worker is middleware for handlers of tasks. Tasks of jobs have no tenant.
func Worker(next af.TaskHandler) af.TaskHandler {
	return func(ctx context.Context, t *af.Running) (json.RawMessage, error) {
		ctx, _ = received(ctx) // without a tenant, From fails where one is needed
		return next(ctx, t)
	}
}

// Submit is middleware for submissions. It refuses tasks without a tenant: a handler would not know whose data it may
// use.
func Submit(next af.Submitter) af.Submitter {
	return af.SubmitterFunc(func(ctx context.Context, s af.Submission) ([]string, error) {
		if _, err := From(ctx); err != nil {
			return nil, err
		}
		return next.SubmitTasks(ctx, s)
	})
}

// Authenticate is middleware for HTTP. It puts the tenant that owns the request's bearer token into its context, and
// refuses requests without a valid token.
func Authenticate(tokens map[string]string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		token, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
		name := tokens[token]
		if !ok || name == "" {
			w.Header().Set("WWW-Authenticate", "Bearer")
			http.Error(w, "a valid bearer token is required", http.StatusUnauthorized)
			return
		}
		next.ServeHTTP(w, r.WithContext(With(r.Context(), name)))
	})
}
