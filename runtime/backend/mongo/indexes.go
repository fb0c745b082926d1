package mongo

import (
	"context"
	"maps"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/runtime/backend"
)

// Filters and updates are built from these. An m is encoded with sorted keys, so that equal queries have equal bytes.
type (
	m map[string]any
	d = bson.D // if the order matters
)

// MarshalBSON implements bson.Marshaler.
func (x m) MarshalBSON() ([]byte, error) {
	ordered := make(d, 0, len(x))
	for _, key := range slices.Sorted(maps.Keys(x)) {
		ordered = append(ordered, bson.E{Key: key, Value: x[key]})
	}
	return bson.Marshal(ordered)
}

func asc(field string) bson.E  { return bson.E{Key: field, Value: 1} }
func desc(field string) bson.E { return bson.E{Key: field, Value: -1} }

// onlyFailed is the filter for failed tasks.
var onlyFailed = m{"status": "failed"}

// above returns the filter for documents with a greater value of a field.
func above(field string, value any) m { return m{field: m{"$gt": value}} }

// indexes are the indexes on tasks. A name states the purpose and is never reused for another index, since programs of
// other versions may run concurrently and create their own.
var indexes = []struct {
	name   string
	keys   d
	sparse bool
	unique bool
	only   m // if not nil, only these documents are in the index, and only queries that imply it use it
}{
	// Waiting tasks of a queue: ready ones, best first, and delayed ones.
	{"waiting", d{asc("queue"), asc("place"), desc("weight"), asc("created"), asc("_id")}, false, false,
		above("place", 0)},
	{"delayed", d{asc("queue"), asc("place"), asc("due")}, false, false, above("wake", 0)},
	// Lists by creation, of one queue or all. A query without statuses uses all seven.
	{"list", d{asc("queue"), asc("status"), asc("created"), asc("_id")}, false, false, nil},
	{"list_all", d{asc("status"), asc("created"), asc("_id")}, false, false, nil},
	// Failed tasks by the code of their errors, of one queue or all, by creation and by end.
	{"codes", d{asc("queue"), asc("error.code"), asc("created"), asc("_id")}, false, false, onlyFailed},
	{"codes_all", d{asc("error.code"), asc("created"), asc("_id")}, false, false, onlyFailed},
	{"codes_ended", d{asc("queue"), asc("error.code"), asc("ended"), asc("created"), asc("_id")}, false, false,
		onlyFailed},
	{"codes_all_ended", d{asc("error.code"), asc("ended"), asc("created"), asc("_id")}, false, false, onlyFailed},
	// Candidates for purging, and lists by end.
	{"finals", d{asc("top"), asc("queue"), asc("ended"), asc("created"), asc("_id")}, false, false, nil},

	{"key", d{asc("key")}, true, true, nil},
	{"owner", d{asc("owner"), asc("nonce")}, true, false, nil},
	{"deadline", d{asc("expires.queue"), asc("expires.at")}, true, false, nil},
	{"late", d{asc("expires.at")}, true, false, nil},
	{"subtasks", d{asc("kin.source"), asc("kin.created"), asc("_id")}, false, false, above("kin.source", "")},
	{"live", d{asc("live")}, true, false, nil},
	{"held", d{asc("held")}, true, false, nil},
	{"shut", d{asc("shut")}, true, false, nil},
	{"fast", d{asc("fast")}, true, false, nil},
	{"unfit", d{asc("unfit")}, true, false, nil},
	{"open_set", d{asc("open_set")}, true, false, nil},
	{"lost", d{asc("suspect.owner")}, true, false, nil},
}

// MissingIndexes returns the names of the indexes on tasks that don't exist, such as ones that an administrator has
// dropped. If there is no collection of tasks yet, it returns none. It needs permission to listIndexes, which the role
// read includes.
func (c *Client) MissingIndexes(ctx context.Context) ([]string, error) {
	ctx, done, err := c.begin(ctx)
	defer done()
	if err != nil {
		return nil, err
	}
	existing, err := c.tasks.Indexes().ListSpecifications(ctx)
	if err != nil {
		return nil, c.wrapError(ctx, err, backend.OutcomeNotSent)
	}
	if len(existing) == 0 {
		return nil, nil
	}
	var names []string
	for _, x := range indexes {
		if !slices.ContainsFunc(existing, func(s driver.IndexSpecification) bool { return s.Name == x.name }) {
			names = append(names, x.name)
		}
	}
	return names, nil
}

// createIndexes creates missing indexes. Several programs may do so concurrently.
func (c *Client) createIndexes(ctx context.Context) error {
	models := make([]driver.IndexModel, len(indexes))
	for i, x := range indexes {
		o := options.Index().SetName(x.name)
		if x.sparse {
			o.SetSparse(true)
		}
		if x.unique {
			o.SetUnique(true)
		}
		if x.only != nil {
			o.SetPartialFilterExpression(x.only)
		}
		models[i] = driver.IndexModel{Keys: x.keys, Options: o}
	}
	_, err := c.tasks.Indexes().CreateMany(ctx, models)
	return err
}
