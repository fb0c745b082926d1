// Package executor runs functions in a pool: of goroutines, or of child processes of the same binary.
//
//	pool := executor.Goroutines(func(ctx context.Context, url string) (int, error) { … },
//		executor.Workers(20), executor.Retries(3), executor.Delay(time.Second))
//	ids, err := pool.SubmitBatch(ctx, urls)
//	err = pool.Start(ctx)
//	err = pool.Wait(ctx)
//	for _, r := range pool.Results() { … }
//	err = pool.Shutdown(ctx)
//
// Nothing of it outlives the process: for work that must, there are tasks and workers (package runtime).
//
// # A pool
//
// [Pool.Submit] and [Pool.SubmitBatch] queue jobs, before [Pool.Start] or after. The queue is bounded: a full one makes
// Submit wait. Each job runs until it succeeds, has used up its retries, or the pool ends; between attempts it waits
// without holding a worker. [Pool.Progress] counts exactly, [Pool.Results] and [Pool.Failed] are in the order of submission,
// [Pool.Wait] waits until nothing is queued, runs or waits to be retried. [Pool.Shutdown] drains; [Pool.Close] doesn't.
//
// A panic is the error of its attempt ([PanicError]). The context of a job ends with a cause: [ErrTimeout], [ErrShutdown],
// or that of the context that Start was given.
//
// # Processes
//
// A function that is to run in child processes is registered by name, when the program begins, and main lets a child do its
// part before anything else:
//
//	var resize = executor.Register("resize", func(ctx context.Context, p Picture) (Thumb, error) { … })
//
//	func main() {
//		executor.Main() // in a child it doesn't return
//		pool := executor.Processes(resize, executor.Workers(4), executor.Memory(512<<20))
//
// Arguments and results cross as JSON, errors with their code, message and details. A child runs one job at a time and
// one after another. One that crashes, or that is killed because its job ignored the end of its context, fails the attempt
// ([ExitError]) and is replaced. Children go with their pool, and with their parent, whatever that dies of; package child
// says how.
package executor
