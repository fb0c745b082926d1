package amqp

import "testing"

// The library connects to what a Config's fields name, whatever they contain.
func FuzzFieldsURL(f *testing.F) {
	f.Add(uint8(0), uint16(5672), "user", "p@ss:w/rd?#%[] ", "orders/eu")
	f.Add(uint8(2), uint16(1), "\u00fc ", "\x00\xff+&=", "/")
	f.Add(uint8(3), uint16(7), "a@b", "", "%2F")
	hosts := []string{"h", "10.0.0.1", "::1", "fe80::1%eth0", "a.example.com"}
	f.Fuzz(func(t *testing.T, n uint8, port uint16, username, password, vhost string) {
		host := hosts[int(n)%len(hosts)]
		if port == 0 || username == "" || vhost == "" {
			return // there are defaults
		}
		targets, err := (&Config{Host: host, Port: int(port), Username: username, Password: password, VHost: vhost}).targets()
		if err != nil {
			t.Fatal(err)
		}
		if u := targets[0].uri; u.Host != host || u.Port != int(port) || u.Username != username || u.Password != password ||
			u.Vhost != vhost {
			t.Errorf("%q, %d, %q, %q, %q became %+v", host, port, username, password, vhost, u)
		}
	})
}
