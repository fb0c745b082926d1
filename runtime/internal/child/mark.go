package child

import (
	"encoding/json"
	"fmt"
	"os"
)

// Env is the variable that marks a child.
const Env = "AFGEN_CHILD"

// A Mark is what a child is told of itself.
type Mark struct {
	Kind   string          `json:"kind"` // whose child it is: "task", "executor"
	Name   string          `json:"name"` // of what it is to run
	Memory int64           `json:"memory,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"` // for those of its kind

	// The child's ends of the pipe, where they have no fixed numbers.
	In  uintptr `json:"in,omitempty"`
	Out uintptr `json:"out,omitempty"`
}

// A Child is this process's view of itself as a child.
type Child struct {
	Mark
	*Conn
}

// self is set before main begins and never again: whether a process is a child doesn't change.
var self *Child

// Self returns what this process is as a child; nil where it is none.
func Self() *Child { return self }

// init takes the mark before anybody else's code runs: what that code starts must not inherit it, and when the parent dies
// while main still prepares itself, this process dies too.
func init() {
	text, marked := os.LookupEnv(Env)
	if !marked {
		return
	}
	os.Unsetenv(Env)
	c := &Child{}
	err := json.Unmarshal([]byte(text), &c.Mark)
	if err == nil {
		err = limitMemory(c.Memory)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", Env, err)
		os.Exit(2)
	}
	in, out := ends(c.Mark)
	c.Conn = newConn(in, out)
	self = c
	go func() {
		c.read()
		killOwnGroup()
		os.Exit(2)
	}()
	orphaned()
}

// Ready tells the parent that requests may come: h serves them.
func (c *Child) Ready(h Handler) error {
	c.handler.Store(&h)
	return c.Notify(opReady, nil)
}
