package backend

import (
	"errors"
	"time"
)

// A Condition is how something that a backend rests on stands, such as a server, as last seen: asking waits for nobody.
type Condition struct {
	Name  string    `json:"name"` // such as "rabbitmq"
	Up    bool      `json:"up"`
	Since time.Time `json:"since"`           // by this machine's clock
	Cause string    `json:"cause,omitempty"` // why it is down; addresses, and never a secret

	// Mode names what the App is in while this is down, Works and Lost say what that means, and Stops what
	// doesn't work at all. They are the same whether it is down or not.
	Mode  string    `json:"mode"`
	Works string    `json:"works"`
	Lost  string    `json:"lost"`
	Stops []Stopped `json:"stops,omitempty"`
}

// Stopped is a purpose of Apps that a Condition may put an end to.
type Stopped string

// The two.
const (
	StopsCalls Stopped = "calls" // calls are neither made nor answered
	StopsTasks Stopped = "tasks" // tasks are neither submitted nor run
)

// ErrStoreFull is wrapped by the errors of a store that has no room for anything: no item is to blame.
var ErrStoreFull = errors.New("the store is full")

// ErrServerDown is wrapped by the errors of operations on a server that is known to be unavailable: retrying at once is pointless.
var ErrServerDown = errors.New("the server is away")
