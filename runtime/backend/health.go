package backend

import (
	"errors"
	"time"
)

// A Condition is the last known state of a dependency of a backend, such as a server.
type Condition struct {
	Name  string    `json:"name"` // such as "rabbitmq"
	Up    bool      `json:"up"`
	Since time.Time `json:"since,omitzero"`  // by this machine's clock; zero if Up has never changed
	Cause string    `json:"cause,omitempty"` // why it is down; may contain addresses, never secrets

	// Mode names the App's mode of operation while the dependency is down. Works and Lost describe that mode, and Stops
	// lists what doesn't work at all. These fields don't depend on Up.
	Mode  string    `json:"mode"`
	Works string    `json:"works"`
	Lost  string    `json:"lost"`
	Stops []Stopped `json:"stops,omitempty"`
}

// Stopped is a capability of Apps that is unavailable while a Condition is down.
type Stopped string

const (
	StopsCalls Stopped = "calls" // no calls are sent or served
	StopsTasks Stopped = "tasks" // no tasks are submitted or run
)

// ErrStoreFull is wrapped by errors that a Store returns because it is out of space, whatever the item is.
var ErrStoreFull = errors.New("the store is full")

// ErrServerDown is wrapped by errors of operations that were not attempted because a server is known to be unavailable.
// An immediate retry fails, too.
var ErrServerDown = errors.New("the server is unavailable")
