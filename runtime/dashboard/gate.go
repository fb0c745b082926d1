package dashboard

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
	"github.com/afgen/afgen/runtime/config"
)

const tokenField = "token" // of the address that is logged

// A gate lets requests to a [Listener] through. A page of another site that has its own name resolve to this machine is
// stopped by the name. Rights are those of the token, or of the program's function.
type gate struct {
	pages     http.Handler
	self      string
	names     []string // of this server, in lower case
	write     bool
	operator  string // the name of those who have the token
	token     string // "" if there is none
	cookie    string // its name: browsers send cookies to all ports of a host
	authorize func(*http.Request) (admin.User, error)
}

func newGate(cfg config.Dashboard, o *options, port int) *gate {
	g := &gate{self: self(), names: []string{"localhost", "127.0.0.1", "::1"}, write: cfg.Write, operator: o.operator,
		cookie: fmt.Sprintf("afgen-%d", port), authorize: o.authorize}
	g.names = append(g.names, cfg.Hosts...)
	if host, _, err := net.SplitHostPort(cfg.Listen); err == nil && host != "" {
		g.names = append(g.names, strings.ToLower(host))
	}
	if g.write && g.authorize == nil {
		g.token = rand.Text()
	}
	return g
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Server", g.self)
	if !slices.Contains(g.names, hostName(r.Host)) {
		w.Header().Set("Content-Security-Policy", policy)
		http.Error(w, fmt.Sprintf("The dashboard does not answer to the name %q. Use localhost, or add the name to "+
			"dashboard.hosts in config.yaml.", cutHost(r.Host)), http.StatusMisdirectedRequest)
		return
	}
	query := r.URL.Query()
	if g.token != "" && r.Method == http.MethodGet && query.Has(tokenField) && g.is(query.Get(tokenField)) {
		http.SetCookie(w, &http.Cookie{Name: g.cookie, Value: g.token, Path: "/", HttpOnly: true,
			SameSite: http.SameSiteStrictMode})
		query.Del(tokenField) // the address is shown, and kept in the history
		target := *r.URL
		target.RawQuery = query.Encode()
		w.Header().Set("Cache-Control", "no-store")
		w.Header().Set("Referrer-Policy", "no-referrer")
		// The path alone: what begins with // would be another host.
		http.Redirect(w, r, "/"+strings.TrimLeft(target.RequestURI(), `/\`), http.StatusSeeOther)
		return
	}
	g.pages.ServeHTTP(w, r)
}

// user returns who makes a request. It is the handler's Authorize.
func (g *gate) user(r *http.Request) (admin.User, error) {
	if g.authorize != nil {
		user, err := g.authorize(r)
		if !g.write {
			user.Rights = slices.DeleteFunc(slices.Clone(user.Rights), func(r admin.Right) bool {
				return !slices.Contains(admin.ReadOnly(), r)
			})
		}
		return user, err
	}
	if r.URL.Query().Has(tokenField) { // a right one has been removed from the address
		return admin.User{}, af.NewError(af.ErrUnauthenticated,
			"The token in this address is not valid: it changes whenever the program starts. Use the address in its log. "+
				"Reading needs no token.")
	}
	if c, err := r.Cookie(g.cookie); err == nil && g.token != "" && g.is(c.Value) {
		return admin.User{Name: g.operator, Rights: admin.AllRights()}, nil
	}
	return admin.User{Name: "local", Rights: admin.ReadOnly()}, nil
}

// noRights tells those who may change nothing why, unless the program's function decides.
func (g *gate) noRights() string {
	switch {
	case !g.write:
		return "Nothing can be changed at this address. Start the program with write: true in the section dashboard of " +
			"config.yaml, or af ui without -read-only."
	case g.token != "":
		return "To change something, open the address with the token: the program has written it to its log, as url of the " +
			"line dashboard, or printed it. It is another one after each start."
	}
	return ""
}

// is reports whether a text is the token, in a time that does not depend on the text.
func (g *gate) is(text string) bool {
	a, b := sha256.Sum256([]byte(text)), sha256.Sum256([]byte(g.token))
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// hostName returns the name in the header Host, without its port.
func hostName(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	return strings.ToLower(strings.TrimSuffix(host, "."))
}

func cutHost(host string) string { return clean(host[:min(len(host), 100)]) }

// localName is the user of this process, for the audit log.
func localName() string {
	for _, variable := range []string{"USER", "USERNAME"} { // USERNAME is of Windows
		if name := os.Getenv(variable); name != "" {
			return strings.ToValidUTF8(name[:min(len(name), 100)], "")
		}
	}
	return "dashboard"
}
