//go:build unix

package servers_test

import "github.com/afgen/afgen/internal/mongoproxy"

// Commands that tests wait for.
var (
	inserts  = mongoproxy.Inserts("tasks")
	claims   = mongoproxy.Sets("tasks", "status", "running")
	settles  = mongoproxy.Sets("tasks", "settled")
	expiries = mongoproxy.Sets("owners", "convicted")
	hints    = mongoproxy.Sets("tasks", "hints")
)

// journal records all changes of tasks, and changes of owners except heartbeats.
var journal = map[string]mongoproxy.Matcher{"tasks": mongoproxy.Writes("tasks"), "owners": expiries}

// purpose returns the purpose of a command.
func purpose(c *mongoproxy.Command) string {
	switch {
	case inserts(c):
		return "insert"
	case claims(c):
		return "claim"
	case settles(c):
		return "settle"
	case hints(c):
		return "mark hints"
	}
	return c.Purpose()
}
