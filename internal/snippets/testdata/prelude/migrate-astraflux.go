package prelude

import (
	"github.com/afgen/afgen/examples/servers/subtestserver"
	"github.com/afgen/afgen/examples/servers/testserver"
)

var (
	job   testserver.Job
	tests *testserver.TestWorkerQueue
	pool  *executor.Pool[string, int]
	urls  []string
)

func fetch(ctx context.Context, url string) (int, error) { return 0, nil }

var resize *executor.Function[string, int]
