// Package health serves an App's health over HTTP, for the probes of Kubernetes and similar supervisors. It is a
// separate package so that other programs don't link net/http.
//
//	mux.Handle("/", health.Handler(app))
//
// There are three endpoints:
//
//   - /livez returns 200 until the App is closed. It does not depend on servers: restarting the process would not help.
//   - /readyz returns 200 if App.Ready returns nil, and 503 otherwise.
//   - /healthz returns the status of /readyz, and App.Health as JSON.
//
// They never block. The bodies may contain addresses, but no secrets. They are for operators, not for the public.
package health

import (
	"encoding/json"
	"net/http"

	af "github.com/afgen/afgen/runtime"
)

// An App reports its health. *af.App implements it.
type App interface {
	Ready() error
	Health() af.Health
}

// Handler returns a handler for GET and HEAD requests of /livez, /readyz and /healthz. Other paths return 404. It can
// be used before the App is started. It is safe for concurrent use.
func Handler(app App) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) {
		state := app.Health().State
		writeJSON(w, state != "closed", map[string]string{"state": state})
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		err := app.Ready()
		if err == nil {
			writeJSON(w, true, map[string]bool{"ready": true})
			return
		}
		writeJSON(w, false, map[string]any{"ready": false, "code": af.CodeOf(err), "reason": err.Error()})
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		h := app.Health()
		writeJSON(w, h.Ready, h)
	})
	return mux
}

// writeJSON writes body with status 200, or 503 if ok is false.
func writeJSON(w http.ResponseWriter, ok bool, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	if !ok {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_ = json.NewEncoder(w).Encode(body) // fails if the client has disconnected
}
