package adminhttp_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
)

// A client of a wrong URL is told that there is no admin API, and follows no redirect, which would carry its token to
// another server.
func TestClientOfAnotherServer(t *testing.T) {
	followed := false
	other := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { followed = true }))
	t.Cleanup(other.Close)
	mux := http.NewServeMux()
	mux.HandleFunc("/page/", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
	})
	mux.Handle("/login/", http.RedirectHandler(other.URL+"/form?secret=hunter2", http.StatusFound))
	mux.HandleFunc("/proxy/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "sorry", http.StatusBadGateway)
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	for path, want := range map[string]struct {
		code af.Code
		text string
	}{
		"/page":  {af.ErrUnimplemented, `/page/api/v1/queues answers with status 200 and the type "text/html"`},
		"/none":  {af.ErrUnimplemented, `status 404 and the type "text/plain", so that is not an admin API: check the URL`},
		"/login": {af.ErrUnimplemented, "redirects to " + other.URL + "/form: use the URL"},
		"/proxy": {af.ErrUnavailable, "HTTP status 502"},
	} {
		client, err := adminhttp.NewClient(server.URL+path, adminhttp.ClientOptions{})
		if err != nil {
			t.Fatal(err)
		}
		_, err = client.Queues(t.Context())
		if af.CodeOf(err) != want.code || !strings.Contains(err.Error(), want.text) ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", path, err)
		}
		for _, err := range client.Watch(t.Context(), admin.WatchQuery{}) {
			if af.CodeOf(err) != want.code {
				t.Errorf("%s: a stream: %v", path, err)
			}
		}
	}
	if followed {
		t.Error("a redirect was followed")
	}
}
