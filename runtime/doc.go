// Package runtime runs services, workers and cron jobs. afgen generates the code that connects them to it. Import it as
// af:
//
//	import af "github.com/afgen/afgen/runtime"
//
// An [App] is one running instance of a program. Open it on a backend, register services and workers, and run it:
//
//	app, err := af.Open(ctx, memory.New())
//	shop.RegisterOrders(app, &shop.Orders{}) // a service: methods that other processes call
//	shop.RegisterResize(app, &shop.Resize{}) // a worker: runs the tasks of one queue
//	err = app.Run(ctx)                       // until ctx ends or SIGTERM, then drains
//
// Any process with an App makes calls and submits tasks, through generated clients and queues:
//
//	order, err := shop.NewOrdersClient(app).Get(ctx, 42)
//	id, err := shop.NewResizeQueue(app).Submit(ctx, picture)
//
// The rest of this comment is an index of the package by topic.
//
// # Programs
//
//   - [Open] opens an App on a [Backend] with options, each an [AppOption]. Packages memory, embedded, servers and auto
//     provide backends.
//   - [App.Run] starts the App, waits for a signal and drains it. [App.Start] and [App.Shutdown] do so without signals.
//   - [DrainTimeout] limits the time for draining. [Draining] tells handlers that it has begun, [App.Stopping] other
//     servers of the program.
//   - [App.Instance] returns the [Instance] that an App is to others, [InstanceFrom] that of a handler. [IP] and
//     [Version] set what it reports.
//   - [App.NewID] returns a random id, [App.Snowflake] one that sorts by time.
//   - [App.Native] returns the backend's own handle, such as a database. [App.Power] is its old name.
//
// # Calls
//
// A generated client sends a call to one instance of the service. If no instance is running the call fails at once with
// [ErrUnavailable]. The caller's deadline and cancellation reach the handler. A call passes the client middleware,
// travels to an instance, and passes the server middleware there, before the handler decodes the arguments and calls
// your method. A panic of the method fails that call only.
//
//   - [Timeout] and [WaitForReady] are options of a generated client, each a [CallOption]. Timeout is a
//     [TimeoutOption], which is an option of tasks and jobs, too.
//   - [App.Call] calls a method by its name, without a generated client.
//   - [WithMetadata] adds [Metadata] to the calls made and the tasks submitted with a context. [MetadataFrom] returns it
//     in the handler.
//   - [ClientMiddleware] wraps the [Caller] that sends each [Call]. [ServerMiddleware] wraps the [Handler] that handles
//     each [Request].
//   - [MaxInFlight] limits the calls in flight.
//
// # Tasks
//
// A generated queue embeds a [Queue], or a [VoidQueue] if the worker has no result. A submitted [Task] is stored. It
// runs at least once: if the process that runs it dies, another one runs it again.
//
// Submit:
//
//   - [VoidQueue.Submit], [VoidQueue.Store] and [VoidQueue.SubmitMany] submit tasks.
//   - [Delay], [RunAt], [Deadline], [Weight], [UniqueKey], [TaskID], [RequireWorker], Retries and Timeout are their options,
//     each a [SubmitOption]. [Created] tells whether the task is new.
//   - [SubmittedID] returns the id with which a submission can be repeated if its outcome is unknown.
//   - [SubmitMiddleware] wraps the [Submitter] that submits each [Submission].
//
// Split into subtasks:
//
//   - [VoidQueue.Subtasks] submits subtasks of a task. They run once the task itself has succeeded.
//   - [RunNow], [Batch] and [OnFailure], which takes a [FailurePolicy], are its options, each a [SubtaskOption]. It
//     also takes the options of Submit, except for TaskID and UniqueKey.
//   - [Subtasks] is what the worker's SubtasksDone gets when all of them have ended.
//
// Handle:
//
//   - [TaskFrom] returns the [Running] task of a handler: its id, its attempt, its fence. [Running.Progress] stores its
//     progress.
//   - [Snooze] and [Permanent] are errors for Run to return: run later, and do not retry.
//   - [WorkerMiddleware] wraps the [TaskHandler] of each worker and job.
//   - [ErrTaskStopped] and [ErrLeaseLost] are causes with which a handler's context ends.
//   - [Max], [Retries], [Timeout] and [Backoff] are options of a generated RegisterX function of a worker, each a
//     [WorkerOption]. Retries is a [RetriesOption]. [ConfigureWorker] sets them for an App. [RegisterWorker] describes
//     the method with which a worker chooses its own delays.
//   - [Lease], [MaxCrashes] and [WrongVersionAfter] determine when a task runs again and when it fails. [ChildMemory]
//     and [ChildGrace] limit child processes. [IsChildProcess] tells main that it is one.
//
// Wait and read:
//
//   - [Queue.Wait] and [Queue.Result] return the result of a task, [VoidQueue.Wait] and [VoidQueue.Result] its error.
//     [VoidQueue.Get] returns the task.
//   - [App.WaitTask], [App.GetTask] and [App.TaskStatus], which returns a [Status], do so for any queue. [ResultOf]
//     decodes the result of a task.
//   - [App.WaitTree] waits for a task with all of its subtasks, and returns a [Tree].
//   - [TaskError] is why a task failed or was stopped.
//   - [App.Tasks] lists tasks: see [TaskQuery], [TaskSort] and [TaskPage]. [Retention] determines how long finished
//     ones are kept.
//
// Stop and retry:
//
//   - [App.StopTask] stops a task and its subtasks.
//   - [App.RetryTask] submits a finished task again. [Payload] and [Replace], each a [RetryOption], change the payload
//     and delete the old task.
//   - [App.RunNow] makes a task due, [App.Reweigh] changes its weight, and [App.DeleteTask] deletes a finished one.
//   - [App.StopTasks], [App.RetryTasks] and [App.DeleteTasks] change the tasks of a query, a page a call: see
//     [BulkResult] and [BulkFailure]. [DryRun] is a [BulkOption].
//
// # Schedules
//
// A [Job] submits a task at each due time of a cron expression, or calls a function. All instances together submit one
// task for each due time, even if processes die. A worker declares its jobs by //af:schedule.
//
//   - [VoidQueue.Schedule] adds a job that submits tasks of a queue. [HandleJob] registers a function as a job,
//     and [HandleJobFunc] one without arguments.
//   - [Zone], [AllowIPs], [Missed] with a [MissedPolicy], [MissedWindow], [Overlap] with an [OverlapPolicy], [Disabled],
//     Retries and Timeout are their options, each a [JobOption]. HandleJob also has [Arguments] and [ChildProcess].
//   - [App.Job] returns a job. [App.Jobs] lists jobs: see [JobQuery], [JobSort] and [JobPage].
//   - [App.Fires] lists each [Fire] of a job, that is, its past due times: see [FireQuery], [FireSort] and [FirePage].
//   - [App.RunJob] runs a job now. [App.DisableJob] pauses it, [App.EnableJob] resumes it, and [App.RemoveJob] removes
//     it.
//   - [App.StartScheduler] and [App.StopScheduler] control the App's scheduler. [NoScheduler] opens an App without one.
//
// # Messages
//
//   - [App.Send] sends a raw message to a named queue, for programs without generated code.
//   - [App.Receive] and [ReceiveAs] receive the messages of a queue. [MessageFrom] returns the [Message] of a handler.
//   - [MaxAttempts], a [ReceiveOption], sets when a failing message becomes a [DeadLetter], with a [DeadReason].
//     [App.Requeue] sends dead letters back.
//
// # Logs and traces
//
//   - [Logger] and [LogTo] set where an App logs. [App.Logger] returns its logger.
//   - [LoggerFrom] returns a handler's logger, which adds the call or task to each record. [ContextHandler] does so for
//     a logger of your own.
//   - [WithTrace] and [TraceFrom] set and return the W3C traceparent of a context. It travels with calls and tasks.
//   - [Instrument] makes an [Instrumentation], which embeds [NoInstrument], observe an App: each call, submission,
//     attempt and raw message with its context, and events such as the end of a task. Traces and metrics are made of
//     these. [App.Load] tells how busy the App is, [App.System] how full the queues are, and [App.Instruments] returns
//     its instruments. Package instrument documents all of them.
//
// # Operating
//
//   - [App.Ready] reports whether the App can be given work. [App.Health] returns its [Health], with a [Condition] for
//     each server that it depends on.
//   - [App.PauseQueue] and [App.ResumeQueue] pause a queue on all instances.
//   - [App.UpdateMaxWorkers] and [App.ResetMaxWorkers] change how many of its tasks run at once. [Create] is a
//     [LimitOption] for queues that do not exist yet. [App.QueueLimits] returns the [Limits] that are set.
//   - [By] and [Reason] tell who makes a change and why. Each is an [ActionOption] of all changes of tasks, queues and
//     jobs. [App.Audit] lists each [AuditEntry], that is, each change with By: see [AuditQuery] and [AuditPage].
//     [App.Recorder] returns a [RecordFunc], with which programs add their own.
//   - [App.Instances] lists each [InstanceInfo]: see [InstanceQuery], [InstanceSort] and [InstancePage].
//   - [App.Services] lists each [ServiceInfo], with its methods ([MethodInfo]), instances ([ServiceInstance]) and load
//     ([ServiceLoad]): see [ServiceQuery], [ServiceSort] and [ServicePage].
//   - [App.Workers] lists each [WorkerInfo]: see [WorkerQuery], [WorkerSort] and [WorkerPage].
//   - [App.Queues] lists each [QueueInfo], and so queues without a worker.
//   - [App.History] returns each [HistoryPoint] of the last week: see [HistoryQuery], [Distribution] and [OtherQueues].
//   - [App.Ahead] returns the [Count] of tasks that run before a task, and [App.Now] the time of the store's clock. An
//     [Attempt] of a task has an [AttemptOutcome].
//   - A [TaskFilter], with each [PayloadMatch], restricts [App.Tasks] by conditions that have no index.
//   - [App.FollowLog] returns the log lines of a task while it runs.
//   - [Observer] opens an App that only reads and administers.
//   - [App.Nodes] lists each [Node], that is, each machine: see [NodeQuery], [NodeSort] and [NodePage].
//     [App.NodeHistory] returns each [NodeSample] of a machine. [NodeFacts] sets what an App reports of its machine.
//
// Package health serves Ready and Health over HTTP, for probes. Package httpstatus carries errors over HTTP.
//
// # Testing
//
//   - Package aftest gives a handler under test its task, records what code submits, and runs a test with an App in
//     virtual time: a retry after an hour takes microseconds. It simulates crashes and an unavailable store.
//   - [InProcess] runs tasks in the test's own process that otherwise run in child processes.
//
// # Errors
//
// Every failed call and operation returns an [*Error], or an error that wraps one. errors.Is(err, af.ErrNotFound)
// compares its [Code], also if the error occurred in another process. It works with the errors of package context, too.
//
//   - [NewError] and [Errorf] create an Error for a handler to return. A handler may also return a Code, or any other
//     error.
//   - [CodeOf] returns the Code of any error.
//   - [Detail] returns a typed detail of an error, which travels as an [ErrorDetail].
//   - [Outcome] reports whether the operation may have taken effect, that is, whether it is safe to repeat.
//   - [RedactErrors] hides the texts of unexpected errors from callers.
//
// # Plumbing for generated code
//
// Generated code uses the following. Programs seldom need it.
//
//   - Clients: [NewClient], [Client], [Method], [CallOptions] and [CallerFunc]. [App.Invoke] makes the App a Caller.
//   - Services: [RegisterService], [Service], [ServiceSpec], [MethodSpec], [Bind] and [Binding].
//   - Queues: [NewQueue], [NewVoidQueue], [TaskClient], [SubmitterFunc] and [TaskOptions]. [App.SubmitTasks] and
//     [App.PutJob] make the App a TaskClient.
//   - Workers: [RegisterWorker], [RegisterVoidWorker], [Worker], [WorkerSpec], [DeclaredJob], [JobSpec] and
//     [JobOptions].
//   - Registration: [App.AddService] and [App.AddWorker] make the App a [Registrar].
//   - Versions: [Generated1].
package runtime
