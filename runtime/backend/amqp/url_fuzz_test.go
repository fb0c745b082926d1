package amqp

import (
	"slices"
	"testing"
)

// Whatever the fields of a Config are, the library connects with what they name.
func FuzzFieldsURL(f *testing.F) {
	f.Add("h", 5672, "user", "p@ss:w/rd?#%[] ", "orders/eu")
	f.Add("::1", 1, "\u00fc ", "\x00\xff+&=", "/")
	f.Add("fe80::1%eth0", 7, "a@b", "", "%2F")
	f.Fuzz(func(t *testing.T, host string, port int, username, password, vhost string) {
		if !slices.Contains([]string{"h", "10.0.0.1", "::1", "fe80::1%eth0", "a.example.com"}, host) || port < 1 || port > 65535 || username == "" || vhost == "" {
			return // the configuration has checked these, or there are defaults
		}
		targets, err := (&Config{Host: host, Port: port, Username: username, Password: password, VHost: vhost}).targets()
		if err != nil {
			t.Fatal(err)
		}
		if u := targets[0].uri; u.Host != host || u.Port != port || u.Username != username || u.Password != password || u.Vhost != vhost {
			t.Errorf("%q, %d, %q, %q, %q became %+v", host, port, username, password, vhost, u)
		}
	})
}
