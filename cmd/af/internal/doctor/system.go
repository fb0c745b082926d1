package doctor

import (
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/afgen/afgen/cmd/af/internal/text"
	af "github.com/afgen/afgen/runtime"
)

const (
	disabledLong = 24 * time.Hour
	// silentLong is after how long without a heartbeat, which is sent every second, an instance may hang.
	silentLong = 5 * time.Second
	// reportAge is the age that the report of a machine may have: it is written every 20 s, and repeated if that fails.
	reportAge = 45 * time.Second
	// clocksAgree is by how much clocks may differ.
	clocksAgree = 2 * time.Second
	fullShare   = 0.95      // of a disk or memory in use
	roomy       = 10 << 30  // bytes; a large disk with so many free is not full
	fileFree    = 100 << 20 // bytes that the embedded file may need at once
)

func (f *facts) health() (found []Finding) {
	h := &f.overview.Health
	for i := range h.Conditions {
		if c := &h.Conditions[i]; !c.Up {
			found = append(found, problem("docs/servers.md describes the degraded modes.",
				"degraded mode %s for %s: %s; lost: %s", c.Mode, text.Duration(max(f.here.Sub(c.Since), 0)), c.Cause, c.Lost))
		}
	}
	if len(found) == 0 && !h.Ready {
		found = append(found, problem("", "the answering process is not ready: %s", h.Reason))
	}
	return found
}

func (f *facts) unwritten() (found []Finding) {
	if h := &f.overview.Health; h.Unwritten > 0 {
		found = append(found, problem("Don't end this process: tasks whose results are not stored run again.",
			"%s of %s are not stored, the first one for %s", count(h.Unwritten, "result"), place(h.Instance),
			text.Duration(max(f.here.Sub(h.UnwrittenSince), 0))))
	}
	return found
}

func (f *facts) degraded() (found []Finding) {
	if len(f.instances) == 0 {
		return []Finding{problem("Start a program of the system.", "no instance is running: no task runs, and no call is "+
			"answered")}
	}
	for i := range f.instances {
		in := &f.instances[i]
		if silent := f.now.Sub(in.LastBeat); f.shift && !in.LastBeat.IsZero() && silent > silentLong {
			found = append(found, problem("af ps", "instance %s on %s has sent no heartbeat for %s; its lease expires in "+
				"%s, then others take over its tasks", place(in.Instance), in.Host, text.Duration(silent),
				text.Duration(max(in.Expires.Sub(f.now), 0))))
		}
		if in.ID == f.overview.Health.Instance.ID {
			continue // see health
		}
		for _, mode := range in.Degraded {
			found = append(found, problem("af instances", "instance %s on %s: %s", place(in.Instance), in.Host, mode))
		}
	}
	return found
}

// versions compares the instances that have a service or a queue in common. Others may be different programs.
func (f *facts) versions() (found []Finding) {
	byPart := map[string]map[string]int{} // numbers of instances by version, by service or queue
	for i := range f.instances {
		in := &f.instances[i]
		if in.Draining {
			continue
		}
		for kind, names := range map[string][]string{"service": in.Services, "queue": in.Queues} {
			for _, name := range names {
				key := kind + " " + word(name)
				if byPart[key] == nil {
					byPart[key] = map[string]int{}
				}
				byPart[key][in.Version]++
			}
		}
	}
	bySplit := map[string][]string{} // what has the same versions
	for key, versions := range byPart {
		if len(versions) > 1 {
			split := numbers(versions, "without a version")
			bySplit[split] = append(bySplit[split], key)
		}
	}
	for _, split := range slices.Sorted(maps.Keys(bySplit)) {
		keys := bySplit[split]
		slices.Sort(keys)
		found = append(found, problem("af instances", "instances of %s differ in their versions: %s", list(keys), split))
	}
	return found
}

func (f *facts) contracts() (found []Finding) {
	for i := range f.services {
		s := &f.services[i]
		contracts := map[string]int{}
		for j := range s.Instances {
			if !s.Instances[j].Draining {
				contracts[s.Instances[j].Contract]++
			}
		}
		if len(contracts) > 1 {
			found = append(found, problem("af services", "instances of service %q differ in their methods: %s; calls go to "+
				"instances of their version", s.Name, numbers(contracts, "without a contract")))
		}
	}
	payloads := map[string]map[string]int{}
	for i := range f.workers {
		w := &f.workers[i]
		if w.Draining || w.Fingerprint == "" { // an old version does not announce it
			continue
		}
		if payloads[w.Queue] == nil {
			payloads[w.Queue] = map[string]int{}
		}
		payloads[w.Queue][w.Fingerprint]++
	}
	for _, queue := range slices.Sorted(maps.Keys(payloads)) {
		if versions := payloads[queue]; len(versions) > 1 {
			found = append(found, problem("af instances", "workers of queue %q differ in their payload types: %s; each runs "+
				"the tasks of its version first", queue, numbers(versions, "")))
		}
	}
	return found
}

func (f *facts) jobsStuck() (found []Finding) {
	for i := range f.jobs {
		j := &f.jobs[i]
		switch {
		case j.Disabled && (j.Changed.IsZero() || f.now.Sub(j.Changed) >= disabledLong):
			found = append(found, problem("af enable "+word(j.ID), "job %q is disabled%s", j.ID, f.changed(j.Changed, j.By,
				j.Reason)))
		case j.Disabled:
		case j.Next.IsZero():
			found = append(found, problem("af jobs", "job %q never fires: %q in %s has no further due time", j.ID, j.Cron,
				j.Zone))
		case len(j.Allow) > 0 && !f.someAllowed(j):
			found = append(found, problem("af instances", "job %q may run only at %s, and no instance with a worker of queue "+
				"%q has such an address", j.ID, list(j.Allow), j.Queue))
		}
	}
	return found
}

