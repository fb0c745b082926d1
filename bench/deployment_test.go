package bench

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/afgen/afgen/internal/apptest"
	"github.com/afgen/afgen/internal/devstack"
	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/embedded"
	"github.com/afgen/afgen/runtime/backend/memory"
	"github.com/afgen/afgen/runtime/backend/servers"
	"github.com/afgen/afgen/runtime/config"
)

// A kind is a kind of backend.
type kind struct {
	name   string
	deploy func(testing.TB) *deployment
}

// kinds are the backends that each benchmark runs on.
var kinds = []kind{{"memory", deployMemory}, {"embedded", deployEmbedded}, {"servers", deployServers}}

// onEach runs a benchmark on each kind of backend.
func onEach(b *testing.B, run func(b *testing.B, k kind)) {
	for _, k := range kinds {
		b.Run(k.name, func(b *testing.B) { run(b, k) })
	}
}

// A deployment is a backend with empty storage, and the counters of the Apps that are opened on it.
type deployment struct {
	name     string // of its service and its queue; unique, because the broker may be shared
	backend  backend.Backend
	calls    *storeCalls
	commands *mongoCommands // nil if nothing counts them
}

func newDeployment(tb testing.TB, b backend.Backend) *deployment {
	calls := newStoreCalls()
	return &deployment{name: devstack.Name(tb), backend: counted{b, calls}, calls: calls}
}

func deployMemory(tb testing.TB) *deployment { return newDeployment(tb, memory.New()) }

func deployEmbedded(tb testing.TB) *deployment {
	tb.Helper()
	dir, err := os.MkdirTemp("", "af") // tb.TempDir is too long for a socket
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			tb.Error(err)
		}
	})
	return newDeployment(tb, embedded.File(filepath.Join(dir, "af.db")))
}

// deployServers returns a deployment on the servers that counts MongoDB's commands.
func deployServers(tb testing.TB) *deployment {
	tb.Helper()
	cfg := serversConfig(tb)
	commands := &mongoCommands{counts: counts{}}
	d := newDeployment(tb, countedMongo{servers.From(cfg), cfg.MongoDB, commands})
	d.commands = commands
	return d
}

// serversConfig returns a configuration of servers with a new database.
func serversConfig(tb testing.TB) config.Config {
	tb.Helper()
	text := fmt.Sprintf("mongodb: {uri: %q}\nredis: {uri: %q}\nrabbitmq: {uri: %q}\n",
		devstack.Mongo(tb), devstack.Redis(tb), devstack.AMQP(tb))
	cfg, err := config.Parse("config.yaml", []byte(text), nil)
	if err != nil {
		tb.Fatal(err)
	}
	cfg.Logger = config.Logger{} // no files
	return cfg
}

// open opens an App. register, which may be nil, registers its service or worker. The App is shut down when the test
// ends.
func (d *deployment) open(tb testing.TB, register func(*af.App)) *af.App {
	tb.Helper()
	options := append(instruments(tb), af.MaxInFlight(1024, 64<<20), af.Retention(0, 0))
	app := apptest.Open(tb, d.backend, options...)
	if register != nil {
		register(app)
	}
	return app
}

// start is like open and also starts the App.
func (d *deployment) start(tb testing.TB, register func(*af.App)) *af.App {
	tb.Helper()
	app := d.open(tb, register)
	if err := app.Start(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return app
}

// A payload is the argument of a call or a task, and the reply.
type payload struct {
	Text string `json:"text"`
}

// payloadOf returns a payload that encodes to n bytes.
func payloadOf(n int) payload { return payload{strings.Repeat("x", n-len(`{"text":""}`))} }
