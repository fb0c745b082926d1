//go:build long && linux

package servers_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/url"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

func init() { children["machine"] = machineMain }

// machineMain is the program of the second machine. It writes a line for each finished run.
func machineMain() int {
	cfg, err := config.Parse("config.yaml", []byte(os.Getenv("AF_TEST_CONFIG")), nil)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	app, err := af.Open(context.Background(), servers.From(cfg), af.Lease(machineLease),
		af.Logger(slog.New(slog.NewTextHandler(os.Stderr, nil))))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 2
	}
	af.RegisterWorker(app, machineWorker, &effect{func(n int) { fmt.Println(n) }})
	if err := app.Run(context.Background()); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
	return 0
}

// machineLease is longer than a cut, so that no process is declared dead: every task must run once.
const machineLease = 40 * time.Second

var machineWorker = af.Worker{Name: "machines", Type: "Machines", Max: 8, Backoff: time.Second}

// An effect is a worker that takes 100 ms and then reports its payload, unless its context has ended.
type effect struct{ done func(int) }

func (e *effect) Run(ctx context.Context, n int) (int, error) {
	select {
	case <-time.After(100 * time.Millisecond):
		e.done(n)
		return n, nil
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	}
}

// A machine is a network namespace with one link to each server.
type machine struct {
	*testing.T
	name        string
	host, guest string // the ends of the virtual cable
	net         int    // third byte of the first link's addresses
}

// A link connects a machine with one server. The server has the address ip(1), the machine ip(2).
type link struct {
	*machine
	number int
}

func newMachine(t *testing.T) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("NOT TESTED: network namespaces need root")
	}
	if _, err := exec.LookPath("ip"); err != nil {
		t.Skip("NOT TESTED: network namespaces need the command ip (Debian: apt-get install iproute2)")
	}
	id := os.Getpid()
	m := &machine{T: t, name: fmt.Sprint("afgen", id), host: fmt.Sprint("afh", id), guest: fmt.Sprint("afg", id),
		net: 3 * rand.IntN(80)}
	m.ip("netns", "add", m.name)
	t.Cleanup(func() { m.ip("netns", "del", m.name) }) // with its end of the cable, which removes the other one
	m.ip("link", "add", m.host, "type", "veth", "peer", "name", m.guest, "netns", m.name)
	m.ip("link", "set", m.host, "up")
	m.ip("-n", m.name, "link", "set", m.guest, "up")
	m.ip("-n", m.name, "link", "set", "lo", "up")
	return m
}

// ip runs the command ip.
func (m *machine) ip(args ...string) {
	m.Helper()
	if out, err := exec.Command("ip", args...).CombinedOutput(); err != nil {
		m.Fatalf("ip %s: %v: %s", strings.Join(args, " "), err, out)
	}
}

// connect makes the server of a URI reachable, and returns its URI for the machine.
func (m *machine) connect(number int, uri string) (link, string) {
	m.Helper()
	l := link{m, number}
	m.ip("address", "add", l.ip(1)+"/24", "dev", m.host)
	m.ip("-n", m.name, "address", "add", l.ip(2)+"/24", "dev", m.guest)
	listener, err := net.Listen("tcp", l.ip(1)+":0")
	if err != nil {
		m.Fatal(err)
	}
	_, through := testkit.NewProxyURI(m, uri, testkit.ProxyConfig{Listener: listener})
	return l, through
}

func (l link) ip(host int) string { return fmt.Sprintf("198.18.%d.%d", l.net+l.number, host) }

// lose makes the network lose all packets in one direction silently: they are sent to an address that no card has.
func (l link) lose(d testkit.Direction) {
	const unusedMAC = "02:00:00:00:00:01"
	if d == testkit.Requests {
		l.machine.ip("-n", l.name, "neigh", "replace", l.ip(1), "lladdr", unusedMAC, "nud", "permanent", "dev", l.guest)
	} else {
		l.machine.ip("neigh", "replace", l.ip(2), "lladdr", unusedMAC, "nud", "permanent", "dev", l.host)
	}
}

func (l link) heal(d testkit.Direction) {
	if d == testkit.Requests {
		l.machine.ip("-n", l.name, "neigh", "del", l.ip(1), "dev", l.guest)
	} else {
		l.machine.ip("neigh", "del", l.ip(2), "dev", l.host)
	}
}

// runs counts the effects of payloads, by machine.
type runs struct {
	mu    sync.Mutex
	total map[int]int
	by    map[string]int
}

func (r *runs) add(machine string, n int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.total[n]++
	r.by[machine]++
}

