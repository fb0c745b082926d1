//go:build unix

package servers_test

import "github.com/afgen/afgen/internal/mongoproxy"

// The commands that tests wait for.
var (
	inserts  = mongoproxy.Inserts("tasks")
	claims   = mongoproxy.Sets("tasks", "status", "running")
	settles  = mongoproxy.Sets("tasks", "settled")
	expiries = mongoproxy.Sets("owners", "convicted")
	hints    = mongoproxy.Sets("tasks", "hints")
)

// The journal has all changes of tasks; of owners, it leaves out heartbeats.
var journal = map[string]mongoproxy.Matcher{"tasks": mongoproxy.Writes("tasks"), "owners": expiries}

// purpose returns what a command is for.
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
