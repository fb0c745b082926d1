// Package pipe connects an App to a child process that runs one of its tasks (isolation=process).
//
// # A child
//
// A child is this program, started again for one attempt at one task (see package child). As in the parent, its main
// opens Apps and registers workers. [Connect] returns a [Client], from which the App gets its ports instead of from a
// backend: a child has no connections of its own. The App with the queue's worker calls [Client.Claim] and then
// [Client.Serve], which runs the task and exits the process. All other Apps of the process are disconnected: their
// operations fail.
//
// The parent starts the child with [Children.Start], waits until it is ready, and calls [Process.Run]:
//
//	parent                                    child
//	Children.Start(Config)  ── Data ────────> Connect; main registers workers
//	                        <──────── ready ─ Client.Serve(Handler)
//	Process.Run             ── Task ────────> Handler.Run
//	Parent, backend.Ports   <───── requests ─   calls, submissions, progress, documents, WaitTask, …
//	                        ── replies ─────>
//	Parent.Wake             <──────── hints ─   Client.Wake
//	Config.Logs             <── log records ─   Client.Logs
//	Process.Drain           ── drain ───────> Handler.Drain
//	context of the task     ── cancel ──────> the handler's context ends, with the same cause
//	result or error         <──────── reply ─ exit
//
// # Requests
//
// A child's request is an operation of a port ([backend.Ports]) or of the [Parent]. The parent serves it with its own
// ports, so the backend sees one instance. The child refuses operations that only an App that claims tasks or serves
// calls needs. A request is cancelled when its caller's context ends. Hints and log records are notices without a
// reply: they keep their order and are handled before the task's result.
//
// Data that may exceed a frame of the pipe (see [child.MaxFrame]) is split: submissions, pages of tasks, lists of
// documents.
//
// # Errors
//
// Errors cross the pipe as a [child.Fault]. Errors of ports keep their code, message, details and outcome, and
// errors.Is finds ErrNoInstance and ErrStaleFence in them. Errors of a handler keep what determines the attempt's
// outcome: panics, permanent errors, snoozes, and payloads that do not decode. Both processes use the values in
// [Causes] as the causes of an ended context.
//
// # When a process dies
//
// If the child dies, its requests are cancelled in the parent, and Process.Run returns how it ended as a
// *[child.ExitError]. The hints and log records that it sent have been handled before. If the parent dies, the pipe
// closes, and the child kills itself and the processes that it has started. Its task then belongs to a dead instance,
// and another instance runs it again.
package pipe
