package instrument

import (
	"time"

	"github.com/afgen/afgen/runtime/backend"
)

// MaxSystemQueues is the number of queues that a [System] has at most. Further ones, by name, are left out.
const MaxSystemQueues = 500

// A System is what gauges show of the whole system: see af.App.System. All Apps have the same one.
type System struct {
	Time      time.Time     // when it was read, by the store's clock
	Queues    []SystemQueue // sorted by name
	Instances int           // that are running; -1 if unknown, since the coordinator is unavailable
}

// A SystemQueue is a queue of a [System].
type SystemQueue struct {
	Name string
	// Tasks has the number of tasks by status, of those that have not ended. A status without tasks is missing. On
	// servers, up to 10,000 tasks of each status are counted.
	Tasks   map[backend.Status]int
	Oldest  time.Duration // for how long a task has been ready to run; 0 if none is
	Paused  bool
	Workers int // instances with its worker that are not shutting down; -1 if unknown
}
