// Package pipe connects an App to a child process that runs one of its tasks (isolation=process).
//
// # A child
//
// A child is this program, started again for one attempt at one task (see package child). Its main opens Apps, and registers
// workers, as it does in the parent. There [Connect] finds out that the process is a child, and the App gets its ports from a
// [Client] instead of a backend: a child has no connections of its own. The App that has the worker of the queue calls
// [Client.Claim], and then [Client.Serve], which runs the task and ends the process. All other Apps of the process are
// disconnected: their operations fail.
//
// The parent starts the child by [Children.Start], waits until it is ready, and calls [Process.Run]:
//
//	parent                                    child
//	Children.Start(Config)  ── Data ────────> Connect, main registers workers
//	                        <──────── ready ─ Client.Serve(Handler)
//	Process.Run             ── Task ────────> Handler.Run
//	Parent, backend.Ports   <───── requests ─   calls, submissions, progress, documents, WaitTask, …
//	                        ── replies ─────>
//	Config.Logs             <── log records ─   and hints (Wake)
//	Process.Drain           ── drain ───────> Handler.Drain
//	context of the task     ── cancel ──────> context of the handler ends, with the same cause
//	result or error         <──────── reply ─ exit
//
// # Requests
//
// A child's request is an operation of a port ([backend.Ports]) or of the [Parent]. The parent serves it with its own ports, so that
// the backend sees one instance. What only an App needs that claims tasks or serves calls is refused in the child. A request
// is cancelled when the child's context ends. Hints and log records are notices without a reply: they keep their order, and
// arrive before the result of the task.
//
// What may be larger than a frame of the pipe (see [child.MaxFrame]) is split: submissions, pages of tasks, lists of documents.
//
// # Errors
//
// Errors cross as a [child.Fault]. Those of ports keep code, message, details and outcome, and ErrNoInstance and ErrStaleFence
// are found by errors.Is. Those of a handler keep what the engine decides by: panics, permanent errors, snoozes, payloads that do not
// decode. Causes of a context's end are translated to the values in [Causes], with which handlers compare them.
//
// # When a side dies
//
// If the child dies, its requests are cancelled in the parent, and Process.Run returns how it ended as a [*child.ExitError]. What it
// has sent before, hints and log records included, has been handled by then. If the parent dies, the pipe closes, and the child kills
// itself and what it has started. Its task is then that of a dead instance, and runs again elsewhere.
package pipe
