package shop

import (
	"context"
	"time"

	af "github.com/afgen/afgen/runtime"
)

// fleet is the instances: four on three machines, during a deployment.
var fleet = []af.InstanceInfo{
	instance("web", "web-1", "10.0.4.11", "v2.14.0", 2114, 4*time.Hour, []string{"orders", "pricing", "stock"}, nil),
	instance("web worker", "web-1", "10.0.4.11", "v2.14.0", 2120, 4*time.Hour, nil,
		[]string{"emails", "invoices", "receipts", "thumbnails"}),
	instance("worker 1", "worker-1", "10.0.4.21", "v2.14.0", 811, 3*time.Hour, []string{"pricing", "stock"},
		[]string{"emails", "import-rows", "imports", "invoices", "receipts", "search-index", "thumbnails"}),
	instance("worker 2", "worker-2", "10.0.4.22", "v2.13.2", 640, 51*time.Hour, []string{"stock"},
		[]string{"emails", "import-rows", "imports", "invoices", "receipts", "search-index", "thumbnails"}),
}

func instance(name, host, ip, version string, pid int, age time.Duration, services, queues []string) af.InstanceInfo {
	return af.InstanceInfo{Instance: af.Instance{ID: hash(name)[:26], IP: ip, Version: version}, Node: host, Host: host,
		PID: pid, Started: before(age), Services: services, Queues: queues, LastBeat: before(3 * time.Second)}
}

func nodes() []af.Node {
	node := func(host, ip string, cpus int, cpu, memory, disk float64) af.Node {
		const gib = 1 << 30
		total := uint64(cpus) * 4 * gib
		return af.Node{ID: host, Host: host, IPs: []string{ip}, OS: "linux", Arch: "amd64", Platform: "debian",
			PlatformVersion: "13.4", CPUs: cpus, CPUModel: "AMD EPYC 9354P", MemoryTotal: total, DiskTotal: 480 * gib,
			NodeSample: af.NodeSample{Time: before(4 * time.Second), CPU: cpu, Load1: cpu * float64(cpus),
				Load5: cpu * float64(cpus) * .9, Load15: cpu * float64(cpus) * .7, MemoryUsed: uint64(memory * float64(total)),
				DiskUsed: uint64(disk * 480 * gib)}}
	}
	all := []af.Node{node("web-1", "10.0.4.11", 8, .23, .38, .21), node("worker-1", "10.0.4.21", 16, .71, .55, .34),
		node("worker-2", "10.0.4.22", 16, .64, .93, .36)}
	for i := range all {
		for _, in := range fleet {
			if in.Host == all[i].Host {
				all[i].Instances = append(all[i].Instances, in.ID)
			}
		}
	}
	return all
}

// gone is a machine that the deployment has replaced.
var gone = af.Node{ID: "worker-0", Host: "worker-0", IPs: []string{"10.0.4.20"}, OS: "linux", Arch: "amd64",
	NodeSample: af.NodeSample{Time: before(26 * time.Minute)}}

func workers() (all []af.WorkerInfo) {
	for _, q := range queues() {
		left := q.Running
		for _, in := range fleet {
			for _, name := range in.Queues {
				if name != q.Name {
					continue
				}
				slots := q.Slots / q.Workers
				w := af.WorkerInfo{Queue: name, Instance: in.Instance, Node: in.Node, Paused: q.Limits.Paused, Wanted: slots,
					Applied: slots, Own: max(slots, 8), Claims: true, Running: min(slots, (q.Running+q.Workers-1)/q.Workers, left)}
				left -= w.Running
				if w.Running > 0 {
					w.OldestRunning = before(time.Duration(2+len(all)%7) * time.Second)
				}
				all = append(all, w)
			}
		}
	}
	return all
}

