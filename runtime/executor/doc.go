// Package executor runs a function in a pool of goroutines or of child processes.
//
//	pool := executor.Goroutines(func(ctx context.Context, url string) (int, error) { … },
//		executor.Workers(20), executor.Retries(3), executor.Delay(time.Second))
//	ids, err := pool.SubmitBatch(ctx, urls)
//	err = pool.Start(ctx)
//	err = pool.Wait(ctx)
//	for _, r := range pool.Results() { … }
//	err = pool.Shutdown(ctx)
//
// Jobs are not stored: they are lost if the process dies. For durable work use the tasks and workers of package
// runtime.
//
// # Pools
//
// [Pool.Submit] and [Pool.SubmitBatch] queue jobs, before or after [Pool.Start]. The queue is bounded: if it is full,
// they block. A job runs until it succeeds, has no retries left or the pool ends. While it waits for a retry, it
// occupies no worker. [Pool.Wait] waits until all jobs have ended. [Pool.Results] and [Pool.Failed] return their
// results in the order of submission. [Pool.Shutdown] drains the pool, [Pool.Close] cancels its jobs.
//
// A panic fails the attempt with a [PanicError]. The context of a job ends with the cause [ErrTimeout], [ErrShutdown],
// or that of the context given to Start.
//
// # Processes
//
// A function that runs in child processes is registered by name in a package-level variable. In a child process, main
// must call [Main] first:
//
//	var resize = executor.Register("resize", func(ctx context.Context, p Picture) (Thumb, error) { … })
//
//	func main() {
//		executor.Main() // does not return in a child process
//		pool := executor.Processes(resize, executor.Workers(4), executor.Memory(512<<20))
//
// Arguments and results are sent as JSON, errors with their code, message and details. A child process runs one job at
// a time. If it crashes, or is killed because its job ignores the end of its context, the attempt fails with an
// [ExitError] and the process is replaced. Child processes end with their pool and with their parent, even if that is
// killed.
package executor
