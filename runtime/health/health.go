// Package health answers the probes of whatever keeps an App running, such as Kubernetes, over HTTP. It stands apart so
// that only programs that want it link net/http.
//
//	http.ListenAndServe("127.0.0.1:8081", health.Handler(app))
//
// /livez is 200 as long as the process can answer and the App has not ended: a server that is away is no reason to
// restart it. /readyz is 200 or 503 by App.Ready: whether to send it work. /healthz has the status of /readyz and all of
// App.Health in JSON, degraded modes by name. None of them waits for a server. What they say has addresses in it, and no
// secrets: it is for operators, not for the public.
package health

import (
	"encoding/json"
	"net/http"

	af "github.com/afgen/afgen/runtime"
)

// An App is what is asked: *af.App.
type App interface {
	Ready() error
	Health() af.Health
}

// Handler returns what answers GET and HEAD of /livez, /readyz and /healthz, and 404 for all else. It may be made, and
// asked, before the App is started. It is safe for concurrent use.
func Handler(app App) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		state := app.Health().State
		answer(w, state != "closed", map[string]string{"state": state})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := app.Ready()
		if err == nil {
			answer(w, true, map[string]bool{"ready": true})
			return
		}
		answer(w, false, map[string]any{"ready": false, "code": af.CodeOf(err), "reason": err.Error()})
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		h := app.Health()
		answer(w, h.Ready, h)
	})
	return mux
}

// answer writes body as JSON. Whoever asked may have gone; that is nobody's trouble.
func answer(w http.ResponseWriter, ok bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) // whoever asked has gone
}
