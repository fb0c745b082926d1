// Package child runs work in child processes of the same binary: tasks of workers with isolation=process, and jobs of
// an executor's process pool.
//
// # Starting a child
//
// [Start] runs the program again with the same arguments and a [Mark] in its environment. In the child, the mark is
// removed from the environment before main begins, so that the child's own processes don't inherit it. The code that
// does the work calls [Self], reports that it is ready, and serves requests from a pipe.
//
// # The pipe
//
// A [Conn] carries frames of at most [MaxFrame] bytes in both directions. Both sides may send requests: the parent
// sends and cancels work, and the child uses the parent's store and logger. Each side serves at most 256 requests of
// the other at once, and the other doesn't send more. Notices are handled one at a time, in order.
//
// # Ending a child
//
// A child leads its own process group (not on Windows). [Process.Kill] kills the group. [Process.Quit] does so after
// the child has had a moment to write its stacks to stderr. [Process.Close] waits a moment for the child to exit,
// kills the rest of the group and reaps the child. Then all processes that the child has started are gone, unless
// they moved to another session. The group is killed before the child is reaped, while its id can't be reused. When
// the parent dies, the pipe closes and the child kills its group. On Linux, the kernel kills a child whose main has
// not begun.
//
// The child's stderr is forwarded to the parent's. The end of it is kept for [Process.Exit].
package child
