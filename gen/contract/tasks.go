package contract

import (
	"fmt"
	"maps"
	"slices"

	"github.com/afgen/afgen/gen/ir"
)

// A taskPair has the changes of a queue's payload and result.
type taskPair struct {
	queue           string
	payload, result []change
	lostResult      string // the type of the result, if it was removed
}

func (p taskPair) payloadChanged() (messages []string) {
	for _, ch := range p.payload {
		messages = append(messages, fmt.Sprintf("payload of %s: %s", p.queue, ch))
	}
	return messages
}

func (p taskPair) resultChanged() (messages []string) {
	if p.lostResult != "" {
		return message("result of %s (%s) was removed", p.queue, p.lostResult)
	}
	for _, ch := range p.result {
		if ch.kind != added {
			messages = append(messages, fmt.Sprintf("result of %s: %s", p.queue, ch))
		}
	}
	return messages
}

// task compares the payload and result of a queue.
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
	pair.payload, _, err = changes(p.old.worker.Payload.Type, &p.now.payload)
	if err != nil || p.old.worker.Result == nil {
		return pair, err
	}
	pair.result, pair.lostResult, err = changes(p.old.worker.Result.Type, p.now.result)
	return pair, err
}

// A jobPair is a job of an older contract and of the current code.
type jobPair struct {
	queue, id string
	was, is   Job
	gone      bool
}

func (p jobPair) deleted() []string {
	if !p.gone {
		return nil
	}
	return message("job %s of %s was removed", p.id, p.queue)
}

func (p jobPair) changed() []string {
	if p.gone || p.was.Cron == p.is.Cron && p.was.Zone == p.is.Zone {
		return nil
	}
	return message("job %s of %s: schedule changed from %q (%s) to %q (%s)",
		p.id, p.queue, p.was.Cron, p.was.Zone, p.is.Cron, p.is.Zone)
}

// jobPairs pairs the jobs of a worker by id.
func jobPairs(p endpointPair) []jobPair {
	var all []jobPair
	for _, id := range slices.Sorted(maps.Keys(p.old.worker.Jobs)) {
		is, still := p.now.worker.Jobs[id]
		all = append(all, jobPair{p.old.name, id, p.old.worker.Jobs[id], is, !still})
	}
	return all
}
