package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	af "github.com/afgen/afgen/runtime"
)

// Sizes of the stores, and what is measured in each. One stored task in grownEvery has ended;
// the others are due next year.
var (
	grownSizes  = []int{1_000, 100_000, 1_000_000}
	quickSizes  = []int{100, 200, 400}
	grownEvery  = 20
	grownRounds = 7
	grownTasks  = 500 // in one round
	grownDeep   = 50_000
)

// A grown is a store with many tasks.
type grown struct {
	*afgenQueue
	undo    stop
	size    int
	runs    *runs
	total   int
	deep    string // a cursor in the middle of the list, at most grownDeep tasks from its start
	perTask []float64
	page    []float64
}

// growing compares stores of several sizes, in turns: the time of a task from its submit to its stored result, with 8
// submitters and 100 slots, and of a page of a list. The results are the highest medians as multiples of the smallest
// store's.
func growing(ctx context.Context, w *world) (r result, err error) {
	sizes, rounds := grownSizes, grownRounds
	if w.quick {
		sizes, rounds = quickSizes, 1
	}
	var all []*grown
	defer func() {
		for _, g := range all {
			ctx := context.WithoutCancel(ctx)
			err = errors.Join(err, g.close(ctx), g.undo(ctx))
		}
	}()
	for i, size := range sizes {
		g, err := grow(ctx, w, i, size)
		if g != nil {
			all = append(all, g)
		}
		if err != nil {
			return nil, fmt.Errorf("with %d tasks: %w", size, err)
		}
	}
	for range rounds {
		for _, g := range all {
			if err := errors.Join(g.measureTasks(ctx, w.n(grownTasks)), g.measurePages(ctx)); err != nil {
				return nil, fmt.Errorf("with %d tasks: %w", g.size, err)
			}
		}
	}
	r = result{}
	for _, g := range all {
		run, page := median(g.perTask), median(g.page)
		r[fmt.Sprintf("run-%d", g.size)], r[fmt.Sprintf("page-%d", g.size)] = run, page
		r["run"] = max(r["run"], run/median(all[0].perTask))
		r["page"] = max(r["page"], page/median(all[0].page))
	}
	return r, nil
}

// grow creates a store with tasks, and a worker.
func grow(ctx context.Context, w *world, i, size int) (*grown, error) {
	own := *w
	own.Dir = filepath.Join(w.Dir, fmt.Sprint(i))
	if err := os.Mkdir(own.Dir, 0o700); err != nil {
		return nil, err
	}
	undo := func(context.Context) error { return nil }
	if w.system == servers {
		name := fmt.Sprintf("%s_%d", w.database(), i)
		if w.AMQPAdmin != "" {
			if err := own.createVHost(ctx, name); err != nil {
				return nil, err
			}
		}
		own.Mongo = devstack.WithDatabase(w.Mongo, name)
		undo = func(ctx context.Context) error {
			err := own.dropDatabase(ctx)
			if w.AMQPAdmin != "" {
				err = errors.Join(err, own.vhost(ctx, "DELETE", name))
			}
			return err
		}
	}
	q, err := newAfgenQueue(ctx, &own)
	if err != nil {
		return nil, errors.Join(err, undo(ctx))
	}
	g := &grown{afgenQueue: q, undo: undo, size: size}
	return g, g.fill(ctx)
}

// fill stores the tasks, runs some of them, and finds the deep cursor.
func (g *grown) fill(ctx context.Context) error {
	ended := g.size / grownEvery
	later := af.RunAt(time.Now().Add(365 * 24 * time.Hour))
	for left := g.size - ended; left > 0; left -= bulk {
		if _, err := g.tasks.SubmitMany(ctx, g.many[:min(left, bulk)], later); err != nil {
			return err
		}
	}
	if err := preload(ctx, g, ended); err != nil {
		return err
	}
	g.runs, g.total = newRuns(ended), ended
	start, err := g.worker(ctx, 100, func() { g.runs.started() })
	if err == nil {
		err = start(ctx)
	}
	if err == nil {
		err = g.runs.await(ctx, g)
	}
	if err != nil {
		return err
	}
	for seen := 0; seen < min(g.size/2, grownDeep); {
		page, err := g.submitter.Tasks(ctx, af.TaskQuery{Limit: min(1000, g.size/4), Cursor: g.deep})
		if err != nil {
			return err
		}
		g.deep, seen = page.Cursor, seen+len(page.Tasks)
	}
	return nil
}

// measureTasks runs n tasks.
func (g *grown) measureTasks(ctx context.Context, n int) error {
	g.runs = newRuns(n) // nothing runs now
	begun := time.Now()
	if err := parallel(submitters, n, func() error { return g.submit(ctx) }); err != nil {
		return err
	}
	if err := g.runs.await(ctx, g); err != nil {
		return err
	}
	g.perTask = append(g.perTask, micros(time.Since(begun))/float64(n))
	return nil
}

// measurePages reads pages of 20 tasks: the first and a deep one, of all tasks and of one status and queue.
func (g *grown) measurePages(ctx context.Context) error {
	queries := []af.TaskQuery{
		{},
		{Cursor: g.deep},
		{Queue: workerOf(1).Name, Statuses: []af.Status{af.StatusSuccess}},
		{Statuses: []af.Status{af.StatusWaiting}, Sort: af.TasksByOldest},
		{Queue: workerOf(1).Name, Sort: af.TasksByEnd},
	}
	const times = 5
	begun := time.Now()
	for range times {
		for _, q := range queries {
			q.Limit = 20
			if page, err := g.submitter.Tasks(ctx, q); err != nil || len(page.Tasks) == 0 {
				return errors.Join(err, fmt.Errorf("query %+v returned %d tasks", q, len(page.Tasks)))
			}
		}
	}
	g.page = append(g.page, micros(time.Since(begun))/float64(times*len(queries)))
	return nil
}
