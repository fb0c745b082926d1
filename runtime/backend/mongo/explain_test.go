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

// plans checks the server's plan of each query that clients send: of every command that has a filter, once for each
// shape. A command that plans doesn't know is an error, so that no query is forgotten.
type plans struct {
	mu      sync.Mutex
	todo    map[string]bson.D // commands to explain, by shape
	seen    map[string]bool
	unknown []string
}

func newPlans() *plans { return &plans{todo: map[string]bson.D{}, seen: map[string]bool{}} }

// watch records the queries of a client.
func (p *plans) watch(c *mongo.Config) {
	c.Monitor = &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		queries, known := queriesOf(e.Command)
		p.mu.Lock()
		defer p.mu.Unlock()
		if !known {
			p.unknown = append(p.unknown, e.CommandName)
		}
		for _, q := range queries {
			s := shape(q)
			if !p.seen[s] {
				p.seen[s], p.todo[s] = true, q
			}
		}
	}}
}

// queriesOf returns the commands to explain for a command. known is false if the command may have other queries.
func queriesOf(command bson.Raw) (queries []bson.D, known bool) {
	first, err := command.IndexErr(0)
	if err != nil {
		return nil, false
	}
	collection, ok := first.Value().StringValueOK()
	name := first.Key()
	fields := func(in bson.Raw, keys ...string) bson.D {
		q := bson.D{{Key: name, Value: collection}}
		for _, key := range keys {
			if v, err := in.LookupErr(key); err == nil {
				q = append(q, bson.E{Key: key, Value: v})
			}
		}
		return q
	}
	switch name {
	case "find":
		return []bson.D{fields(command, "filter", "sort", "limit", "skip", "projection", "hint")}, true
	case "aggregate":
		return []bson.D{fields(command, "pipeline", "cursor", "hint")}, true
	case "count", "distinct":
		return []bson.D{fields(command, "query", "key", "limit", "hint")}, true
	case "findAndModify":
		return []bson.D{fields(command, "query", "sort", "update", "remove", "fields", "new", "hint")}, true
	case "update", "delete":
		list := name + "s"
		values, err := command.Lookup(list).Array().Values()
		for _, v := range values {
			queries = append(queries, bson.D{{Key: name, Value: collection}, {Key: list, Value: bson.A{v}}})
		}
		return queries, err == nil
	case "insert", "createIndexes", "drop", "killCursors":
		return nil, true
	}
	return nil, !ok // getMore, and commands that concern no collection, such as hello
}

// shape returns a command without its values.
func shape(q bson.D) string {
	raw, err := bson.Marshal(q)
	if err != nil {
		panic(err) // it came from a command
	}
	return fmt.Sprint(q[0].Key, " ", q[0].Value, " ", shapeOf(raw))
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

// mayScan reports whether a query may scan its collection: owners has one document for each process that ran within the
// last day, and most queries want all of them.
func mayScan(q bson.D) bool { return q[0].Value == "owners" }

// maySort reports whether a query may sort what it has read: tasks with given ids, which are few, or the subtasks
// of a task by end.
func maySort(q bson.D) bool {
	for _, e := range q {
		value, ok := e.Value.(bson.RawValue)
		if !ok {
			continue
		}
		doc, _ := value.DocumentOK()
		if _, err := doc.LookupErr("_id"); err == nil && e.Key == "filter" {
			return true
		}
		if _, err := doc.LookupErr("kin.source"); err == nil && e.Key == "filter" {
			return true
		}
	}
	return false
}

// check fails the test if a query scans a collection or a whole index, or sorts what it has read.
func (p *plans) check(t *testing.T, c *mongo.Client) {
	p.mu.Lock()
	todo, unknown := p.todo, p.unknown
	p.todo, p.unknown = map[string]bson.D{}, nil
	p.mu.Unlock()
	if len(unknown) > 0 {
		t.Errorf("these commands may have queries that are not checked: %v", unknown)
	}
	for s, q := range todo {
		var plan bson.Raw
		err := c.Mongo().RunCommand(context.Background(),
			bson.D{{Key: "explain", Value: q}, {Key: "verbosity", Value: "queryPlanner"}}).Decode(&plan)
		if err != nil {
			t.Errorf("%s: %v", s, err)
			continue
		}
		for _, fault := range faultsOf(plan) {
			if !mayScan(q) && (fault != sorts || !maySort(q)) {
				t.Errorf("query %s %s", s, fault)
			}
		}
	}
}

const sorts = "sorts what it has read"

// faultsOf returns what makes a plan slow in a large collection.
func faultsOf(plan bson.Raw) (faults []string) {
	elements, _ := plan.Elements()
	for _, e := range elements {
		switch key := e.Key(); key {
		case "rejectedPlans", "command":
			continue
		case "stage":
			switch stage, _ := e.Value().StringValueOK(); stage {
			case "COLLSCAN":
				faults = append(faults, "scans the collection")
			case "SORT":
				faults = append(faults, sorts)
			}
		case "indexBounds":
			if bounds, ok := e.Value().DocumentOK(); ok {
				first := bounds.Index(0).Value().String()
				if strings.Contains(first, "[MinKey, MaxKey]") || strings.Contains(first, "[MaxKey, MinKey]") {
					faults = append(faults, fmt.Sprintf("scans a whole index: %s", bounds))
				}
			}
		}
		if inner, ok := e.Value().DocumentOK(); ok {
			faults = append(faults, faultsOf(inner)...)
		} else if list, ok := e.Value().ArrayOK(); ok {
			faults = append(faults, faultsOf(bson.Raw(list))...)
		}
	}
	return faults
}
