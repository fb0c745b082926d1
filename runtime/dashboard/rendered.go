package dashboard

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"maps"
	"net/http"
	"strconv"
	"strings"
	"time"
)

const (
	pageTimeout = time.Minute // in which a client must read a page, if its server sets no limit
	packedFrom  = 1 << 10     // bytes from which a page is worth compressing
)

// A rendered is an answer that was rendered, and may be sent to several viewers with the same user.
type rendered struct {
	status int
	header http.Header
	body   []byte
	packed []byte // gzip; nil if it is not worth it
	tag    string // "" unless the page may be asked for again
}

// rendering writes pages into a rendered.
type rendering struct{ rendered }

func (r *rendering) Header() http.Header    { return r.header }
func (r *rendering) WriteHeader(status int) { r.status = status }

func (r *rendering) Write(p []byte) (int, error) {
	r.body = append(r.body, p...)
	return len(p), nil
}

// shared returns a page that is rendered once for all requests of a user with the same address that come within a
// second, unless the system changes.
func (s *server) shared(serve page) page {
	return func(v *viewer, w http.ResponseWriter, r *http.Request) error {
		id, err := json.Marshal([]any{v.user, v.path, r.URL.EscapedPath(), r.URL.RawQuery})
		if err != nil {
			return err
		}
		value, err := s.api.get(r.Context(), "page "+string(id), 0, nil, func(ctx context.Context) (any, error) {
			into := &rendering{rendered{status: http.StatusOK, header: http.Header{}}}
			now := *v
			now.now = s.now()
			if err := serve(&now, into, r.WithContext(ctx)); err != nil {
				return nil, err
			}
			into.finish()
			return &into.rendered, nil
		})
		if err != nil {
			return err
		}
		value.(*rendered).send(w, r)
		return nil
	}
}

// finish sets what follows from the body.
func (p *rendered) finish() {
	if p.status == http.StatusOK {
		p.tag = tagOf(p.body)
	}
	if len(p.body) >= packedFrom {
		p.packed = pack(p.body, gzip.BestSpeed)
	}
}

// send sends the page, or that it is what the client has.
func (p *rendered) send(w http.ResponseWriter, r *http.Request) {
	if server, ok := r.Context().Value(http.ServerContextKey).(*http.Server); !ok || server.WriteTimeout == 0 {
		// A client that does not read must not keep the page. A writer that doesn't support deadlines has none.
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(pageTimeout))
	}
	maps.Copy(w.Header(), p.header)
	sendBody(w, r, p.status, p.tag, p.body, p.packed)
}

// sendBody sends a body, compressed if the client can read that, or 304 if it has the body already.
func sendBody(w http.ResponseWriter, r *http.Request, status int, tag string, body, packed []byte) {
	h := w.Header()
	h.Add("Vary", "Accept-Encoding")
	if tag != "" {
		h.Set("ETag", tag)
		if r.Header.Get("If-None-Match") == tag {
			h.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	// What another site makes a browser ask for is not compressed: its length would tell about the rest of the page.
	if len(body) >= packedFrom && len(packed) > 0 && acceptsGzip(r) && r.Header.Get("Sec-Fetch-Site") != "cross-site" {
		h.Set("Content-Encoding", "gzip")
		body = packed
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body) // an error means that the client has gone
}

// tagOf returns the ETag of a page. Two pages that differ only in how long ago something was have the same, as the script
// keeps these up to date.
func tagOf(page []byte) string {
	sum := sha256.New()
	for {
		before, rest, found := bytes.Cut(page, []byte(" data-rel>"))
		_, _ = sum.Write(before)
		if !found {
			return `W/"` + hex.EncodeToString(sum.Sum(nil)[:12]) + `"`
		}
		_, page, _ = bytes.Cut(rest, []byte("</time>"))
	}
}

// pack compresses a text.
func pack(body []byte, level int) []byte {
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, level)
	if err != nil { // not with the levels of its package
		return nil
	}
	_, _ = z.Write(body) // a buffer has no errors
	_ = z.Close()
	return b.Bytes()
}

// acceptsGzip reports whether a client can read gzip.
func acceptsGzip(r *http.Request) bool {
	for name := range strings.SplitSeq(r.Header.Get("Accept-Encoding"), ",") {
		name, weight, _ := strings.Cut(name, ";")
		if strings.TrimSpace(name) != "gzip" {
			continue
		}
		q, found := strings.CutPrefix(strings.TrimSpace(weight), "q=")
		n, err := strconv.ParseFloat(q, 64)
		return !found || err == nil && n > 0
	}
	return false
}
