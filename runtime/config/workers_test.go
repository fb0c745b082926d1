package config_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/afgen/afgen/runtime/config"
)

func TestWorkersByQueue(t *testing.T) {
	got := parse(t, `
workers:
  resize: &small
    max: 4
    retries: 0
    timeout: none
    backoff: 2s
    backoff_max: 1m
  job.nightly: {timeout: "${LIMIT}"}
  other: *small
  unchanged:
  also-unchanged: {}
`, map[string]string{"LIMIT": "90s"})
	small := &config.Worker{Max: new(4), Retries: new(0), Timeout: new(time.Duration(0)), Backoff: new(2 * time.Second),
		BackoffMax: new(time.Minute)}
	want := config.Default()
	want.Workers = &config.Workers{Queues: map[string]*config.Worker{
		"resize": small, "other": small, "job.nightly": {Timeout: new(90 * time.Second)},
	}}
	equal(t, got, want)
	const printed = "map[job.nightly:{timeout:1m30s} " +
		"other:{max:4 retries:0 timeout:none backoff:2s backoff_max:1m0s} " +
		"resize:{max:4 retries:0 timeout:none backoff:2s backoff_max:1m0s}]"
	if text := fmt.Sprint(got.Workers); text != printed {
		t.Errorf("printed as %s", text)
	}
	for _, empty := range []string{"workers:", "workers: {}", "workers: {a: {}}"} {
		if parse(t, empty, nil) != config.Default() {
			t.Errorf("%q differs from the defaults", empty)
		}
	}
}

func TestWrongWorkersAreRefused(t *testing.T) {
	wrong(t, `workers:
  resize:
    maxx: 1
    max: 0
    timeout: 0s
    retries: -1
    backoff: 25h
  resize: {max: 1}
  "a queue": {max: 1}
  thumbs: 4
  mail: {backoff: 2m, backoff_max: 1m}
workerss: {}
`,
		`c.yaml:3:5: unknown key "maxx" in workers.resize; did you mean "max"?`,
		`c.yaml:4:10: workers.resize.max must be an integer from 1 to 10000, not "0"`,
		`c.yaml:5:14: workers.resize.timeout must be a duration with its unit, such as 5s or 2m30s, `+
			`more than 0 and at most 720h0m0s, or none, not "0s"`,
		`c.yaml:6:14: workers.resize.retries must be an integer from 0 to 1000, not "-1"`,
		`c.yaml:7:14: workers.resize.backoff must be a duration with its unit, such as 5s or 2m30s, `+
			`more than 0 and at most 24h0m0s, not "25h"`,
		`c.yaml:8:3: workers.resize is written twice, first in line 2`,
		`c.yaml:9:3: workers: a key must be the name of a queue: letters, digits, _, - and dots`,
		`c.yaml:10:11: workers.thumbs must be a mapping, not a single value`,
		`c.yaml:11:23: workers.mail.backoff_max is less than workers.mail.backoff`,
		`c.yaml:12:1: unknown key "workerss"; did you mean "workers"?`,
	)
	wrong(t, "workers: [resize]\n", `c.yaml:1:10: workers must be a mapping, not a list`)
}
