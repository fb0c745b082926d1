package redis_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/afgen/afgen/internal/conform"
	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/redis"
)

func TestMain(m *testing.M) {
	// The test that starts a server waits for its process as long as that runs: longer than this package's tests.
	goleak.VerifyTestMain(m, goleak.IgnoreAnyFunction("github.com/afgen/afgen/internal/devstack.(*Server).Start.func1"))
}

func TestCoordinatorConforms(t *testing.T) {
	conform.Coordinator(t, func(t *testing.T) *backend.Ports {
		c, err := redis.Dial(t.Context(), redis.Config{URI: devstack.Redis(t), Prefix: devstack.Name(t) + ":"})
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
