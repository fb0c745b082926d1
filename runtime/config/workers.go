package config

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"gopkg.in/yaml.v3"
)

// Workers overrides settings of workers. It is behind a pointer in Config, so that a Config stays comparable.
type Workers struct {
	Queues map[string]*Worker // by queue
}

// String returns the settings, sorted by queue.
func (w *Workers) String() string {
	if w == nil {
		return "<nil>"
	}
	return fmt.Sprint(w.Queues)
}

// Worker overrides settings of the worker of one queue. Nil fields leave them to the program.
type Worker struct {
	Max        *int
	Retries    *int
	Timeout    *time.Duration // 0 means none
	Backoff    *time.Duration
	BackoffMax *time.Duration // not less than Backoff
}

// String returns the keys that are set, with their values.
func (w Worker) String() string {
	var set []string
	add := func(name string, is bool, value func() any) {
		if is {
			set = append(set, fmt.Sprint(name, ":", value()))
		}
	}
	add("max", w.Max != nil, func() any { return *w.Max })
	add("retries", w.Retries != nil, func() any { return *w.Retries })
	add("timeout", w.Timeout != nil, func() any {
		if *w.Timeout == 0 {
			return "none"
		}
		return *w.Timeout
	})
	add("backoff", w.Backoff != nil, func() any { return *w.Backoff })
	add("backoff_max", w.BackoffMax != nil, func() any { return *w.BackoffMax })
	return "{" + strings.Join(set, " ") + "}"
}

// anyQueue is the placeholder for the name of a queue in [Keys].
const anyQueue = "QUEUE"

// workerRows returns the keys of the worker of a queue.
func workerRows(queue string) []row {
	section := "workers." + queue
	at := func(c *Config) *Worker {
		if c.Workers == nil {
			c.Workers = &Workers{map[string]*Worker{}}
		}
		if c.Workers.Queues[queue] == nil {
			c.Workers.Queues[queue] = new(Worker)
		}
		return c.Workers.Queues[queue]
	}
	const day = 24 * time.Hour
	return []row{
		mapping(section, "the worker of the queue QUEUE: overrides its directive and the options of its registration", nil),
		key(section+".max", optional(integer(1, 10_000)), "", "maximum number of concurrent tasks per instance",
			func(c *Config) **int { return &at(c).Max }),
		key(section+".retries", optional(integer(0, 1000)), "", "number of attempts after the first one fails",
			func(c *Config) **int { return &at(c).Retries }),
		key(section+".timeout", optional(none(span(1, 30*day))), "", "timeout of each attempt; none removes the worker's",
			func(c *Config) **time.Duration { return &at(c).Timeout }),
		key(section+".backoff", optional(span(1, day)), "", "delay before the first retry; doubles with each retry",
			func(c *Config) **time.Duration { return &at(c).Backoff }),
		key(section+".backoff_max", optional(span(1, 30*day)), "", "the longest delay before a retry",
			func(c *Config) **time.Duration { return &at(c).BackoffMax }),
	}
}

// maxQueueName is the length of the longest name of a worker, or of a job of a function with a plain id.
const maxQueueName = 255

// workers reads the section of that name, whose keys are names of queues.
func (d *decoder) workers(n *yaml.Node) {
	first := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		k, v := n.Content[i], n.Content[i+1]
		at := positionOf(k)
		if k.Kind != yaml.ScalarNode || k.Tag == "!!merge" || !isPlain(k.Value, maxQueueName) {
			// A misplaced value may be a secret, so it is not printed.
			d.report(at, "workers", "workers: a key must be the name of a queue: letters, digits, _, - and dots")
			continue
		}
		rows := workerRows(k.Value)
		section := rows[0].Name
		if line, twice := first[section]; twice {
			d.report(at, section, section+" is written twice, first in line "+strconv.Itoa(line))
			continue
		}
		first[section] = at.line
		if d.section(rows[0], at, v, rows[1:]) && d.config.Workers != nil {
			d.checkWorker(section, d.config.Workers.Queues[k.Value])
		}
	}
}

// checkWorker reports a maximum that is less than the first delay.
func (d *decoder) checkWorker(section string, w *Worker) {
	if w != nil && w.Backoff != nil && w.BackoffMax != nil && *w.BackoffMax < *w.Backoff {
		d.report(d.given[section+".backoff_max"].at, section+".backoff_max", section+".backoff_max is less than "+section+".backoff")
	}
}
