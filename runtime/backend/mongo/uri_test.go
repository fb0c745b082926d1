package mongo_test

import (
	"strings"
	"testing"

	"github.com/afgen/afgen/runtime/backend"
	"github.com/afgen/afgen/runtime/backend/mongo"
)

// Options of the URI that would have no effect are refused.
func TestWeakerGuaranteesAreRefused(t *testing.T) {
	for query, want := range map[string]string{
		"":                                      "",
		"w=majority&journal=true":               "",
		"replicaSet=rs0&readPreference=primary": "",
		"readConcernLevel=local":                "",
		"w=1":                                   "w=1",
		"w=zones":                               "w=zones",
		"journal=false":                         "journal=false",
		"readPreference=secondaryPreferred":     "readPreference=secondaryPreferred",
		"readConcernLevel=majority":             "readConcernLevel=majority",
	} {
		c, err := mongo.New(mongo.Config{URI: "mongodb://ann:secret@127.0.0.1:1/?" + query, Database: "d"})
		switch {
		case err == nil:
			if err := c.Close(t.Context()); err != nil {
				t.Error(err)
			}
			if want != "" {
				t.Errorf("%s is accepted", query)
			}
		case want == "" || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "secret") ||
			backend.CodeOf(err) != backend.ErrInvalidArgument:
			t.Errorf("%s: %v", query, err)
		}
	}
}
