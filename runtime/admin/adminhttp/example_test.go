package adminhttp_test

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
	"github.com/afgen/afgen/runtime/backend/memory"
)

// A server administers its App below /ops/. Users are known by their tokens, and a client uses the same interface.
func Example() {
	ctx := context.Background()
	app, err := af.Open(ctx, memory.New(), af.Logger(slog.New(slog.DiscardHandler)))
	if err != nil {
		fmt.Println(err)
		return
	}
	if err := app.Start(ctx); err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = app.Shutdown(ctx) }()
	users := map[string]admin.User{
		"Bearer s3cret": {Name: "ann", Rights: admin.AllRights()},
		"Bearer public": {Name: "bo", Rights: admin.ReadOnly()},
	}
	ops, err := adminhttp.Handler(admin.New(app), adminhttp.Options{
		Authorize: func(r *http.Request) (admin.User, error) {
			user, ok := users[r.Header.Get("Authorization")]
			if !ok {
				return admin.User{}, af.NewError(af.ErrUnauthenticated, "unknown token")
			}
			return user, nil
		},
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	mux := http.NewServeMux()
	mux.Handle("/ops/", http.StripPrefix("/ops", ops))
	server := httptest.NewServer(mux)
	defer server.Close()

	for _, token := range []string{"s3cret", "public", ""} {
		api, err := adminhttp.NewClient(server.URL+"/ops", adminhttp.ClientOptions{
			Prepare: func(r *http.Request) error {
				r.Header.Set("Authorization", "Bearer "+token)
				return nil
			},
		})
		if err != nil {
			fmt.Println(err)
			return
		}
		task, err := api.Submit(ctx, admin.Submission{Queue: "resize", Payload: []byte(`{"width":80}`), ID: "photo-1"},
			admin.Action{Reason: "asked by the customer"})
		fmt.Printf("%q %t %q\n", task.ID, task.Created, af.CodeOf(err))
	}
	// Output:
	// "photo-1" true ""
	// "" false "permission_denied"
	// "" false "unauthenticated"
}