// someAllowed reports whether a worker may run the tasks of a job.
func (f *facts) someAllowed(j *af.Job) bool {
	return slices.ContainsFunc(f.workers, func(w af.WorkerInfo) bool {
		return w.Queue == j.Queue && !w.Draining && allowed(j.Allow, w.Instance.IP)
	})
}

// allowed reports whether an address is one of the addresses and networks of allow.
func allowed(allow []string, ip string) bool {
	a, err := netip.ParseAddr(ip)
	if err != nil {
		return false
	}
	a = a.Unmap().WithZone("")
	return slices.ContainsFunc(allow, func(entry string) bool {
		if p, err := netip.ParsePrefix(entry); err == nil {
			return p.Contains(a)
		}
		b, err := netip.ParseAddr(entry)
		return err == nil && a == b.Unmap().WithZone("")
	})
}

func (f *facts) skipped() (found []Finding) {
	type key struct{ job, why string }
	numbers := map[key]int{}
	var order []key
	for i := range f.fires {
		fire := &f.fires[i]
		k := key{fire.Job, fire.Skipped}
		if numbers[k] == 0 {
			order = append(order, k)
		}
		numbers[k] += 1 + fire.More
	}
	causes := map[string]string{
		af.SkippedMissed:  "no process was there to fire them",
		af.SkippedOverlap: "the task of an earlier one had not ended",
		af.SkippedFull:    "too many due times wait for an earlier task",
	}
	for _, k := range order {
		cause := causes[k.why]
		if cause == "" {
			cause = k.why
		}
		found = append(found, problem("af fires "+word(k.job), "job %q has skipped %s in the last hour: %s", k.job,
			count(numbers[k], "due time"), cause))
	}
	return found
}

func (f *facts) clocks() (found []Finding) {
	if d := f.here.Sub(f.now); f.shift && d.Abs() > clocksAgree {
		found = append(found, problem("Correct the clocks, such as by NTP.", "the clock of this machine and that of the "+
			"store differ by %s", text.Duration(d.Abs())))
	}
	for i := range f.nodes {
		n := &f.nodes[i]
		if n.Time.IsZero() {
			continue // it has not reported yet
		}
		switch age := f.now.Sub(n.Time); {
		case age < -clocksAgree:
			found = append(found, problem("Correct the clocks, such as by NTP.", "the clock of machine %s is at least %s ahead",
				n.ID, text.Duration(-age)))
		case age > reportAge:
			found = append(found, problem("af nodes", "machine %s has not reported for %s, or its clock is behind", n.ID,
				text.Duration(age)))
		}
	}
	return found
}

func (f *facts) full() (found []Finding) {
	for i := range f.nodes {
		n := &f.nodes[i]
		if isFull(n.DiskUsed, n.DiskTotal) && n.DiskTotal-n.DiskUsed < roomy {
			found = append(found, problem("af nodes", "the disk of machine %s is %s full: %s free", n.ID,
				percent(n.DiskUsed, n.DiskTotal), text.Bytes(n.DiskTotal-n.DiskUsed)))
		}
		if isFull(n.MemoryUsed, n.MemoryTotal) {
			found = append(found, problem("af nodes", "the memory of machine %s is %s full: %s free", n.ID,
				percent(n.MemoryUsed, n.MemoryTotal), text.Bytes(n.MemoryTotal-n.MemoryUsed)))
		}
	}
	return found
}

func isFull(used, total uint64) bool {
	return total > 0 && used <= total && float64(used) >= fullShare*float64(total)
}

func (f *facts) unindexed() (found []Finding) {
	if len(f.missing) > 0 {
		found = append(found, problem("Restart an instance: it creates missing indexes.",
			"MongoDB lacks indexes on tasks, without which lists fail or claims are slow: %s", list(f.missing)))
	}
	return found
}

func (f *facts) file() (found []Finding) {
	e := &f.embedded
	if runtime.GOOS != "windows" { // whose files have other permissions
		if mode := e.mode.Perm(); mode&0o077 != 0 {
			found = append(found, problem("chmod 600 "+word(e.path), "other users can access %s (mode %04o)", e.path, mode))
		}
		if e.mode.Perm()&0o200 == 0 {
			found = append(found, problem("chmod 600 "+word(e.path), "%s is read-only: no task can be submitted or run", e.path))
		}
		if mode := e.directory; mode.Perm()&0o022 != 0 {
			found = append(found, problem("Move it to a directory that only its user can change.", "other users can replace "+
				"%s: the mode of its directory is %04o", e.path, mode.Perm()))
		}
	}
	if e.free < fileFree {
		found = append(found, problem("Free space on that disk: af delete deletes tasks that have ended.",
			"the disk of %s has %s free of %s", e.path, text.Bytes(e.free), text.Bytes(e.total)))
	}
	return found
}

// numbers returns "2 v1, 1 v2", with a phrase for an empty name.
func numbers(by map[string]int, unnamed string) string {
	var parts []string
	for _, name := range slices.Sorted(maps.Keys(by)) {
		n := text.Number(int64(by[name]))
		if name == "" {
			name = unnamed
		}
		parts = append(parts, n+" × "+name)
	}
	return list(parts)
}

// list returns texts separated by commas, at most five.
func list(texts []string) string {
	const most = 5
	if n := len(texts) - most; n > 0 {
		return strings.Join(texts[:most], ", ") + " and " + text.Number(int64(n)) + " others"
	}
	return strings.Join(texts, ", ")
}

func percent(used, total uint64) string {
	return text.Number(int64(100*float64(used)/float64(total))) + " %"
}
