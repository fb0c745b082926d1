package mongo

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/afgen/afgen/internal/devstack"
)

// The clock adopts steps of the server's clock, and otherwise keeps its estimate.
func TestClockFollowsServer(t *testing.T) {
	client, err := driver.Connect(options.Client().ApplyURI(devstack.Mongo(t)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Disconnect(t.Context()); err != nil {
			t.Log(err)
		}
	})
	db := client.Database("clock")
	c := clock{since: time.Since}
	off := func() time.Duration {
		t.Helper()
		if err := c.measure(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		return time.Duration(c.now() - time.Now().UnixNano()).Abs() // the server runs on this machine
	}
	if d := off(); d > time.Minute {
		t.Errorf("off by %v initially", d)
	}
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		c.base += int64(step)
		if d := off(); d > time.Minute {
			t.Errorf("after the server's clock was set by %v, off by %v", -step, d)
		}
	}
	base, at := c.base, c.baseAt
	off()
	if moved := time.Duration(c.base-base) - c.baseAt.Sub(at); moved.Abs() > time.Second {
		t.Errorf("moved by %v", moved)
	}
}

func TestTimestampsAreUnique(t *testing.T) {
	c := clock{base: time.Now().UnixNano(), baseAt: time.Now(), since: time.Since}
	last := int64(0)
	for range 100 {
		first := c.timestamps(1000)
		if first <= last {
			t.Fatalf("%d after %d", first, last)
		}
		last = first + 999
	}
}
