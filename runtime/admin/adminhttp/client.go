package adminhttp

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/httpstatus"
)

// ClientOptions are the options of [NewClient].
type ClientOptions struct {
	// HTTP makes the requests; nil means a client with the default transport. It must have no Timeout, which would end
	// streams. Redirects are not followed.
	HTTP *http.Client
	// Prepare changes each request before it is sent, such as its Authorization; nil for none.
	Prepare func(*http.Request) error
}

const maxAnswer = 64 << 20 // bytes of an answer

// NewClient returns an API that a [Handler] serves at a URL. An error of a request that may have reached the server, but
// whose answer is lost, has [af.OutcomeUnknown].
func NewClient(base string, o ClientOptions) (admin.API, error) {
	u, err := url.Parse(base)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, af.Errorf(af.ErrInvalidArgument, "%.200q is not the URL of a server", base)
	}
	var own http.Client
	if o.HTTP != nil {
		own = *o.HTTP
	}
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &client{base: strings.TrimSuffix(base, "/"), http: &own, prepare: o.Prepare}, nil
}

type client struct {
	base    string
	http    *http.Client
	prepare func(*http.Request) error
}

// do makes the request of a route and returns its response, which the caller closes.
func (c *client) do(ctx context.Context, r Route, args any) (*http.Response, error) {
	var body io.Reader
	target := c.base + Prefix + r.Path
	if r.Method == http.MethodPost {
		raw, err := encode(args)
		if err != nil {
			return nil, invalid("encoding the arguments of %s: %w", r.Name, err)
		}
		body = bytes.NewReader(raw)
	} else if q := encodeQuery(args).Encode(); q != "" {
		target += "?" + q
	}
	req, err := http.NewRequestWithContext(ctx, r.Method, target, body)
	if err != nil {
		return nil, invalid("%s: %w", r.Name, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.prepare != nil {
		if err := c.prepare(req); err != nil {
			return nil, af.Errorf(af.CodeOf(err), "preparing the request: %w", err).With(af.OutcomeNotSent)
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, lost(ctx, r, err)
	}
	if resp.StatusCode == http.StatusOK && r.answers(mediaType(resp)) {
		return resp, nil
	}
	defer resp.Body.Close()
	return nil, refused(r, resp)
}

// answers reports whether an answer to a route has a media type.
func (r Route) answers(kind string) bool {
	if r.Stream {
		return kind == "text/event-stream"
	}
	return kind == "application/json"
}

// mediaType returns the media type of a response, or "" if it has none.
func mediaType(resp *http.Response) string {
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return kind
}

// refused returns the error of a response that is no answer. Another server than that of a [Handler], such as a proxy
// or a page to log in, answers with another media type: then the error tells so, since the URL is probably wrong.
func refused(r Route, resp *http.Response) error {
	what := fmt.Sprintf("%s %s answers with status %d", r.Method, resp.Request.URL.Redacted(), resp.StatusCode)
	switch s := resp.StatusCode; {
	case s >= http.StatusMultipleChoices && s < http.StatusBadRequest:
		if to, err := resp.Location(); err == nil {
			to.RawQuery, to.Fragment = "", ""
			what += " and redirects to " + to.Redacted()
		}
		return af.NewError(af.ErrUnimplemented, what+": use the URL of the admin API itself").With(af.OutcomeNotSent)
	case s == http.StatusOK || slices.Contains([]int{400, 404, 405}, s) &&
		mediaType(resp) != httpstatus.ContentType:
		return af.Errorf(af.ErrUnimplemented, "%s and the type %.80q, so that is not an admin API: check the URL", what,
			mediaType(resp))
	}
	if err := httpstatus.Read(resp); err != nil {
		return err
	}
	return af.NewError(af.ErrUnavailable, what)
}

// lost returns the error of a request without an answer.
func lost(ctx context.Context, r Route, err error) error {
	code, outcome := af.ErrUnavailable, af.OutcomeUnknown
	if ctx.Err() != nil {
		code = af.CodeOf(ctx.Err())
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		outcome = af.OutcomeNotSent
	}
	return af.Errorf(code, "%s: %w", r.Name, err).With(outcome)
}

// invoke calls a route.
func invoke[A, R any](ctx context.Context, c *client, r *route[A, R], args A) (R, error) {
	var result, none R
	resp, err := c.do(ctx, r.Route, args)
	if err != nil {
		return none, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	if err != nil {
		return none, lost(ctx, r.Route, err)
	}
	if len(body) > maxAnswer {
		return none, af.Errorf(af.ErrResourceExhausted, "%s: the answer exceeds %d bytes", r.Name, maxAnswer)
	}
	if err := json.Unmarshal(body, &result); err != nil {
		return none, af.Errorf(af.ErrInternal, "%s: decoding the answer: %w", r.Name, err)
	}
	return result, nil
}
