package health_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/health"
)

// fakeApp is an App with a fixed state.
type fakeApp struct {
	err   error
	state string
}

func (a fakeApp) Ready() error { return a.err }
func (a fakeApp) Health() af.Health {
	h := af.Health{State: a.state, Ready: a.err == nil, Degraded: []string{"without-redis"}}
	if a.err != nil {
		h.Reason = a.err.Error()
	}
	return h
}

func TestProbesReportTheStateOfTheApp(t *testing.T) {
	unready := af.NewError(af.ErrUnavailable, "not ready: without-mongodb: refused")
	for _, test := range []struct {
		app    fakeApp
		path   string
		status int
		want   string
	}{
		{fakeApp{nil, "running"}, "/livez", 200, `{"state":"running"}`},
		{fakeApp{unready, "running"}, "/livez", 200, `{"state":"running"}`},
		{fakeApp{unready, "stopping"}, "/livez", 200, `{"state":"stopping"}`},
		{fakeApp{unready, "closed"}, "/livez", 503, `{"state":"closed"}`},
		{fakeApp{nil, "running"}, "/readyz", 200, `{"ready":true}`},
		{fakeApp{unready, "running"}, "/readyz", 503,
			`{"code":"unavailable","ready":false,"reason":"unavailable: not ready: without-mongodb: refused"}`},
		{fakeApp{nil, "running"}, "/healthz", 200, `"degraded":["without-redis"]`},
		{fakeApp{unready, "running"}, "/healthz", 503, `"reason":"unavailable: not ready`},
		{fakeApp{nil, "running"}, "/", 404, ""},
	} {
		t.Run(test.app.state+test.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			health.Handler(test.app).ServeHTTP(w, httptest.NewRequest(http.MethodGet, test.path, nil))
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.want) {
				t.Errorf("%d %s, want %d with %s", w.Code, w.Body, test.status, test.want)
			}
			if test.status == 404 {
				return
			}
			if !json.Valid(w.Body.Bytes()) || w.Header().Get("Content-Type") != "application/json" ||
				w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%v, %s", w.Header(), w.Body)
			}
		})
	}
	w := httptest.NewRecorder()
	health.Handler(fakeApp{}).ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/livez", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", w.Code)
	}
}

func Example() {
	app, err := af.Open(context.Background(), memory.New())
	if err != nil {
		fmt.Println(err)
		return
	}
	probes := httptest.NewServer(health.Handler(app)) // http.ListenAndServe(address, health.Handler(app))
	defer probes.Close()
	probe := func() {
		r, err := http.Get(probes.URL + "/readyz")
		if err != nil {
			fmt.Println(err)
			return
		}
		defer r.Body.Close()
		fmt.Println(r.StatusCode)
	}
	probe()
	if err := app.Start(context.Background()); err != nil {
		fmt.Println(err)
	}
	probe()
	if err := app.Shutdown(context.Background()); err != nil {
		fmt.Println(err)
	}
	probe()
	// Output:
	// 503
	// 200
	// 503
}
