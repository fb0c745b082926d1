package doctor

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/shirou/gopsutil/v4/disk"

	af "github.com/afgen/afgen/runtime"
	"github.com/afgen/afgen/runtime/admin"
)

// A part of the system is read at once.
type part string

const (
	partOverview  part = "the overview"
	partQueues    part = "the queues"
	partInstances part = "the instances"
	partWorkers   part = "the workers"
	partServices  part = "the services"
	partNodes     part = "the machines"
	partJobs      part = "the jobs"
	partFires     part = "the fires of jobs"
	partClock     part = "the clock of the store"
	partIndexes   part = "the list of indexes"
	partFile      part = "the file"
)

// Facts are what checks look at.
type facts struct {
	here  time.Time // this machine's clock
	now   time.Time // the store's clock, if it is known, else here
	shift bool      // now is the store's
	after time.Duration

	failed map[part]error // parts that could not be read

	overview  admin.Overview
	instances []af.InstanceInfo
	workers   []af.WorkerInfo
	services  []af.ServiceInfo
	nodes     []af.Node
	jobs      []af.Job
	fires     []af.Fire // skipped, of the last hour, latest first
	missing   []string  // indexes
	embedded  fileFacts
}

// fileFacts are facts about the embedded file.
type fileFacts struct {
	path      string
	mode      fs.FileMode
	directory fs.FileMode // of its directory
	free      uint64      // bytes of the file system that this user may use
	total     uint64
}

const (
	pageSize = 1000
	mostRead = 10 * pageSize // of a list
	lately   = time.Hour     // skipped due times are a problem for so long
)

// gather reads everything that checks look at.
func gather(ctx context.Context, s System) *facts {
	f := &facts{here: s.Now(), after: s.Late, failed: map[part]error{}}
	f.now = f.here
	fail := func(p part, err error) {
		if err != nil {
			f.failed[p] = err
		}
	}
	if s.StoreTime != nil {
		now, err := s.StoreTime(ctx)
		fail(partClock, err)
		if err == nil {
			f.now, f.shift = now, true
			f.here = s.Now() // reading may take long
		}
	}
	var err error
	f.overview, err = s.API.Overview(ctx)
	fail(partOverview, err)
	if missing := f.overview.Missing["queues"]; missing != nil && err == nil {
		err = af.NewError(missing.Code, missing.Message)
	}
	fail(partQueues, err)
	f.instances, err = all(func(cursor string) ([]af.InstanceInfo, string, error) {
		p, err := s.API.Instances(ctx, af.InstanceQuery{Limit: pageSize, Cursor: cursor})
		return p.Instances, p.Cursor, err
	})
	fail(partInstances, err)
	f.workers, err = all(func(cursor string) ([]af.WorkerInfo, string, error) {
		p, err := s.API.Workers(ctx, af.WorkerQuery{Limit: pageSize, Cursor: cursor, NoWaiting: true})
		return p.Workers, p.Cursor, err
	})
	fail(partWorkers, err)
	f.services, err = all(func(cursor string) ([]af.ServiceInfo, string, error) {
		p, err := s.API.Services(ctx, af.ServiceQuery{Limit: pageSize, Cursor: cursor})
		return p.Services, p.Cursor, err
	})
	fail(partServices, err)
	f.nodes, err = all(func(cursor string) ([]af.Node, string, error) {
		p, err := s.API.Nodes(ctx, af.NodeQuery{Limit: pageSize, Cursor: cursor})
		return p.Nodes, p.Cursor, err
	})
	fail(partNodes, err)
	f.jobs, err = all(func(cursor string) ([]af.Job, string, error) {
		p, err := s.API.Jobs(ctx, af.JobQuery{Limit: pageSize, Cursor: cursor})
		return p.Jobs, p.Cursor, err
	})
	fail(partJobs, err)
	skipped := true
	f.fires, err = all(func(cursor string) ([]af.Fire, string, error) {
		p, err := s.API.Fires(ctx, af.FireQuery{After: f.now.Add(-lately), Skipped: &skipped, Limit: pageSize,
			Cursor: cursor})
		return p.Fires, p.Cursor, err
	})
	fail(partFires, err)
	if s.MissingIndexes != nil {
		f.missing, err = s.MissingIndexes(ctx)
		fail(partIndexes, err)
	}
	if s.File != "" {
		f.embedded, err = readFile(ctx, s.File)
		fail(partFile, err)
	}
	return f
}

// all returns the pages of a list, up to mostRead entries.
func all[T any](page func(cursor string) ([]T, string, error)) (list []T, err error) {
	for cursor := ""; ; {
		more, next, err := page(cursor)
		if err != nil {
			return nil, err
		}
		list = append(list, more...)
		if cursor = next; cursor == "" || len(list) >= mostRead {
			return list, nil
		}
	}
}

// readFile reads facts about the embedded file. It must not open the file: closing it would release SQLite's locks.
func readFile(ctx context.Context, path string) (f fileFacts, err error) {
	f.path = path
	info, err := os.Stat(path)
	if err != nil {
		return f, err
	}
	f.mode = info.Mode()
	dir := filepath.Dir(path)
	if info, err = os.Stat(dir); err != nil {
		return f, err
	}
	f.directory = info.Mode()
	usage, err := disk.UsageWithContext(ctx, dir)
	if err != nil {
		return f, err
	}
	f.free, f.total = usage.Free, usage.Total
	return f, nil
}
