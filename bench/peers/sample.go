package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// A result has the values of one sample by metric.
type result map[string]float64

// only returns a result with one value.
func only(v float64) result { return result{"": v} }

// A scenario measures the system of a world.
type scenario func(ctx context.Context, w *world) (result, error)

// scenarios are all scenarios by name.
var scenarios = map[string]scenario{
	"submit-1":    submitting(1),
	"submit-8":    submitting(8),
	"submit-64":   submitting(64),
	"submit-many": submittingMany,
	"drain-10":    draining(10),
	"drain-100":   draining(100),
	"end-to-end":  endToEnd,
	"idle":        idle,
	"call-1":      calling(1, false),
	"call-64":     calling(64, false),
	"call-256":    calling(256, false),
	"local-call":  calling(1, false),
	"remote-call": calling(1, true),
	"kill":        killing,
	"growth":      growing,
	"generate":    generating,
}

// variable is the environment variable with the site, in JSON, for the processes that this command starts.
const variable = "PEERS_SITE"

// A site has the addresses of servers, and a directory. Addresses of servers that are unavailable are "".
type site struct {
	Root      string // of the afgen that is measured
	Dir       string // for files and sockets
	Mongo     string // in a sample: with its database
	AMQP      string // in a sample: with its virtual host
	AMQPAdmin string // base of RabbitMQ's HTTP API
	Redis     string
	RedisAOF  string // keeps an append-only file; emptied by each sample that uses it
	Postgres  string // emptied by each sample that uses it
}

// siteFromEnvironment returns the site that the starting process has passed.
func siteFromEnvironment() (s site, err error) {
	if err := json.Unmarshal([]byte(os.Getenv(variable)), &s); err != nil {
		return site{}, fmt.Errorf("%s: %w", variable, err)
	}
	return s, nil
}

// environment returns the environment of a process on this site.
func (s site) environment() ([]string, error) {
	text, err := json.Marshal(s)
	return append(os.Environ(), variable+"="+string(text)), err
}

// A world is what a scenario measures: a system on a site.
type world struct {
	site
	system string
	quick  bool
}

// n returns a number of repetitions, or few of them for a quick run.
func (w *world) n(n int) int {
	if w.quick {
		return min(n, max(n/100, 20))
	}
	return n
}

// period returns for how long a rate is measured.
func (w *world) period() time.Duration {
	if w.quick {
		return 50 * time.Millisecond
	}
	return 1500 * time.Millisecond
}

// takeSample takes the sample o.sample, "scenario system", and writes the result in JSON.
func takeSample(ctx context.Context, o arguments, out io.Writer) (err error) {
	name, system, _ := strings.Cut(o.sample, " ")
	measure := scenarios[name]
	if measure == nil {
		return fmt.Errorf("-sample: there is no scenario %q", name)
	}
	w := &world{system: system, quick: o.quick}
	if w.site, err = siteFromEnvironment(); err != nil {
		return err
	}
	leave, err := w.enter(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, leave(context.WithoutCancel(ctx))) }()
	r, err := measure(ctx, w)
	if err != nil {
		return err
	}
	return json.NewEncoder(out).Encode(r)
}

// median sorts values and returns their median. It needs at least one.
func median(values []float64) float64 {
	sorted := sortedCopy(values)
	return (sorted[(len(sorted)-1)/2] + sorted[len(sorted)/2]) / 2
}

// micros returns a duration in microseconds.
func micros(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }
