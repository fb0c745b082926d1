package mongo

import (
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

// checkURI returns an error if the URI's options ask for weaker guarantees than those that the package needs and sets.
// They would have no effect.
func checkURI(o *options.ClientOptions) error {
	if w := o.WriteConcern; w != nil {
		if w.W != nil && w.W != writeconcern.WCMajority {
			return invalidConfig("mongodb: the URI has w=%v, want w=majority or no w: a write that a failover undoes "+
				"would repeat or lose tasks", w.W)
		}
		if w.Journal != nil && !*w.Journal {
			return invalidConfig("mongodb: the URI has journal=false: a write that a restart undoes would repeat or lose tasks")
		}
	}
	if p := o.ReadPreference; p != nil && p.Mode() != readpref.PrimaryMode {
		return invalidConfig("mongodb: the URI has readPreference=%v, want primary or none: tasks are read and written "+
			"on the primary only", p.Mode())
	}
	if r := o.ReadConcern; r != nil && r.Level != "" && r.Level != "local" {
		return invalidConfig("mongodb: the URI has readConcernLevel=%s, want local or none", r.Level)
	}
	return nil
}