func (r *runs) on(machine string) int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.by[machine]
}

// Each server is cut off from one of two machines, in one direction or both. The other machine runs the tasks
// meanwhile, each task has its effect once, and the machine works again when the network does.
func TestLongServersCutOffFromOneMachine(t *testing.T) {
	m := newMachine(t)
	mongo, redis, amqp := devstack.Mongo(t), devstack.Redis(t), devstack.AMQP(t)
	toMongo, mongoURI := m.connect(0, mongo)
	toRedis, redisURI := m.connect(1, redis)
	toRabbit, amqpURI := m.connect(2, amqp)
	u, err := url.Parse(mongoURI)
	if err != nil {
		t.Fatal(err)
	}
	options := u.Query() // members of the set are at other addresses
	options.Del("replicaSet")
	options.Set("directConnection", "true")
	u.RawQuery = options.Encode()
	text := fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", u.String(), redisURI,
		amqpURI+uriSeparator(amqpURI)+"heartbeat=2")

	r := &runs{total: map[int]int{}, by: map[string]int{}}
	cfg := parse(t, fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n", mongo, redis, amqp))
	near, err := af.Open(t.Context(), servers.From(cfg), af.Lease(machineLease),
		af.Logger(slog.New(slog.NewTextHandler(t.Output(), nil))))
	if err != nil {
		t.Fatal(err)
	}
	af.RegisterWorker(near, machineWorker, &effect{func(n int) { r.add("near", n) }})
	if err := near.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = near.Shutdown(context.Background()) })
	far := startFar(t, m, text, r)
	queue := af.NewQueue[int, int](open(t, cfg, nil), machineWorker)

	ctx, stop := context.WithCancel(t.Context())
	submitted := make(chan int, 1)
	go func() {
		n := 0
		for tick := time.NewTicker(20 * time.Millisecond); ctx.Err() == nil; <-tick.C {
			if _, err := queue.Submit(t.Context(), n); err != nil {
				t.Error(err)
				break
			}
			n++
		}
		submitted <- n
	}()
	runsMore := func(machine string, more int) time.Duration {
		t.Helper()
		begun, from := time.Now(), r.on(machine)
		testkit.Eventually(t, machine+" runs tasks", func() bool { return r.on(machine) >= from+more })
		return time.Since(begun)
	}
	runsMore("far", 20)
	const cut = 6 * time.Second
	for name, l := range map[string]link{"mongodb": toMongo, "redis": toRedis, "rabbitmq": toRabbit} {
		for how, lost := range map[string][]testkit.Direction{
			"requests": {testkit.Requests}, "replies": {testkit.Replies}, "both": {testkit.Requests, testkit.Replies},
		} {
			t.Run(name+"_"+how, func(t *testing.T) {
				near, far := r.on("near"), r.on("far")
				for _, d := range lost {
					l.lose(d)
				}
				time.Sleep(cut)
				near, far = r.on("near")-near, r.on("far")-far
				for _, d := range lost {
					l.heal(d)
				}
				if near < 50 {
					t.Errorf("the other machine ran %d tasks in %v", near, cut)
				}
				again := runsMore("far", 20)
				t.Logf("in %v of the cut: %d tasks here, %d there; 20 there within %v after it", cut, near, far, again)
			})
		}
	}
	stop()
	n := <-submitted
	testkit.Eventually(t, "all tasks have run", func() bool { return r.on("near")+r.on("far") >= n })
	far()
	r.mu.Lock()
	defer r.mu.Unlock()
	for payload := range n {
		if times := r.total[payload]; times != 1 {
			t.Errorf("payload %d had its effect %d times", payload, times)
		}
	}
}

// startFar starts the program on the machine. The result ends it and waits for its last lines.
func startFar(t *testing.T, m *machine, config string, r *runs) (end func()) {
	t.Helper()
	cmd := testkit.Command("machine", "AF_TEST_CONFIG="+config)
	path, err := exec.LookPath("ip")
	if err != nil {
		t.Fatal(err)
	}
	cmd.Path, cmd.Args = path, []string{path, "netns", "exec", m.name, os.Args[0]} // which replaces itself by the program
	cmd.Stderr = t.Output()
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			var n int
			if _, err := fmt.Sscan(lines.Text(), &n); err == nil {
				r.add("far", n)
			}
		}
	}()
	end = sync.OnceFunc(func() {
		if err := cmd.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Error(err)
		}
		<-read
		_ = cmd.Wait() // it may have been killed
	})
	t.Cleanup(func() {
		timer := time.AfterFunc(time.Minute, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		end()
	})
	return end
}
