package admin

import (
	"fmt"
	"strconv"
	"time"

	af "github.com/afgen/afgen/runtime"
)

func (f *facts) ended() Finding {
	t := &f.task
	e := Evidence{Since: t.Ended, Instance: t.Instance, IP: t.IP, Attempt: t.Attempt}
	text := "It succeeded at " + clock(t.Ended, f.now)
	var help []string
	switch t.Status {
	case af.StatusFailed:
		text = "It failed at " + clock(t.Ended, f.now)
	case af.StatusStopped:
		text = "It was stopped at " + clock(t.Ended, f.now)
	}
	if t.Error != nil {
		e.Code, e.Message = t.Error.Code, t.Error.Message
		text += fmt.Sprintf(" with the error %s: %s", t.Error.Code, t.Error.Message)
	}
	if t.Status != af.StatusSuccess && t.RetriedBy == "" {
		help = append(help, "App.RetryTask submits it again.")
	}
	if t.RetriedBy != "" {
		help = append(help, "Task "+t.RetriedBy+" retries it.")
	}
	text = sentence(text)
	if t.Spawned && t.Subtasks == nil {
		text += " Its subtasks have not all ended."
	}
	return Finding{RuleEnded, text, e, help}
}

func (f *facts) stopping() Finding {
	e := f.whereItRuns()
	text := fmt.Sprintf("It was requested to stop, and its handler on %s has not returned yet.", e.place())
	return Finding{RuleStopping, text, e, []string{
		"Its context is cancelled: the handler must return when its context ends.",
	}}
}

func (f *facts) lost() Finding {
	e := f.whereItRuns()
	text := fmt.Sprintf("It was started at %s on %s, which is gone: another instance takes over when the lease expires.",
		clock(f.task.Started, f.now), e.place())
	return Finding{RuleLost, text, e, []string{"af.Lease sets how long that takes; a running instance with workers must be there."}}
}

func (f *facts) running() Finding {
	e := f.whereItRuns()
	text := fmt.Sprintf("It runs on %s since %s, for %s", e.place(), clock(f.task.Started, f.now),
		about(f.now.Sub(f.task.Started)))
	if !e.Progressed.IsZero() && !e.Progressed.Before(f.task.Started) {
		text += ", reported progress " + about(f.now.Sub(e.Progressed)) + " ago"
	}
	help := []string{"App.StopTask stops it."}
	if f.task.Timeout > 0 {
		e.Until = f.task.Started.Add(f.task.Timeout)
		if left := e.Until.Sub(f.now); left > 0 {
			text += ", and times out in " + about(left)
		} else {
			text += fmt.Sprintf("; its time-out passed %s ago, and its handler has not returned", about(-left))
			help = []string{"Its context has ended: the handler must return when its context ends."}
		}
	}
	if f.instance.Draining {
		text += "; the instance is shutting down"
	}
	if silent := f.now.Sub(e.LastBeat); !e.LastBeat.IsZero() && silent > silentSoon {
		text += fmt.Sprintf("; the instance has sent no heartbeat for %s, and its lease expires in %s", about(silent),
			about(e.Expires.Sub(f.now)))
		help = append([]string{"If the instance does not recover, another one takes over when the lease expires."}, help...)
	}
	return Finding{RuleRunning, text + ".", e, help}
}

// whereItRuns returns the evidence of a running task.
func (f *facts) whereItRuns() Evidence {
	t := &f.task
	return Evidence{Since: t.Started, Instance: t.Instance, IP: t.IP, Attempt: t.Attempt, Attempts: attempts(t),
		Progress: t.Progress, Progressed: t.Progressed, LastBeat: f.instance.LastBeat, Expires: f.instance.Expires}
}

func (f *facts) uncommitted(_ *claimers) Finding {
	e := Evidence{Since: f.task.Created, Source: f.task.Source}
	if of := f.task.DoneOf; of != "" && f.task.Source == "" {
		e.Source = of
		return Finding{RuleUncommitted, fmt.Sprintf("The subtasks of %s have ended. It is about to be released.", of), e, nil}
	}
	return Finding{RuleUncommitted,
		fmt.Sprintf("The call that adds it to task %s has not committed its batch of subtasks.", f.task.Source), e,
		[]string{"Repeating the call with the same af.Batch commits it; otherwise it is deleted after two minutes."}}
}

