// Package child runs pieces of work in child processes of the same binary: tasks of workers with isolation=process, and
// the jobs of an executor's pool of processes.
//
// # How a child comes to be
//
// [Start] runs the program again, with the same arguments and a [Mark] in its environment. In the child the mark is read
// and taken out of the environment before main begins, so that what the child starts itself is not taken for one. Whoever
// is to do the work there asks [Self], says that it is ready and serves the requests that come over a pipe.
//
// # The pipe
//
// A [Conn] carries frames both ways, at most [MaxFrame] bytes each. Either side may make requests:
// the parent hands over work and cancels it, the child asks for what the parent has (a store, a logger). The parent serves
// at most 256 requests of a child at once, and a child doesn't send more; notices are handled one by one, in order.
//
// # How it ends
//
// A child is the leader of a process group of its own (not on Windows). [Process.Kill] kills the group, [Process.Quit] does so
// after the child has had a moment to write its stacks to stderr, [Process.Close]
// waits a moment for the child to go by itself, kills what is left of the group and reaps the child: what the child has
// started and not put into a session of its own is gone then, too. The group is killed before the child is reaped, while
// its number can't be another's. When the parent dies, of whatever, the pipe closes, and the child kills its group. On
// Linux the kernel does that for a child whose main has not begun.
//
// What a child writes to stderr goes to the parent's, and the last of it is kept for [Process.Exit] to tell.
package child
