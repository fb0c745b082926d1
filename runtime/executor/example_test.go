package executor_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/afgen/afgen/runtime/executor"
)

func Example() {
	ctx := context.Background()
	pool := executor.Goroutines(func(ctx context.Context, name string) (string, error) {
		if name == "" {
			return "", errors.New("empty name")
		}
		return "hello, " + name, nil
	}, executor.Workers(20), executor.Retries(2), executor.Delay(10*time.Millisecond))
	if _, err := pool.SubmitBatch(ctx, []string{"Ada", "", "Grace"}); err != nil {
		fmt.Println(err)
	}
	if err := pool.Start(ctx); err != nil {
		fmt.Println(err)
	}
	if err := pool.Wait(ctx); err != nil {
		fmt.Println(err)
	}
	for _, r := range pool.Results() {
		fmt.Println(r.ID, r.Value, r.Err, r.Attempts)
	}
	fmt.Println(pool.Progress().Succeeded, "of", pool.Progress().Total, "- failed:", len(pool.Failed()))
	if err := pool.Shutdown(ctx); err != nil {
		fmt.Println(err)
	}
	// Output:
	// 0 hello, Ada <nil> 1
	// 1  empty name 3
	// 2 hello, Grace <nil> 1
	// 2 of 3 - failed: 1
}

// shout is registered in the parent and in its child processes.
var shout = executor.Register("shout", func(ctx context.Context, text string) (string, error) {
	return strings.ToUpper(text), nil
})

// In a program, main calls executor.Main first. Here TestMain does.
func ExampleProcesses() {
	ctx := context.Background()
	pool := executor.Processes(shout, executor.Workers(2), executor.Timeout(time.Minute))
	if err := pool.Start(ctx); err != nil {
		fmt.Println(err)
	}
	if _, err := pool.Submit(ctx, "from a child process"); err != nil {
		fmt.Println(err)
	}
	if err := pool.Shutdown(ctx); err != nil { // drains
		fmt.Println(err)
	}
	for _, r := range pool.Results() {
		fmt.Println(r.Value, r.Err)
	}
	// Output: FROM A CHILD PROCESS <nil>
}