func (f *facts) gated(_ *claimers) Finding {
	e := Evidence{Source: f.task.Source}
	text := fmt.Sprintf("It waits until its source %s has succeeded", f.task.Source)
	help := []string{"Ask why the source waits or runs.", "af.RunNow lets subtasks run before their source has ended."}
	switch {
	case f.source == nil:
		text = fmt.Sprintf("Its source %s does not exist any more", f.task.Source)
		help = nil
	case f.source.Status == af.StatusSuccess:
		text = fmt.Sprintf("Its source %s has succeeded, and is about to release it", f.task.Source)
		help = nil
	case f.source.Status.Final():
		text = fmt.Sprintf("Its source %s has ended without success, so it is about to be stopped", f.task.Source)
		help = nil
	default:
		text += ", which is " + string(f.source.Status)
	}
	if f.source != nil {
		e.SourceStatus = f.source.Status
	}
	return Finding{RuleGated, text + ".", e, help}
}

func (f *facts) deadlinePassed(_ *claimers) Finding {
	e := Evidence{Since: f.task.Deadline}
	return Finding{RuleOverdue, fmt.Sprintf("Its deadline passed at %s: it fails within seconds, as soon as an instance "+
		"finds it.", clock(f.task.Deadline, f.now)), e, nil}
}

func (f *facts) version(_ *claimers) Finding {
	e := Evidence{Since: f.task.WrongVersionSince, Version: f.task.Fingerprint, Workers: placesOf(f.workers)}
	e.fail(&f.task)
	return Finding{RuleVersion, fmt.Sprintf("Since %s no worker of its version has been running, and the present ones "+
		"can't decode its payload.", clock(f.task.WrongVersionSince, f.now)), e, []string{
		"Start an instance of the version that submitted it.", "af.WrongVersionAfter sets after how long it fails.",
	}}
}

func (f *facts) notDue(_ *claimers) Finding {
	t := &f.task
	e := Evidence{Until: t.RunAt, Attempt: t.Attempt, Attempts: attempts(t)}
	in := about(t.RunAt.Sub(f.now))
	text := fmt.Sprintf("It is due at %s, in %s", clock(t.RunAt, f.now), in)
	switch {
	case t.Status == af.StatusRetrying:
		e.fail(t)
		text = fmt.Sprintf("Attempt %d%s failed; the next one is due at %s, in %s", t.Attempt, outOf(e.Attempts),
			clock(t.RunAt, f.now), in)
		if e.Code != "" {
			text += fmt.Sprintf(". The error was %s: %s", e.Code, e.Message)
		}
	case t.Suspected():
		text += ", because processes that ran it have died"
	case !t.WrongVersionSince.IsZero():
		text += ", or within seconds if a worker of its version is there"
	case t.Fence > 0:
		text = fmt.Sprintf("Its handler returned it (it snoozed, or was interrupted); it is due again at %s, in %s",
			clock(t.RunAt, f.now), in)
	}
	return Finding{RuleNotDue, sentence(text), e, []string{"App.RunNow makes it due now."}}
}

func (f *facts) unavailable(_ *claimers) Finding {
	e := Evidence{Conditions: f.down}
	var text string
	for _, c := range f.down {
		text += fmt.Sprintf("%s is unavailable since %s (mode %s): %s. ", c.Name, clock(c.Since, f.now), c.Mode, c.Cause)
	}
	return Finding{RuleUnavailable, text[:len(text)-1], e, []string{"App.Health reports what works meanwhile."}}
}

func (f *facts) paused(_ *claimers) Finding {
	e := f.whoLimits()
	return Finding{RulePaused, "The queue is paused" + f.changed() + ".", e, []string{"App.ResumeQueue resumes it."}}
}

func (f *facts) limitZero(c *claimers) Finding {
	e := f.whoLimits()
	e.Workers = placesOf(c.limited)
	return Finding{RuleLimitZero, fmt.Sprintf("The queue is limited to 0 tasks on %s that may run it%s.",
		instances(len(c.limited)), f.changed()), e,
		[]string{"App.UpdateMaxWorkers or App.ResetMaxWorkers raises the limit."}}
}

func (f *facts) noWorker(_ *claimers) Finding {
	e := Evidence{Served: f.served}
	text := fmt.Sprintf("No instance runs a worker of queue %s, and none is known to have run one.", f.task.Queue)
	if !f.served.IsZero() {
		text = fmt.Sprintf("No instance runs a worker of queue %s; the last one was seen on %s, to within a day.",
			f.task.Queue, f.served.UTC().Format("2006-01-02"))
	}
	return Finding{RuleNoWorker, text, e, []string{
		"Start an instance that registers the worker.", "Check the name of the queue: App.Queues lists those with workers.",
	}}
}

func (f *facts) allDraining(_ *claimers) Finding {
	e := Evidence{Workers: placesOf(f.workers)}
	return Finding{RuleDraining, fmt.Sprintf("%s the worker, and %s shutting down.",
		verb(len(f.workers), "Only one instance runs", "All instances that run"), verb(len(f.workers), "it is", "they are")),
		e, []string{"Start another instance that registers the worker."}}
}

