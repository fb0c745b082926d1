package redis_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	driver "github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/redis"
)

func TestMain(m *testing.M) {
	// The goroutine that waits for a started server outlives the tests of this package.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/afgen/afgen/internal/devstack.(*Server).Start.func1"))
}

// documentedACL returns the ACL SETUSER command that docs/servers.md has for a user with minimal permissions, for keys
// and channels with a prefix.
func documentedACL(t *testing.T, user, password, prefix string) []any {
	t.Helper()
	text, err := os.ReadFile("../../../docs/servers.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rule, _ := strings.Cut(string(text), "\nACL SETUSER app on >PASSWORD ")
	rule, _, _ = strings.Cut(rule, "\n")
	args := []any{"ACL", "SETUSER", user, "reset", "on", ">" + password}
	for _, word := range strings.Fields(strings.ReplaceAll(rule, "af:shop:", prefix)) {
		args = append(args, word)
	}
	return args
}

// withUser runs args, an ACL SETUSER command, and returns the URI of its user.
func withUser(t *testing.T, user, password string, args []any) string {
	t.Helper()
	uri := devstack.Redis(t)
	o, err := driver.ParseURL(uri)
	if err != nil {
		t.Fatal(err)
	}
	admin := driver.NewClient(o)
	if err := admin.Do(t.Context(), args...).Err(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(admin.Do(context.Background(), "ACL", "DELUSER", user).Err(), admin.Close()); err != nil {
			t.Error(err)
		}
	})
	u, err := url.Parse(uri)
	if err != nil {
		t.Fatal(err)
	}
	u.User = url.UserPassword(user, password)
	return u.String()
}

// The documented permissions suffice.
func TestCoordinatorConforms(t *testing.T) {
	conform.Coordinator(t, func(t *testing.T) *backend.Ports {
		name := devstack.Name(t)
		uri := withUser(t, name, "hunter2", documentedACL(t, name, "hunter2", name+":"))
		c, err := redis.Dial(t.Context(), redis.Config{URI: uri, Prefix: name + ":"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := c.Close(); err != nil {
				t.Error(err)
			}
		})
		return &backend.Ports{Coordinator: c}
	}, conform.Options{})
}

// A missing permission is reported when the server is first reached, not when it is needed.
func TestMissingPermissionFailsPing(t *testing.T) {
	for _, no := range []string{"-evalsha", "-publish", "-subscribe", "-unsubscribe", "-hset", "-hgetall", "-zadd",
		"-time", "-pexpire", "resetkeys", "resetchannels"} {
		name := devstack.Name(t)
		uri := withUser(t, name, "hunter2", append(documentedACL(t, name, "hunter2", name+":"), no))
		_, err := redis.Dial(t.Context(), redis.Config{URI: uri, Prefix: name + ":"})
		if !errors.Is(err, backend.ErrPermissionDenied) || !strings.Contains(err.Error(), "redis at 127.0.0.1:") ||
			strings.Contains(err.Error(), "hunter2") {
			t.Errorf("with %s: %v", no, err)
		}
	}
}

// While the server is down operations fail at once. When it is back everything works again, including subscriptions.
func TestRecoveryAfterOutage(t *testing.T) {
	server := devstack.Prepare(t, devstack.RedisKV)
	c, err := redis.Open(redis.Config{URI: server.URI, Prefix: "af:"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Close(); err != nil {
			t.Error(err)
		}
	})
	await := func(up bool) {
		t.Helper()
		for end := time.After(30 * time.Second); ; {
			changed, err := c.State()
			if (err == nil) == up {
				return
			}
			select {
			case <-changed:
			case <-end:
				t.Fatalf("up is not %v: %v", up, err)
			}
		}
	}
	if err := c.Ping(t.Context()); !errors.Is(err, backend.ErrUnavailable) {
		t.Fatal(err)
	}
	events, ctx := make(chan string, 100), t.Context()
	go func() { _ = c.Subscribe(ctx, "topic", func(n json.RawMessage) { events <- string(n) }) }()
	for range 2 {
		await(false)
		begun := time.Now()
		if _, err := c.Present(ctx, "worker"); !errors.Is(err, backend.ErrUnavailable) ||
			!errors.Is(err, backend.ErrServerDown) {
			t.Errorf("down: %v", err)
		}
		if took := time.Since(begun); took > 100*time.Millisecond {
			t.Errorf("unavailable after %v", took)
		}
		if err := server.Start(); err != nil {
			t.Fatal(err)
		}
		await(true)
		if err := c.Announce(ctx, "worker", "a", json.RawMessage("{}")); err != nil {
			t.Error(err)
		}
		testkit.Eventually(t, "events arrive", func() bool {
			if err := c.Publish(ctx, "topic", json.RawMessage(`1`)); err != nil {
				t.Error(err)
			}
			received := false
			for len(events) > 0 {
				received = <-events == "1" || received
			}
			return received
		})
		if err := server.Kill(); err != nil {
			t.Fatal(err)
		}
	}
}
