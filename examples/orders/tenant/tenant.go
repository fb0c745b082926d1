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
	if task := af.TaskFrom(ctx); task != nil {
		for _, id := range []string{task.Source, task.ID} {
			if name, _, ok := strings.Cut(id, "/"); ok && name != "job" {
				return name, nil
			}
		}
	}
	return "", af.Errorf(af.ErrUnauthenticated, "no tenant")
}

// TaskID returns the ID of the current tenant's task for something, such as an order. Submitting it again returns the
// same task.
func TaskID(ctx context.Context, kind, number string) (string, error) {
	name, err := From(ctx)
	return name + "/" + kind + "/" + number, err
}

// Owns returns not_found unless a task is of the current tenant.
func Owns(ctx context.Context, t af.Task) error {
	name, err := From(ctx)
	if err == nil && !strings.HasPrefix(t.ID, name+"/") {
		err = af.Errorf(af.ErrNotFound, "no task %q", t.ID)
	}
	return err
}

// names are valid as parts of paths and task IDs.
var names = regexp.MustCompile(`^[a-z][a-z0-9]{0,30}$`)

// Server is middleware for calls. It refuses calls without a tenant, and puts the tenant into the handler's context.
func Server(next af.Handler) af.Handler {
	return func(ctx context.Context, req *af.Request) (json.RawMessage, error) {
		name := req.Metadata[metadata]
		if !names.MatchString(name) {
			return nil, af.Errorf(af.ErrUnauthenticated, "%s.%s needs a tenant", req.Service, req.Method)
		}
		return next(With(ctx, name), req)
	}
}

// Client is middleware for calls. It passes the tenant of a task on to the services that the task calls.
func Client(next af.Caller) af.Caller {
	return af.CallerFunc(func(ctx context.Context, call af.Call) (json.RawMessage, error) {
		if name, err := From(ctx); err == nil {
			ctx = With(ctx, name)
		}
		return next.Invoke(ctx, call)
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