func (f *facts) notAllowed(c *claimers) Finding {
	e := Evidence{Allow: f.task.Allow, Workers: placesOf(c.live)}
	return Finding{RuleNotAllowed, fmt.Sprintf("It may run only at %s, and no instance with the worker has such an address.",
		list(f.task.Allow)), e, []string{"Start an instance at an allowed address.", "Submit it again without its list of allowed addresses."}}
}

func (f *facts) notClaiming(c *claimers) Finding {
	e := Evidence{Workers: placesOf(c.refusing)}
	cause := "a new limit has not reached it yet"
	for _, w := range c.refusing {
		if w.Refusal != "" {
			cause = w.Refusal
			break
		}
	}
	return Finding{RuleNotClaiming, sentence(fmt.Sprintf("%s that may run it now claims no tasks: %s",
		verb(len(c.refusing), "The only instance", "None of the "+strconv.Itoa(len(c.refusing))+" instances"), cause)), e,
		[]string{"App.Health of that instance tells more."}}
}

func (f *facts) busy(c *claimers) Finding {
	e := Evidence{Slots: c.slots, Taken: c.taken, Oldest: c.oldest, Ahead: f.ahead, PerMinute: f.started,
		Workers: placesOf(c.claiming)}
	var text string
	if c.taken >= c.slots {
		text = fmt.Sprintf("%s of %s taken", verb(c.slots, "The only slot", fmt.Sprintf("All %d slots", c.slots)),
			instances(len(c.claiming))+verb(c.slots, " is", " are"))
		if !c.oldest.IsZero() {
			text += fmt.Sprintf(", and the oldest task in them runs since %s", clock(c.oldest, f.now))
		}
	} else {
		text = fmt.Sprintf("%d of %s of %s are free", c.slots-c.taken, plural(c.slots, "slot"),
			instances(len(c.claiming)))
	}
	if n := f.ahead; n != nil {
		switch {
		case n.AtLeast:
			text += fmt.Sprintf("; at least %d tasks are before it", n.N)
		case n.N == 0:
			text += "; it is the next one"
		default:
			text += fmt.Sprintf("; %s before it", plural(n.N, "task")+verb(n.N, " is", " are"))
		}
		if f.started > 0 {
			wait := time.Duration(float64(n.N+1) / f.started * float64(time.Minute))
			e.Until = f.now.Add(wait)
			text += fmt.Sprintf(", and at the present rate its turn is in about %s", about(wait))
		}
	}
	return Finding{RuleBusy, text + ".", e, []string{
		"More instances, or App.UpdateMaxWorkers, give the queue more slots.", "App.Reweigh lets it go first.",
	}}
}

func (f *facts) suspect(_ *claimers) Finding {
	t := &f.task
	e := Evidence{Losses: t.Suspect.Losses, Crashes: t.Crashes, MaxCrashes: t.MaxCrashes}
	return Finding{RuleSuspect, fmt.Sprintf("%s died while running it, so it waits for an instance that runs no other such "+
		"task (crashes: %d%s).", plural(t.Suspect.Losses, "process"), t.Crashes, outOf(t.MaxCrashes)), e,
		[]string{"Look for the cause in the log of the process that died."}}
}

func (f *facts) hintLost(_ *claimers) Finding {
	since := f.dueSince()
	e := Evidence{Since: since, Until: f.now.Add(pollsWithin), Conditions: f.down}
	return Finding{RuleHintLost, fmt.Sprintf("It is due since %s although slots are free: its wake-up message is late or "+
		"lost, and a worker finds it within %s%s.", clock(since, f.now), about(pollsWithin), f.degraded()), e, []string{
		"If it is due for much longer, the processes of its workers hang: see the dates of App.Instances.",
	}}
}

func (f *facts) due(_ *claimers) Finding {
	e := Evidence{Since: f.dueSince(), Until: f.now.Add(pollsWithin), Conditions: f.down}
	text := "It is due, and a free worker is about to claim it" + f.degraded()
	if f.unlisted {
		e.Until = time.Time{}
		text = "It is due; its workers are unknown, because the registry of instances is unavailable"
	}
	return Finding{RuleDue, text + ".", e, nil}
}

func (f *facts) deadline(_ *claimers) Finding {
	t := &f.task
	e := Evidence{Until: t.Deadline}
	text := fmt.Sprintf("It fails at %s, in %s, unless it starts before", clock(t.Deadline, f.now),
		about(t.Deadline.Sub(f.now)))
	if !t.RunAt.Before(t.Deadline) {
		text = fmt.Sprintf("It fails at %s, in %s, because it becomes due only after its deadline", clock(t.Deadline, f.now),
			about(t.Deadline.Sub(f.now)))
	}
	return Finding{RuleDeadline, text + ".", e, nil}
}
