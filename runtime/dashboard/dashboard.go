package dashboard

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
)

// Handler returns the dashboard of a started App, which may be an [af.Observer]. It serves GET requests of pages and
// POST requests of changes below its [Prefix].
func Handler(app *af.App, opts ...Option) http.Handler { return HandlerOf(admin.New(app), opts...) }

// HandlerOf is [Handler] for any API, such as a client of package adminhttp. api must not be restricted by
// [admin.Guard] unless all viewers have the rights of that user.
func HandlerOf(api admin.API, opts ...Option) http.Handler {
	s := newServer(api, opts...)
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.fail(w, r, admin.User{}, af.NewError(af.ErrPermissionDenied,
			"This request comes from another site. Open the dashboard and try again."))
	}))
	return protection.Handler(s)
}

func newServer(api admin.API, opts ...Option) *server {
	o := options{authorize: noAuthorize, now: time.Now}
	for _, opt := range opts {
		opt(&o)
	}
	if o.redact != nil {
		api = &redacted{API: api, redact: o.redact}
	}
	kept := newAnswers()
	s := &server{options: o, api: &cache{API: api, answers: kept, pace: newPace()}, hub: newHub(api, kept.changed),
		feeds: newFeeds(api), servers: map[*http.Server]chan struct{}{}}
	// Programs that use the JSON API wait for what they ask for: only what is read for pages is limited.
	rest, err := adminhttp.Handler(&cache{API: api, answers: kept}, adminhttp.Options{Authorize: o.authorize})
	if err != nil { // not with Authorize
		panic(err)
	}
	s.rest = http.StripPrefix(o.prefix, rest)
	s.routes()
	return s
}

func noAuthorize(*http.Request) (admin.User, error) {
	return admin.User{}, af.NewError(af.ErrPermissionDenied,
		"The dashboard was mounted without dashboard.Authorize, so every request is refused.")
}

// server serves the pages.
type server struct {
	options
	api   *cache
	hub   *hub
	feeds *feeds
	rest  http.Handler // adminhttp
	mux   *http.ServeMux

	mu      sync.Mutex
	servers map[*http.Server]chan struct{} // closed when the server shuts down
}

// A page handles a request of a viewer.
type page func(v *viewer, w http.ResponseWriter, r *http.Request) error

// An action is the API method that a POST route needs, so that rights are checked before anything else.
type action struct {
	method string
	serve  page
}

func (s *server) routes() {
	s.mux = http.NewServeMux()
	for pattern, serve := range map[string]page{
		"/{$}":                         s.overview,
		"/tasks":                       s.tasks,
		"/tasks/{id}":                  s.task,
		"/queues":                      s.queues,
		"/queues/{queue}":              s.queue,
		"/jobs":                        s.jobs,
		"/jobs/{job}":                  s.job,
		"/services":                    s.services,
		"/machines":                    s.machines,
		"/audit":                       s.audit,
		"/services/{service}/{method}": s.method,
	} {
		s.mux.HandleFunc("GET "+pattern, s.handle(s.shared(serve)))
	}
	for pattern, serve := range map[string]page{
		"/tasks/{id}/log":                   s.followLog,
		"/tasks/{id}/payload":               s.taskPart,
		"/tasks/{id}/result":                s.taskPart,
		"/tasks/{id}/progress":              s.taskPart,
		"/services/{service}/{method}/call": s.afterCall,
		"/events":                           s.events,
	} {
		s.mux.HandleFunc("GET "+pattern, s.handle(serve))
	}
	for pattern, a := range map[string]action{
		"/tasks/bulk":             {"", s.bulk},
		"/tasks/{id}/stop":        {"Stop", s.changeTask},
		"/tasks/{id}/retry":       {"Retry", s.changeTask},
		"/tasks/{id}/run":         {"RunNow", s.changeTask},
		"/tasks/{id}/delete":      {"Delete", s.changeTask},
		"/tasks/{id}/reweigh":     {"Reweigh", s.changeTask},
		"/queues/pause":           {"Pause", s.changeQueues},
		"/queues/resume":          {"Resume", s.changeQueues},
		"/queues/{queue}/pause":   {"Pause", s.changeQueue},
		"/queues/{queue}/resume":  {"Resume", s.changeQueue},
		"/queues/{queue}/max":     {"SetMax", s.changeQueue},
		"/queues/{queue}/default": {"ResetMax", s.changeQueue},
		"/queues/{queue}/submit":  {"Submit", s.submit},
		"/jobs/{job}/fire":        {"RunJob", s.changeJob},
		"/jobs/{job}/enable":      {"EnableJob", s.changeJob},
		"/jobs/{job}/disable":     {"DisableJob", s.changeJob},

		"/services/{service}/{method}/call": {"Call", s.call},
	} {
		s.mux.HandleFunc("POST "+pattern, s.handle(func(v *viewer, w http.ResponseWriter, r *http.Request) error {
			if a.method != "" {
				if err := v.user.Check(a.method); err != nil {
					return err
				}
			}
			if err := parseForm(w, r); err != nil {
				return err
			}
			return a.serve(v, w, r)
		}))
	}
	s.mux.HandleFunc("GET /assets/{name}", s.asset)
}

