// Package bench has benchmarks that compare revisions of afgen, and tests that bound the cost of a call and a task.
// Command peers compares afgen with other systems; docs/benchmarks.md describes it.
// It is a separate module, which is never tagged, so that its dependencies never reach users.
//
// # Benchmarks
//
//	go test -run '^$' -bench . -benchmem
//
// Sub-benchmarks are named after the backend: memory (in the process), embedded (one SQLite file) and servers
// (RabbitMQ, MongoDB and Redis). Each benchmark starts with empty storage. Except in BenchmarkTask/…/submit, two Apps
// share it, one that calls or submits and one that serves or works, so that calls and tasks really cross the
// transport.
//
//	BenchmarkCall/BACKEND/callers=N       a call of 10 bytes, with N concurrent callers
//	BenchmarkTask/BACKEND/submit          Submit by one goroutine, without a worker
//	BenchmarkTask/BACKEND/end-to-end      8 submitters and 100 slots, from the first Submit to the last stored result
//	BenchmarkTask/BACKEND/drain           100 slots and stored tasks, from Start to the last stored result
//	BenchmarkIdle/BACKEND                 one task at a time, from Submit to the start of its run
//	BenchmarkGenerate/unchanged, edited   the generator as a library, with 200 annotated types
//
// Tasks have a payload of 128 bytes, and their handler does nothing. In addition to the metrics of package testing,
// benchmarks report:
//
//	calls/s, tasks/s    rates
//	p50-µs, p99-µs      latency of a call, or from Submit to the start of the run
//	storeops/task       calls on the Store port, without heartbeats, failure detection and cleanup
//	mongocmds/task      commands that these calls send to MongoDB
//
// Counting MongoDB's commands costs a few allocations for each of them.
//
// # Servers
//
// Package devstack starts the servers and skips the benchmark, with the reason, if that fails. AF_TEST_MONGO,
// AF_TEST_REDIS and AF_TEST_AMQP name servers to use instead.
//
// # Limits
//
// TestCostOfCall and TestCostOfTask count allocations and operations and compare them with a table. They never read a
// clock, so they also pass on a slow or busy machine.
//
// # Comparing two revisions
//
// Times vary between runs by more than most changes improve. Command ab builds these benchmarks against two
// revisions, runs both test binaries alternately and compares the samples with benchstat:
//
//	go run ./ab -bench 'Call/memory'                  # HEAD and the working tree
//	go run ./ab -before v0.3.0 -after HEAD -count 20
//
// # Comparing instruments
//
// With the build tag empty, the Apps have an instrument that does nothing, and with otel that of OpenTelemetry, with
// metrics and a sampler that keeps 1 % of the traces. So ab measures what they cost:
//
//	go run ./ab -before HEAD -after HEAD -after-tags otel -bench 'Call|Task|Idle'
//
// For this reason the benchmarks use little of the module: the public API, the ports, and devstack.
package bench
