// Package runtime is what generated code stands on and what users call: transport, tasks and scheduling for services and
// workers that afgen has read. Import it as af, so that nobody takes it for the standard library's:
//
//	import af "github.com/afgen/afgen/runtime"
//
// # A program
//
// An [App] is one running instance. It is opened on a backend, takes registrations, and runs until its context ends or
// the process is told to stop:
//
//	app, err := af.Open(ctx, memory.New())
//	shop.RegisterCalc(app, &shop.Calc{})
//	err = app.Run(ctx)
//
// A process that only calls registers nothing. Clients and queues are generated; they cost nothing, do no I/O when they
// are made and may be made before the App starts:
//
//	sum, err := shop.NewCalcClient(app).Add(ctx, 1, 2)
//
// # A call, from end to end
//
// The generated method encodes its arguments into a [Call] and hands that to a [Caller]. The App's Caller passes it
// through client middleware, bounds it (deadline, size, calls in flight), puts it into an envelope and lets the
// backend's Calls port carry it to one instance. There it passes server middleware and reaches the [Handler] that the
// dispatch table has for the method, which decodes, calls your code and encodes the results. A panic in between is an
// error of that call and nothing else.
//
// # Jobs
//
// A job submits a task at set times: by //af:schedule, by Schedule on a queue, or a function by [HandleJob]. Every App fires
// jobs, and each due time makes one task in the cluster. [App.Jobs], [App.Fires] and their neighbours operate them.
//
// # Errors
//
// Every call fails with an [*Error]: a [Code], a message, typed details, and an [Outcome] that says whether repeating is
// safe. errors.Is works against codes and against the two errors of package context, on both sides of a wire.
//
// # Middleware
//
// [ClientMiddleware] wraps a Caller and [ServerMiddleware] wraps a Handler, as plain functions. Tracing needs no more:
// the client side adds traceparent to [Call.Headers], the server side reads it from [Request], and each sees its context,
// its result and its error.
package runtime