type viewerKey struct{}

func (s *server) handle(serve page) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		v, ok := r.Context().Value(viewerKey{}).(*viewer)
		if !ok { // not reached: ServeHTTP sets it
			http.Error(w, "no viewer", http.StatusInternalServerError)
			return
		}
		if err := serve(v, w, r); err != nil {
			s.fail(w, r, v.user, err)
		}
	}
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Content-Security-Policy", policy)
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	rest, ok := strings.CutPrefix(r.URL.Path, s.prefix)
	ok = ok && (rest == "" || rest[0] == '/')
	switch {
	case !reads:
		defer s.api.expire() // what is read after a change must show it
	case ok && rest == "":
		http.Redirect(w, r, s.prefix+"/", http.StatusMovedPermanently)
		return
	case ok && strings.HasPrefix(rest, "/assets/"): // public, as the pages of errors need them
		s.mux.ServeHTTP(w, inside(r, s.prefix))
		return
	}
	if ok && strings.HasPrefix(rest, adminhttp.Prefix) {
		s.rest.ServeHTTP(w, r)
		return
	}
	user, err := s.authorize(r)
	if err != nil {
		if af.CodeOf(err) == af.ErrUnknown { // its text is not for those who are not known
			err = af.NewError(af.ErrInternal, "The authorization failed.")
		}
		s.fail(w, r, admin.User{}, err)
		return
	}
	method := "Overview"
	if !reads {
		method = "" // any right to change something, before anything is told about the path
	}
	if err := user.Check(method); err != nil {
		s.fail(w, r, user, err)
		return
	}
	if !ok || rest == "" {
		s.fail(w, r, user, af.NewError(af.ErrNotFound, "There is no such page."))
		return
	}
	v := &viewer{server: s, user: user, api: admin.Guard(s.api, user), now: s.now(), path: rest}
	r = inside(r, s.prefix)
	if _, pattern := s.mux.Handler(r); pattern == "" {
		s.noRoute(w, r, user)
		return
	}
	s.mux.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), viewerKey{}, v)))
}

// noRoute answers a request that no pattern matches.
func (s *server) noRoute(w http.ResponseWriter, r *http.Request, user admin.User) {
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		other := *r
		other.Method = method
		if _, pattern := s.mux.Handler(&other); pattern != "" {
			w.Header().Set("Allow", method)
			_ = s.failWith(w, user, http.StatusMethodNotAllowed, "This address only answers "+method+" requests.")
			return
		}
	}
	s.fail(w, r, user, af.NewError(af.ErrNotFound, "There is no such page."))
}

// policy allows what the dashboard itself serves, and nothing inline.
const policy = "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; " +
	"form-action 'self'; base-uri 'none'; frame-ancestors 'none'"

// inside returns a request as the handler's own paths see it.
func inside(r *http.Request, prefix string) *http.Request {
	c, u := *r, *r.URL
	u.Path, u.RawPath = strings.TrimPrefix(u.Path, prefix), strings.TrimPrefix(u.RawPath, prefix)
	c.URL = &u
	return &c
}

// link returns the path of a page: each element is escaped.
func (s *server) link(elements ...string) string {
	var b strings.Builder
	b.WriteString(s.prefix)
	for _, e := range elements {
		b.WriteString("/" + url.PathEscape(e))
	}
	if len(elements) == 0 {
		b.WriteString("/")
	}
	return b.String()
}

// render writes a page. It is rendered before its status is sent, so that an error can be shown instead.
func (s *server) render(w http.ResponseWriter, status int, name string, data any) error {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, data); err != nil {
		return af.Errorf(af.ErrInternal, "rendering %s: %w", name, err)
	}
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_, _ = w.Write(b.Bytes()) // an error means that the client has gone
	return nil
}
