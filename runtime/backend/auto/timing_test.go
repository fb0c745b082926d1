package auto_test

import (
	"log/slog"
	"reflect"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/amqp"
	"github.com/afgen/afgen/runtime/backend/mongo"
	"github.com/afgen/afgen/runtime/instrument"
	"github.com/afgen/afgen/runtime/internal/hooks"
	"github.com/afgen/afgen/runtime/internal/timing"
)

// An App with instruments wraps its ports. Those of the servers keep their optional interfaces, and get no others. The
// test is here because packages that need no driver may not mention one in their tests: other modules would list it.
func TestInstrumentsKeepOptionalInterfaces(t *testing.T) {
	client, err := mongo.New(mongo.Config{URI: "mongodb://127.0.0.1:1/", Address: "127.0.0.1:1", Database: "d"})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close(t.Context())
	conn, err := amqp.Dial(t.Context(), amqp.Config{URLs: []string{"amqp://127.0.0.1:1/v"}, Degraded: true,
		ConnectTimeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	set := hooks.New([]instrument.Instrumentation{instrument.NoInstrument{}})
	set.Own("app", slog.New(slog.DiscardHandler))
	before := &backend.Ports{Name: "servers", Store: client.Store(), Docs: client.Docs(), Transport: conn.Transport()}
	after := timing.Ports(before, set)
	checker := reflect.TypeFor[backend.ConnectionChecker]()
	if !reflect.TypeOf(before.Transport).Implements(checker) {
		t.Errorf("%T is no %v, so nothing is tested", before.Transport, checker)
	}
	for _, optional := range []reflect.Type{checker, reflect.TypeFor[backend.ProcessWatcher]()} {
		for _, port := range [][2]any{{before.Store, after.Store}, {before.Docs, after.Docs},
			{before.Transport, after.Transport}} {
			had, has := reflect.TypeOf(port[0]).Implements(optional), reflect.TypeOf(port[1]).Implements(optional)
			if had != has {
				t.Errorf("%T is a %v: %v, wrapped: %v", port[0], optional, had, has)
			}
		}
	}
}
