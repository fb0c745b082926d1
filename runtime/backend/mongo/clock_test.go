package mongo

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/options"

	driver "go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/afgen/afgen/internal/devstack"
)

// The server's clock counts, whatever was known of it before; and what agrees with it is not moved.
func TestClockFollowsTheServers(t *testing.T) {
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
	k := clock{since: time.Since}
	off := func() time.Duration {
		t.Helper()
		if err := k.measure(t.Context(), db); err != nil {
			t.Fatal(err)
		}
		return time.Duration(k.now() - time.Now().UnixNano()).Abs() // the server runs on this machine
	}
	if d := off(); d > time.Minute {
		t.Errorf("off by %v at first", d)
	}
	for _, step := range []time.Duration{time.Hour, -time.Hour} {
		k.base += int64(step)
		if d := off(); d > time.Minute {
			t.Errorf("after the server's clock was set by %v, off by %v", -step, d)
		}
	}
	base, at := k.base, k.at
	off()
	if moved := time.Duration(k.base-base) - k.at.Sub(at); moved.Abs() > time.Second {
		t.Errorf("moved by %v", moved)
	}
}

func TestMomentsNeverRepeat(t *testing.T) {
	k := clock{base: time.Now().UnixNano(), at: time.Now(), since: time.Since}
	last := int64(0)
	for range 100 {
		first := k.moments(1000)
		if first <= last {
			t.Fatalf("%d after %d", first, last)
		}
		last = first + 999
	}
}
