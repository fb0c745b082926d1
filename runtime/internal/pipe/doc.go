// Package pipe connects an App to a child process that runs one of its tasks (isolation=process).
//
// # A child
//
// A child is this program, started again for one attempt at one task (see package child). Its main opens Apps and
// registers workers, as it does in the parent. There [Connect] returns a [Client], and the App gets its ports from
// that instead of a backend: a child has no connections of its own. The App that has the worker of the queue calls
// [Client.Claim] and then [Client.Serve], which runs the task and ends the process. All other Apps of the process are
// disconnected: their operations fail.
//
// The parent starts the child by [Children.Start], waits until it is ready, and calls [Process.Run]:
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
// ports, so the backend sees one instance. The child refuses operations that only an App needs that claims tasks or
// serves calls. A request is cancelled when the context of its caller ends. Hints and log records are notices, without
// a reply: they keep their order, and are handled before the result of the task.
//
// What may be larger than a frame of the pipe (see [child.MaxFrame]) is split: submissions, pages of tasks, lists of
// documents.
//
// # Errors
//
// Errors cross the pipe as a [child.Fault]. Those of ports keep their code, message, details and outcome, and
// errors.Is finds ErrNoInstance and ErrStaleFence in them. Those of a handler keep what decides how the attempt ends:
// panics, permanent errors, snoozes, payloads that do not decode. The causes of a context's end are the values in
// [Causes] in both processes.
//
// # When a process dies
//
// If the child dies, its requests are cancelled in the parent, and Process.Run returns how it ended, as a
// *[child.ExitError]. The hints and log records that it has sent have been handled by then. If the parent dies, the
// pipe closes, and the child kills itself and the processes that it has started. Its task is one of a dead instance
// then, and another instance runs it again.
package pipe
