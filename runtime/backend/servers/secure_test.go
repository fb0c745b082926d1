package servers_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
)

// An authority issues certificates into a directory.
type authority struct {
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newAuthority(t *testing.T) *authority {
	a := &authority{dir: t.TempDir(), key: must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)}
	a.cert = &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "the test's authority"}, NotBefore: time.Now().
				Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	a.write(t, "ca", a.cert, a.key)
	return a
}

// issue writes NAME.pem and NAME.key, for a server on 127.0.0.1 or a client.
func (a *authority) issue(t *testing.T, name string) {
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))(t)
	a.write(t, name, &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().
				Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature, IPAddresses: []net.IP{net.IPv4(127, 0,
			0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}, key)
}

func (a *authority) write(t *testing.T, name string, template *x509.Certificate, key *ecdsa.PrivateKey) {
	cert := must(x509.CreateCertificate(rand.Reader, template, a.cert, &key.PublicKey, a.key))(t)
	private := must(x509.MarshalECPrivateKey(key))(t)
	for file, block := range map[string]*pem.Block{
		name + ".pem": {Type: "CERTIFICATE", Bytes: cert}, name + ".key": {Type: "EC PRIVATE KEY", Bytes: private},
	} {
		if err := os.WriteFile(a.file(file), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func (a *authority) file(name string) string { return filepath.Join(a.dir, name) }

// clientTLS returns the TLS configuration of a client with the certificate NAME.
func (a *authority) clientTLS(t *testing.T, name string) *tls.Config {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(must(os.ReadFile(a.file("ca.pem")))(t))
	pair := must(tls.LoadX509KeyPair(a.file(name+".pem"), a.file(name+".key")))(t)
	return &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}}
}

// securedServers are three servers with TLS and client certificates, and two users each: app has exactly the
// permissions in docs/servers.md, meek has fewer.
type securedServers struct {
	ca                   *authority
	rabbit, mongo, redis int // ports
}

const password = "hunter2"

func newSecuredServers(t *testing.T) *securedServers {
	f := &securedServers{ca: newAuthority(t)}
	f.ca.issue(t, "server")
	f.ca.issue(t, "client")
	doc := string(must(os.ReadFile("../../../docs/servers.md"))(t))
	rabbit, redis, mongo := devstack.Prepare(t, devstack.RabbitMQ), devstack.Prepare(t,
		devstack.RedisKV), devstack.Prepare(t, devstack.MongoDB)
	f.rabbit, f.redis, f.mongo = freePort(t), freePort(t), mongo.Port
	conf := must(os.OpenFile(filepath.Join(rabbit.Dir, "rabbitmq.conf"), os.O_APPEND|os.O_WRONLY, 0))(t)
	must(fmt.Fprintf(conf, `listeners.ssl.1 = 127.0.0.1:%d
ssl_options.cacertfile = %s
ssl_options.certfile = %s
ssl_options.keyfile = %s
ssl_options.verify = verify_peer
ssl_options.fail_if_no_peer_cert = true
`, f.rabbit, f.ca.file("ca.pem"), f.ca.file("server.pem"), f.ca.file("server.key")))(t)
	redis.Args = []string{
		"--tls-port", strconv.Itoa(f.redis), "--tls-ca-cert-file", f.ca.file("ca.pem"), "--tls-cert-file",
		f.ca.file("server.pem"),
		"--tls-key-file", f.ca.file("server.key"), "--tls-auth-clients", "yes",
	}
	must("", conf.Close())(t)
	startAll(t, rabbit, redis, mongo)

	for user, pattern := range map[string]string{"app": `^(af\\..*|amq\\.default)$`, "meek": `^af\\.rpc`} {
		must(rabbit.Admin("PUT", "users/"+user, []byte(`{"password":"`+password+`","tags":""}`)))(t)
		must(rabbit.Admin("PUT", "permissions/%2F/"+user,
			[]byte(`{"configure":"`+pattern+`","write":"`+pattern+`","read":"`+pattern+`"}`)))(t)
	}

	_, rule, _ := strings.Cut(doc, "\nACL SETUSER app on >PASSWORD ")
	rule, _, _ = strings.Cut(rule, "\n")
	admin := goredis.NewClient(must(goredis.ParseURL(redis.URI))(t))
	for user, more := range map[string]string{"app": "", "meek": " -publish"} {
		args := []any{"ACL", "SETUSER", user, "on", ">" + password}
		for _, word := range strings.Fields(rule + more) {
			args = append(args, word)
		}
		must("", admin.Do(t.Context(), args...).Err())(t)
	}
	must("", admin.Do(t.Context(), "ACL", "SETUSER", "default", "off").Err())(t)
	must("", admin.Close())(t)

	_, role, _ := strings.Cut(doc, "```json\n{\n  \"createRole\"")
	role, _, _ = strings.Cut("{\n  \"createRole\""+role, "```")
	var create bson.D
	must("", bson.UnmarshalExtJSON([]byte(role), false, &create))(t)
	client := must(driver.Connect(options.Client().ApplyURI(mongo.URI)))(t)
	must("", client.Database("shop").RunCommand(t.Context(), create).Err())(t)
	for user, role := range map[string]bson.M{"app": {"role": "afgen", "db": "shop"},
		"meek": {"role": "read", "db": "shop"}} {
		must("", client.Database("admin").RunCommand(t.Context(),
			bson.D{{Key: "createUser", Value: user}, {Key: "pwd", Value: password},
				{Key: "roles", Value: bson.A{role}}}).Err())(t)
	}
	must("", client.Disconnect(t.Context()))(t)
	must("", mongo.Stop())(t)
	key := slices.Concat(must(os.ReadFile(f.ca.file("server.pem")))(t), must(os.ReadFile(f.ca.file("server.key")))(t))
	for file, content := range map[string][]byte{"server.both": key, "members.key": []byte(password)} {
		must("", os.WriteFile(f.ca.file(file), content, 0o600))(t)
	}
	// A key file, with which members of a replica set authenticate each other, also enables authentication of users.
	mongo.Args = []string{"--keyFile", f.ca.file("members.key"), "--tlsMode", "requireTLS",
		"--tlsCertificateKeyFile", f.ca.file("server.both"), "--tlsCAFile", f.ca.file("ca.pem")}
	mongo.TLS = f.ca.clientTLS(t, "client")
	must("", mongo.Start())(t)
	return f
}

// startAll starts servers in parallel. They are killed at the end of the test, which is faster than stopping them.
func startAll(t *testing.T, all ...*devstack.Server) {
	t.Cleanup(func() {
		for _, s := range all {
			must("", s.Kill())(t)
		}
	})
	errs := make([]error, len(all))
	var wg sync.WaitGroup
	for i, s := range all {
		wg.Go(func() { errs[i] = s.Start() })
	}
	wg.Wait()
	must("", errors.Join(errs...))(t)
}

func freePort(t *testing.T) int {
	_, port, _ := net.SplitHostPort(testkit.FreeAddr(t))
	return must(strconv.Atoi(port))(t)
}

// config returns the configuration with given users of RabbitMQ, MongoDB and Redis, a CA file, and a client certificate
// or none.
func (s *securedServers) config(rabbit, mongo, redis, ca, cert string) string {
	secure := fmt.Sprintf("tls: {enabled: true, ca_file: %s", ca)
	if cert != "" {
		secure += fmt.Sprintf(", cert_file: %s, key_file: %s", s.ca.file(cert+".pem"), s.ca.file(cert+".key"))
	}
	return fmt.Sprintf(`
rabbitmq: {host: 127.0.0.1, port: %d, username: %s, password: %s, %[7]s}}
mongodb: {uri: "mongodb://%[4]s:%[3]s@127.0.0.1:%[5]d/?authSource=admin", db: shop, %[7]s}}
redis: {host: 127.0.0.1, port: %[8]d, username: %[6]s, password: %[3]s, %[7]s}}
`, s.rabbit, rabbit, password, mongo, s.mongo, redis, secure, s.redis)
}

// With TLS and the documented permissions everything works. With a wrong certificate, user or permission, opening fails
// and names the server.
func TestTLSAndMinimalPermissions(t *testing.T) {
	f := newSecuredServers(t)
	ca := f.ca.file("ca.pem")
	w := &step{make(chan af.Subtasks, 1)}
	app := open(t, parse(t, f.config("app", "app", "app", ca, "client")), func(app *af.App) {
		af.RegisterService(app, af.Service{Name: "adder", Type: "Adder", Concurrency: 4}, &adder{},
			af.Bind(&addMethod, func(_ context.Context, _ *adder, a args) (sum, error) { return sum{a.X + a.Y}, nil }))
		af.RegisterWorker(app, stepWorker, w)
	})
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if r, err := addMethod.Call(ctx, af.NewClient(app, af.WaitForReady()), args{1, 2}); err != nil || r.Sum != 3 {
		t.Errorf("%+v, %v", r, err)
	}
	q := af.NewQueue[int, int](app, stepWorker)
	id := must(q.Submit(ctx, -21))(t)
	must(q.Subtasks(ctx, id, []int{1, 2, 3}))(t)
	if n, err := q.Wait(ctx, id); n != -42 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	select {
	case s := <-w.done:
		if s.Succeeded != 3 {
			t.Errorf("%+v", s)
		}
	case <-ctx.Done():
		t.Error("SubtasksDone didn't run")
	}
	must(q.Submit(ctx, 1, af.RequireWorker()))(t)
	if err := app.StopTask(ctx, must(q.Submit(ctx, 1, af.RunAt(time.Now().Add(time.Hour))))(t)); err != nil {
		t.Error(err)
	}

	other := newAuthority(t)
	const rabbit, mongo, redis = "rabbitmq: ", "mongodb: ", "redis: "
	_, err := af.Open(t.Context(), servers.From(parse(t, f.config("app", "app", "app", ca, ""))))
	for _, want := range []string{rabbit, mongo, redis, fmt.Sprint(f.rabbit), fmt.Sprint(f.mongo), fmt.Sprint(f.redis)} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("without a certificate, want %q: %v", want, err)
		}
	}
	for name, test := range map[string]struct {
		config string
		code   af.Code
		want   []string // sections
		cause  string
	}{
		"another_authority": {f.config("app", "app", "app", other.file("ca.pem"), "client"), af.ErrUnauthenticated,
			[]string{rabbit, mongo, redis}, "certificate signed by unknown authority"},
		"rabbitmq_permissions": {f.config("meek", "app", "app", ca, "client"), af.ErrPermissionDenied, []string{rabbit},
			"af.ctl"},
		"mongodb_permissions": {f.config("app", "meek", "app", ca, "client"), af.ErrPermissionDenied, []string{mongo},
			"lacks permission to insert, update, remove, createIndex in shop.tasks"},
		"redis_permissions": {f.config("app", "app", "meek", ca, "client"), af.ErrPermissionDenied, []string{redis},
			"publish"},
		"unknown_user": {f.config("unknown", "unknown", "unknown", ca, "client"), af.ErrUnauthenticated,
			[]string{rabbit, mongo, redis}, ""},
	} {
		// A rejection is an error even with StartDegraded.
		_, err := af.Open(t.Context(), servers.From(parse(t, test.config), servers.StartDegraded()))
		if err == nil {
			t.Errorf("%s: opened", name)
			continue
		}
		text := err.Error()
		for section, port := range map[string]int{rabbit: f.rabbit, mongo: f.mongo, redis: f.redis} {
			at := strings.Index(text, section)
			wanted := strings.Contains(fmt.Sprint(test.want), section)
			if wanted != (at >= 0) || wanted && !strings.Contains(text[at:], fmt.Sprint("127.0.0.1:", port)) {
				t.Errorf("%s: names %s %v, want %v, with its address: %v", name, section, at >= 0, wanted, err)
			}
		}
		if !errors.Is(err, test.code) || !strings.Contains(text, test.cause) || strings.Contains(text, password) {
			t.Errorf("%s: want %s because of %q: %v", name, test.code, test.cause, err)
		}
	}
}
