package cli

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/afgen/afgen/internal/buildversion"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin/adminhttp"
)

const (
	maxToken = 64 << 10 // bytes
	// answerTimeout limits the wait for the answer to a read. A stream may be silent until its first heartbeat, after 10 s.
	// A change has the time that it needs, or that its command gives it.
	answerTimeout = 10 * time.Second
	streamTimeout = 30 * time.Second
)

// A token is a secret for requests, and where it is from.
type secretToken struct {
	value string
	from  string // AF_TOKEN, or the name of a file; "" without a token
	kept  bool   // AF_TOKEN belongs to another server, and is not sent
}

// connectHTTP returns a connection to a server. It sends nothing yet.
func (c *invocation) connectHTTP(s source) (*connection, error) {
	from := "-url"
	if c.source.url == "" {
		from = "AF_URL"
	}
	base, err := url.Parse(s.url)
	switch {
	case err != nil || base.Host == "" || base.Scheme != "http" && base.Scheme != "https":
		// The text is not printed: it may contain a password.
		return nil, fmt.Errorf("%s: want http:// or https://, a host and the path of the admin API, such as "+
			"https://host/ops", from)
	case base.RawQuery != "" || base.Fragment != "":
		return nil, fmt.Errorf("%s: want no ? and no # in it", from)
	}
	token, err := c.token(s, base)
	if err != nil {
		return nil, err
	}
	user := base.User
	base.User = nil // so that no error contains it
	if (token.value != "" || user != nil) && base.Scheme == "http" && !loopback(base.Hostname()) {
		c.warn("the token is sent to %s without encryption: use https", base.Host)
	}
	api, err := adminhttp.NewClient(base.String(), adminhttp.ClientOptions{
		HTTP: &http.Client{Transport: newPatience()},
		Prepare: func(r *http.Request) error {
			r.Header.Set("User-Agent", "af/"+buildversion.Version())
			switch {
			case token.value != "":
				r.Header.Set("Authorization", "Bearer "+token.value)
			case user != nil:
				password, _ := user.Password()
				r.SetBasicAuth(user.Username(), password)
			}
			return nil
		},
	})
	if err != nil {
		return nil, err
	}
	return &connection{api: api, name: base.String(), hint: token.hint}, nil
}

// loopback reports whether a host is this machine, as far as its name tells.
func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// token returns the token for a server. AF_TOKEN is for the server of AF_URL, if that is set, and goes to no other.
func (c *invocation) token(s source, base *url.URL) (secretToken, error) {
	if s.tokenFile != "" {
		value, err := c.readToken(s.tokenFile)
		return secretToken{value: value, from: s.tokenFile}, err
	}
	value := c.Getenv("AF_TOKEN")
	if value == "" {
		return secretToken{}, nil
	}
	if err := checkToken(value); err != nil {
		return secretToken{}, fmt.Errorf("AF_TOKEN %w", err)
	}
	if own, err := url.Parse(c.Getenv("AF_URL")); err == nil && own.Host != "" &&
		(own.Host != base.Host || own.Scheme != base.Scheme) {
		return secretToken{kept: true}, nil
	}
	return secretToken{value: value, from: "AF_TOKEN"}, nil
}

// readToken reads a token from a file, or from a pipe. It warns if other users can read the file.
func (c *invocation) readToken(path string) (string, error) {
	f, err := os.Open(path)
	if err != nil {
		return "", fmt.Errorf("-token-file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", fmt.Errorf("-token-file: %w", err)
	}
	if mode := info.Mode(); mode.IsRegular() && runtime.GOOS != "windows" {
		switch {
		case mode.Perm()&0o022 != 0:
			return "", fmt.Errorf("-token-file %s: other users can replace the token (mode %04o): run chmod go= on it", path,
				mode.Perm())
		case mode.Perm()&0o077 != 0:
			c.warn("other users can read %s (mode %04o): run chmod go= on it", path, mode.Perm())
		}
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxToken+1))
	if err != nil {
		return "", fmt.Errorf("-token-file: %w", err)
	}
	value := strings.TrimSpace(string(raw))
	if err := checkToken(value); err != nil {
		return "", fmt.Errorf("-token-file %s %w", path, err)
	}
	return value, nil
}

// checkToken returns an error if a text is no token. The error does not contain it.
func checkToken(value string) error {
	switch {
	case value == "":
		return errors.New("is empty")
	case len(value) > maxToken:
		return fmt.Errorf("exceeds %d bytes", maxToken)
	case strings.ContainsFunc(value, func(r rune) bool { return r <= ' ' || r > '~' }):
		return errors.New("is not a token: it has spaces, line breaks or other characters that a header can't have")
	}
	return nil
}

// hint returns what helps against an error of a request, or "".
func (t secretToken) hint(err error) string {
	if _, ok := errors.AsType[*tls.CertificateVerificationError](err); ok {
		return "if the server has a certificate of your own authority, name that's file by SSL_CERT_FILE"
	}
	if errors.Is(err, http.ErrSchemeMismatch) {
		return "the server speaks no TLS: use http:// in the URL"
	}
	switch {
	case af.CodeOf(err) != af.ErrUnauthenticated:
		return ""
	case t.kept:
		return "AF_TOKEN is for the server of AF_URL and was not sent; use -token-file for this one"
	case t.value == "":
		return "set AF_TOKEN, or use -token-file FILE"
	}
	return "the server has refused the token of " + t.from
}

// A patience is an http.RoundTripper that waits for the answers of reads for a limited time.
type patience struct {
	reads, streams, changes http.RoundTripper
	paths                   []string // of streams
}

func newPatience() *patience {
	transport := func(answer time.Duration) *http.Transport {
		return &http.Transport{
			Proxy: http.ProxyFromEnvironment, DialContext: (&net.Dialer{Timeout: dialTimeout}).DialContext,
			TLSHandshakeTimeout: dialTimeout, ResponseHeaderTimeout: answer, ForceAttemptHTTP2: true,
		}
	}
	p := &patience{reads: transport(answerTimeout), streams: transport(streamTimeout), changes: transport(0)}
	for _, r := range adminhttp.Routes() {
		if r.Stream {
			p.paths = append(p.paths, adminhttp.Prefix+r.Path)
		}
	}
	return p
}

// RoundTrip implements http.RoundTripper.
func (p *patience) RoundTrip(r *http.Request) (*http.Response, error) {
	begun := time.Now()
	resp, err := p.choose(r).RoundTrip(r)
	if e, ok := errors.AsType[net.Error](err); ok && e.Timeout() && r.Context().Err() == nil {
		err = fmt.Errorf("no answer within %v: %w", time.Since(begun).Round(100*time.Millisecond), err)
	}
	return resp, err
}

func (p *patience) choose(r *http.Request) http.RoundTripper {
	if r.Method != http.MethodGet {
		return p.changes
	}
	for _, path := range p.paths {
		if strings.HasSuffix(r.URL.Path, path) {
			return p.streams
		}
	}
	return p.reads
}
