package child

import (
	"encoding/json"
	"fmt"
	"os"
)

// Env is the environment variable that marks a child.
const Env = "AFGEN_CHILD"

// A Mark is the parent's configuration of a child.
type Mark struct {
	Kind   string          `json:"kind"` // the kind of child: "task", "executor"
	Name   string          `json:"name"` // what it runs
	Memory int64           `json:"memory,omitempty"`
	Data   json.RawMessage `json:"data,omitempty"` // specific to the kind

	// The child's ends of the pipe on systems without fixed file descriptors.
	In  uintptr `json:"in,omitempty"`
	Out uintptr `json:"out,omitempty"`
}

// A Child is this process as a child.
type Child struct {
	Mark
	*Conn
}

// self is set before main begins and never changes.
var self *Child

// Self returns this process as a child, or nil if it isn't one.
func Self() *Child { return self }

// init removes the mark before other code runs, because processes started by that code must not inherit it. It also
// makes this process exit if the parent dies while main is still initializing.
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

// Ready tells the parent to send requests. h serves them.
func (c *Child) Ready(h Handler) error {
	c.handler.Store(&h)
	return c.Notify(opReady, nil)
}
