package adminhttp

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/httpstatus"
)

// Options are the options of [Handler].
type Options struct {
	// Authorize returns who makes a request. Its error refuses the request: [af.ErrUnauthenticated] with 401,
	// [af.ErrPermissionDenied] with 403. It is required; [Anyone] allows everything.
	Authorize func(*http.Request) (admin.User, error)
	// TrustedOrigins may make cross-origin changes, such as https://ops.example.com.
	TrustedOrigins []string
}

// Anyone authorizes every request with all rights, as the user "anyone". It is for tests, and for servers that only
// listen on the loopback interface.
func Anyone(*http.Request) (admin.User, error) {
	return admin.User{Name: "anyone", Rights: admin.AllRights()}, nil
}

const (
	maxBody    = 20 << 20 // bytes of a request: a payload of 16 MiB, and what its encoding adds
	maxStreams = 1000     // at the same time
)

// handler serves an API.
type handler struct {
	api       admin.API
	authorize func(*http.Request) (admin.User, error)
	routes    map[string]handled // by path
	streams   chan struct{}      // holds a value for each stream

	mu      sync.Mutex
	servers map[*http.Server]chan struct{} // closed when the server shuts down
}

// Handler returns a handler of the routes of api. Mount it with [http.StripPrefix] if its path is not the root.
// Without Authorize it returns [af.ErrInvalidArgument].
func Handler(api admin.API, o Options) (http.Handler, error) {
	if o.Authorize == nil {
		return nil, af.NewError(af.ErrInvalidArgument,
			"Options.Authorize is nil: set it, or to Anyone if every client may do everything")
	}
	h := &handler{api: api, authorize: o.Authorize, routes: map[string]handled{}, streams: make(chan struct{}, maxStreams),
		servers: map[*http.Server]chan struct{}{}}
	for _, r := range routes {
		h.routes[Prefix+r.info().Path] = r
	}
	protection := http.NewCrossOriginProtection()
	for _, origin := range o.TrustedOrigins {
		if err := protection.AddTrustedOrigin(origin); err != nil {
			return nil, af.Errorf(af.ErrInvalidArgument, "trusted origin %q: %w", origin, err)
		}
	}
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, af.NewError(af.ErrPermissionDenied, "cross-origin request").With(af.OutcomeNotSent))
	}))
	return protection.Handler(h), nil
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	user, err := h.authorize(r)
	if err != nil {
		if af.CodeOf(err) == af.ErrUnknown {
			err = af.Errorf(af.ErrInternal, "authorizing: %w", err)
		}
		httpstatus.Write(w, r, err) // which hides what an unknown client must not see
		return
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	route, found := h.routes[r.URL.Path]
	// Rights come first, so that a client without them learns nothing about paths and targets.
	name := ""
	if found && (reads || route.info().Method == r.Method) {
		name = route.info().Name
	}
	if name != "" || !reads {
		if err := user.Check(name); err != nil {
			writeError(w, err)
			return
		}
	}
	switch method := ""; {
	case !found:
		writeError(w, af.Errorf(af.ErrNotFound, "no route %.200q", r.URL.Path).With(af.OutcomeNotSent))
		return
	default:
		if method = route.info().Method; method != r.Method && (method != http.MethodGet || !reads) {
			w.Header().Set("Allow", method)
			p := httpstatus.ProblemOf(af.Errorf(af.ErrUnimplemented, "%s needs %s", r.URL.Path, method).
				With(af.OutcomeNotSent))
			p.Status, p.Title = http.StatusMethodNotAllowed, http.StatusText(http.StatusMethodNotAllowed)
			p.Write(w)
			return
		}
	}
	route.serve(h, admin.Guard(h.api, user), w, r)
}

// decode decodes the arguments of a request.
func decode[A any](w http.ResponseWriter, r *http.Request) (args A, err error) {
	if r.Method != http.MethodPost {
		return args, decodeQuery(r.URL.Query(), &args)
	}
	kind, _, _ := strings.Cut(r.Header.Get("Content-Type"), ";")
	if strings.TrimSpace(kind) != "application/json" {
		return args, invalid("the content type is %.80q, not application/json", kind)
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		if _, large := errors.AsType[*http.MaxBytesError](err); large {
			// A client that still sends may not read an answer before its request is read: read some more, not without end.
			_, _ = io.CopyN(io.Discard, r.Body, maxBody)
			return args, af.Errorf(af.ErrResourceExhausted, "the body exceeds %d bytes", maxBody).With(af.OutcomeNotSent)
		}
		return args, invalid("reading the body: %w", err)
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&args); err != nil {
		return args, invalid("decoding the body: %w", err)
	}
	if _, err := d.Token(); err != io.EOF {
		return args, invalid("the body has more than one value")
	}
	return args, nil
}

// encode returns a value as JSON. Payloads in it keep their characters: json.Marshal would escape <, > and & in them.
func encode(v any) ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	err := e.Encode(v)
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), err
}

func (rt *route[A, R]) serve(_ *handler, api admin.API, w http.ResponseWriter, r *http.Request) {
	args, err := decode[A](w, r)
	if err != nil {
		writeError(w, err)
		return
	}
	result, err := rt.call(r.Context(), api, args)
	if err != nil {
		writeError(w, err)
		return
	}
	body, err := encode(result)
	if err != nil {
		writeError(w, af.Errorf(af.ErrInternal, "encoding the answer: %w", err))
		return
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(append(body, '\n')) // an error means that the client has gone
}

// problemOf returns an error as an authorized user sees it: with its text.
func problemOf(err error) httpstatus.Problem {
	p := httpstatus.ProblemOf(err)
	if e, ok := errors.AsType[*af.Error](err); ok {
		p.Detail, p.Details = e.Message, e.Details
	} else {
		p.Detail = err.Error()
	}
	return p
}

func writeError(w http.ResponseWriter, err error) { problemOf(err).Write(w) }
