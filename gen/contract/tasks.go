package contract

import (
	"fmt"
	"maps"
	"slices"

	"github.com/afgen/afgen/gen/ir"
)

// A taskPair is what the tasks of a queue carry, then and now.
type taskPair struct {
	queue           string
	payload, result []change
	lostResult      string // the type of the result, if it is gone
}

func (p taskPair) payloadChanged() (messages []string) {
	for _, ch := range p.payload {
		messages = append(messages, fmt.Sprintf("payload of %s: %s", p.queue, ch))
	}
	return messages
}

func (p taskPair) resultChanged() (messages []string) {
	if p.lostResult != "" {
		return message("result of %s (%s) is gone", p.queue, p.lostResult)
	}
	for _, ch := range p.result {
		if ch.kind != added {
			messages = append(messages, fmt.Sprintf("result of %s: %s", p.queue, ch))
		}
	}
	return messages
}

// task compares what a queue's tasks carry with what an older contract says of it.
func (c *comparison) task(p endpointPair) (taskPair, error) {
	pair := taskPair{queue: p.old.name}
	changes := func(old string, now *ir.Type) ([]change, string, error) {
		was, err := c.old.parse(old)
		if err != nil {
			return nil, "", err
		}
		if now == nil {
			return nil, spelling(c.defs, was), nil
		}
		return differences(c.defs, p.now.pkg, was, *now), "", nil
	}
	var err error
	if pair.payload, _, err = changes(p.old.worker.Payload.Type, &p.now.payload); err != nil || p.old.worker.Result == nil {
		return pair, err
	}
	pair.result, pair.lostResult, err = changes(p.old.worker.Result.Type, p.now.result)
	return pair, err
}

// A jobPair is a job that an older contract declares with a worker, and what it is now.
type jobPair struct {
	queue, id string
	was, is   Job
	gone      bool
}

func (p jobPair) deleted() []string {
	if !p.gone {
		return nil
	}
	return message("job %s of %s is gone", p.id, p.queue)
}

func (p jobPair) changed() []string {
	if p.gone || p.was.Cron == p.is.Cron && p.was.Zone == p.is.Zone {
		return nil
	}
	return message("job %s of %s was due at %q (%s) and is at %q (%s)", p.id, p.queue, p.was.Cron, p.was.Zone, p.is.Cron, p.is.Zone)
}

// jobPairs looks for the jobs of a worker in the code of now, by id.
func jobPairs(p endpointPair) []jobPair {
	var all []jobPair
	for _, id := range slices.Sorted(maps.Keys(p.old.worker.Jobs)) {
		is, still := p.now.worker.Jobs[id]
		all = append(all, jobPair{p.old.name, id, p.old.worker.Jobs[id], is, !still})
	}
	return all
}
