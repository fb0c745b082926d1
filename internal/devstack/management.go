package devstack

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"sync"
	"time"
)

// A management is RabbitMQ's HTTP API, served by its management plugin.
type management struct {
	base string
	user *url.Userinfo
}

var managementClient = &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}

// do sends a request, such as DELETE connections/NAME, and returns the body of the response.
func (m management) do(method, path string, body []byte) ([]byte, error) {
	r, err := http.NewRequest(method, m.base+"/api/"+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	password, _ := m.user.Password()
	r.SetBasicAuth(m.user.Username(), password)
	r.Header.Set("Content-Type", "application/json")
	answer, err := managementClient.Do(r)
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(answer.Body)
	if err = errors.Join(err, answer.Body.Close()); err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %s: %s", method, path, answer.Status, text)
	}
	return text, err
}

// createVHost creates a virtual host in which the user has all permissions. queueType is the default type of its
// queues, or "".
func (m management) createVHost(name, queueType string) error {
	var body []byte
	if queueType != "" {
		body = fmt.Appendf(nil, `{"default_queue_type":%q}`, queueType)
	}
	if _, err := m.do("PUT", "vhosts/"+url.PathEscape(name), body); err != nil {
		return err
	}
	_, err := m.do("PUT", "permissions/"+url.PathEscape(name)+"/"+url.PathEscape(m.user.Username()),
		[]byte(`{"configure":".*","write":".*","read":".*"}`))
	return err
}

// A Grant has a user's permissions in a virtual host: patterns of names, and for topic exchanges patterns of routing
// keys.
type Grant struct {
	Configure, Write, Read string
	Topics                 map[string]TopicGrant // by exchange
}

// A TopicGrant has the routing keys with which a user may publish to a topic exchange and bind to it.
type TopicGrant struct{ Write, Read string }

// grant creates a user with a password, or changes its permissions.
func (m management) grant(vhost, user, password string, g Grant) error {
	put := func(path string, body map[string]string) error {
		text, err := json.Marshal(body)
		if err == nil {
			_, err = m.do("PUT", path, text)
		}
		return err
	}
	in := url.PathEscape(vhost) + "/" + url.PathEscape(user)
	err := errors.Join(
		put("users/"+url.PathEscape(user), map[string]string{"password": password, "tags": ""}),
		put("permissions/"+in, map[string]string{"configure": g.Configure, "write": g.Write, "read": g.Read}),
	)
	for exchange, t := range g.Topics {
		err = errors.Join(err, put("topic-permissions/"+in,
			map[string]string{"exchange": exchange, "write": t.Write, "read": t.Read}))
	}
	return err
}

func (m management) deleteUser(name string) {
	_, _ = m.do("DELETE", "users/"+url.PathEscape(name), nil)
}

// deleteVHost deletes a virtual host, if the server still runs.
func (m management) deleteVHost(name string) {
	_, _ = m.do("DELETE", "vhosts/"+url.PathEscape(name), nil)
}

// namedManagement is the HTTP API of the server named by AF_TEST_AMQP, at AF_TEST_AMQP_ADMIN or the usual port. It is
// nil if the API doesn't respond for this server: the management plugin isn't enabled, or the user is no
// administrator.
var namedManagement = sync.OnceValue(func() *management {
	u, err := url.Parse(os.Getenv(RabbitMQ.Variable()))
	if err != nil || u.User == nil {
		return nil
	}
	m := &management{os.Getenv("AF_TEST_AMQP_ADMIN"), u.User}
	if m.base != "" {
		return m
	}
	m.base = "http://" + net.JoinHostPort(u.Hostname(), "15672")
	if !m.listensOn(u.Port()) {
		return nil
	}
	return m
})

// listensOn reports whether the API responds and belongs to a server with this AMQP port: another server of the
// machine may use the API's usual port.
func (m *management) listensOn(port string) bool {
	text, err := m.do("GET", "overview", nil)
	if err != nil {
		return false
	}
	var overview struct {
		Listeners []struct {
			Protocol string `json:"protocol"`
			Port     int    `json:"port"`
		} `json:"listeners"`
	}
	if json.Unmarshal(text, &overview) != nil {
		return false
	}
	if port == "" {
		port = "5672"
	}
	for _, l := range overview.Listeners {
		if l.Protocol == "amqp" && strconv.Itoa(l.Port) == port {
			return true
		}
	}
	return false
}

// withVHost returns the URI of a RabbitMQ with another virtual host.
func withVHost(uri, name string) (string, error) {
	u, err := url.Parse(uri)
	if err != nil {
		return "", errors.New("the URI of RabbitMQ is not valid") // without the password in it
	}
	u.Path, u.RawPath = "/"+name, ""
	return u.String(), nil
}
