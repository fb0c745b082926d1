package amqp

import (
	"crypto/tls"
	"crypto/x509"
	"net/http/httptest"
	"net/url"
	"testing"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
)

func TestConfigFieldsURL(t *testing.T) {
	for want, c := range map[string]Config{
		"127.0.0.1:5672, vhost \"/\"": {},
		"127.0.0.1:5671, vhost \"/\"": {TLS: &tls.Config{}},
		"h:1, vhost \"a/b\"":          {Host: "h", Port: 1, VHost: "a/b", Username: "u@", Password: "p/?#"},
		"[::1]:5672, vhost \"/\"":     {Host: "::1"},
		"a:5672, vhost \"v\"":         {URLs: []string{"amqp://u:p@a/v"}},
	} {
		targets, err := c.targets()
		must(t, err)
		if got := targets[0].String(); got != want || targets[0].timeout != defaultConnectTimeout {
			t.Errorf("%s, want %s", got, want)
		}
	}
}

func TestDialTriesNextBroker(t *testing.T) {
	url := devstack.AMQP(t)
	c := dial(t, "amqp://127.0.0.1:1/", func(c *Config) { c.URLs = append(c.URLs, url) })
	serve(t, c, "s", 1, echo)
	if _, err := c.Calls().Call(t.Context(), newRequest("s")); err != nil {
		t.Error(err)
	}
}

// TLS is terminated in front of the broker, which makes no difference to the client.
func TestTLS(t *testing.T) {
	u, err := url.Parse(devstack.AMQP(t))
	must(t, err)
	s := httptest.NewTLSServer(nil) // for its certificate
	defer s.Close()
	roots := x509.NewCertPool()
	roots.AddCert(s.Certificate())
	l, err := tls.Listen("tcp", "127.0.0.1:0", &tls.Config{Certificates: s.TLS.Certificates})
	must(t, err)
	p := testkit.NewProxy(t, u.Host, testkit.ProxyConfig{Listener: l})
	u.Scheme, u.Host = "amqps", p.Addr
	t.Run("trusted", func(t *testing.T) {
		c := dial(t, u.String(), func(c *Config) { c.TLS = &tls.Config{RootCAs: roots} })
		serve(t, c, "s", 1, echo)
		if _, err := c.Calls().Call(t.Context(), newRequest("s")); err != nil {
			t.Error(err)
		}
	})
	t.Run("unknown", func(t *testing.T) {
		_, err := Dial(t.Context(), config(t, u.String()))
		wantError(t, err, backend.ErrUnauthenticated, backend.OutcomeNotSent)
	})
}
