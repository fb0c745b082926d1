package mongo_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"

	"github.com/afgen/afgen/runtime/backend/mongo"
)

// plans checks that each query shape on tasks uses an index.
type plans struct {
	mu   sync.Mutex
	todo map[string]bson.D // by shape
	seen map[string]bool
}

func newPlans() *plans { return &plans{todo: map[string]bson.D{}, seen: map[string]bool{}} }

// watch records the queries of a client.
func (p *plans) watch(c *mongo.Config) {
	c.Monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		for _, q := range queries(e.Command) {
			s := e.CommandName + " " + shape(q)
			p.mu.Lock()
			if !p.seen[s] {
				p.seen[s], p.todo[s] = true, q
			}
			p.mu.Unlock()
		}
	}}
}

// queries returns find commands equivalent to the queries of a command on tasks.
func queries(command bson.Raw) []bson.D {
	find := func(in bson.Raw, filter string) bson.D {
		q := bson.D{{Key: "find", Value: "tasks"}, {Key: "filter", Value: in.Lookup(filter).Document()}}
		for _, more := range []string{"sort", "limit"} {
			if v, err := in.LookupErr(more); err == nil && filter == "filter" {
				q = append(q, bson.E{Key: more, Value: v})
			}
		}
		return q
	}
	all := func(list, filter string) (found []bson.D) {
		values, err := command.Lookup(list).Array().Values()
		if err != nil {
			panic(err) // the driver wrote it
		}
		for _, v := range values {
			found = append(found, find(v.Document(), filter))
		}
		return found
	}
	first, err := command.IndexErr(0)
	if err != nil {
		return nil
	}
	if name, ok := first.Value().StringValueOK(); !ok || name != "tasks" {
		return nil
	}
	switch first.Key() {
	case "find":
		return []bson.D{find(command, "filter")}
	case "update":
		return all("updates", "q")
	case "delete":
		return all("deletes", "q")
	case "aggregate":
		stage := command.Lookup("pipeline").Array().Index(0).Document()
		return []bson.D{find(stage, "$match")}
	}
	return nil
}

// shape returns a query without its values.
func shape(q bson.D) string {
	raw, err := bson.Marshal(q)
	if err != nil {
		panic(err) // it came from a command
	}
	return shapeOf(raw)
}

func shapeOf(raw bson.Raw) string {
	elements, _ := raw.Elements()
	var parts []string
	for _, e := range elements {
		part := e.Key()
		if inner, ok := e.Value().DocumentOK(); ok {
			part += "{" + shapeOf(inner) + "}"
		} else if list, ok := e.Value().ArrayOK(); ok {
			values, _ := list.Values()
			for _, v := range values {
				if inner, ok := v.DocumentOK(); ok {
					part += "[" + shapeOf(inner) + "]"
				}
			}
		}
		parts = append(parts, part)
	}
	if !slices.Contains(parts, "sort") {
		slices.Sort(parts) // the order of a filter doesn't matter
	}
	return strings.Join(parts, " ")
}

// check fails the test if a query would scan all tasks: it names no field that an index begins with, or the server
// plans a collection scan.
func (p *plans) check(t *testing.T, c *mongo.Client) {
	p.mu.Lock()
	todo := p.todo
	p.todo = map[string]bson.D{}
	p.mu.Unlock()
	for s, q := range todo {
		elements, err := q[1].Value.(bson.Raw).Elements()
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(elements, func(e bson.RawElement) bool {
			return slices.Contains(mongo.FirstFields(), e.Key())
		}) {
			t.Errorf("no index begins with a field of query %s", s)
		}
		var plan bson.Raw
		err = c.Mongo().RunCommand(context.Background(),
			bson.D{{Key: "explain", Value: q}, {Key: "verbosity", Value: "queryPlanner"}}).Decode(&plan)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		if winner := fmt.Sprint(plan.Lookup("queryPlanner", "winningPlan")); strings.Contains(winner, "COLLSCAN") {
			t.Errorf("query %s scans all tasks:\n%s", s, winner)
		}
	}
}