func services() []af.ServiceInfo {
	service := func(name string, load af.ServiceLoad, on []int, methods ...af.MethodInfo) af.ServiceInfo {
		s := af.ServiceInfo{Name: name, Methods: methods}
		for i, n := range on {
			in := fleet[n]
			part := load
			part.Calls, part.Errors, part.InFlight = load.Calls/int64(i+1), load.Errors/int64(i+1), load.InFlight/int64(i+1)
			s.Instances = append(s.Instances, af.ServiceInstance{Instance: in.Instance, Node: in.Node, Started: in.Started,
				Concurrency: 64, Contract: hash(name)[:12], Methods: methods, Load: part})
			s.Load.Calls, s.Load.Errors = s.Load.Calls+part.Calls, s.Load.Errors+part.Errors
			s.Load.InFlight += part.InFlight
		}
		return s
	}
	method := func(name, signature string, idempotent bool) af.MethodInfo {
		return af.MethodInfo{Name: name, Signature: signature, Fingerprint: "f787ca1bcbe5", Idempotent: idempotent}
	}
	return []af.ServiceInfo{
		service("orders", af.ServiceLoad{InFlight: 3, Calls: 48_120, Errors: 17}, []int{0},
			method("Cancel", "(order string, reason string) (err error)", false),
			method("Place", "(cart shop.Cart, address shop.Address) (order string, err error)", false),
			method("Status", "(order string) (status shop.Status, err error)", true)),
		service(Service, af.ServiceLoad{InFlight: 8, Calls: 302_771, Errors: 42}, []int{0, 2},
			method(Method, "(sku string, count int, express bool) (total shop.Money, until time.Time, err error)", true),
			method("Refresh", "() (changed int, err error)", true)),
		service("stock", af.ServiceLoad{InFlight: 1, Calls: 96_404}, []int{0, 2, 3},
			method("Level", "(skus []string) (levels map[string]int, err error)", true),
			method("Release", "(reservation string) (err error)", true),
			method("Reserve", "(order string, lines []shop.Line) (until time.Time, err error)", false)),
	}
}

func (*system) Audit(context.Context, af.AuditQuery) (af.AuditPage, error) {
	ann, bob := "ann@shop.example", "bob@shop.example"
	entry := func(ago time.Duration, by, action, target, detail, reason, failed string) af.AuditEntry {
		return af.AuditEntry{ID: action + target, Time: before(ago), By: by, Action: action, Target: target, Detail: detail,
			Reason: reason, Error: failed, Instance: fleet[0].ID}
	}
	return af.AuditPage{Entries: []af.AuditEntry{
		entry(4*time.Minute, ann, "task.retry", id("invoice 6990"), "", "the ledger is back", ""),
		entry(5*time.Minute, ann, "task.stop", id("invoice 6984"), "", "", "failed_precondition: the task has ended"),
		entry(26*time.Minute, ann, "queue.pause", "emails", "", "the provider answers 421 until 15:00", ""),
		entry(31*time.Minute, "ci", "service.call", "stock.Level", "", "smoke test of v2.14.0", ""),
		entry(50*time.Minute, bob, "queue.max", Queue, "6", "the bucket answers 503 above 18", ""),
		entry(53*time.Minute, bob, "tasks.retry", "queue:thumbnails status:failed code:unavailable since:1h", "214 tasks",
			"after the bucket's incident", ""),
		entry(2*time.Hour, bob, "job.disable", "monthly-report", "", "the warehouse is migrated until Friday", ""),
		entry(3*time.Hour, ann, "job.run", "nightly-invoices", "", "for the audit", ""),
		entry(4*time.Hour, "ci", "queue.resume", "imports", "", "", ""),
		entry(4*time.Hour+6*time.Minute, "ci", "queue.pause", "imports", "", "deploying v2.14.0", ""),
		entry(20*time.Hour, ann, "task.reweigh", id("import winter-sale"), "5", "marketing waits for it", ""),
		entry(23*time.Hour, "dana@shop.example", "task.delete", id("mail 33"), "", "address removed on request", ""),
	}}, nil
}
