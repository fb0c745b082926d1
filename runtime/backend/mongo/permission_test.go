package mongo

import (
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// What mongod 8 answers to connectionStatus, cut down to what is read.
func TestMissingPermissionsAreNamed(t *testing.T) {
	role := func(tasks string) string {
		return `{"resource": {"db": "shop", "collection": "tasks"}, "actions": [` + tasks + `]},
			{"resource": {"db": "shop", "collection": "owners"}, "actions": ["find", "insert", "update", "remove"]},
			{"resource": {"db": "shop", "collection": "docs"}, "actions": ["find", "insert", "remove", "update"]}`
	}
	for name, test := range map[string]struct {
		privileges string
		want       []string
	}{
		"all of it":        {role(`"createIndex", "find", "insert", "remove", "update"`), nil},
		"readWrite":        {`{"resource": {"db": "shop", "collection": ""}, "actions": ["createIndex", "find", "insert", "remove", "update"]}`, nil},
		"root":             {`{"resource": {"anyResource": true}, "actions": ["anyAction"]}`, nil},
		"on all databases": {`{"resource": {"db": "", "collection": ""}, "actions": ["createIndex", "find", "insert", "remove", "update"]}`, nil},
		"one is missing":   {role(`"find", "insert", "remove", "update"`), []string{"createIndex in shop.tasks"}},
		"of two roles":     {role(`"find", "insert"`) + `,` + role(`"createIndex", "remove", "update"`), nil},
		"another database": {`{"resource": {"db": "other", "collection": ""}, "actions": ["createIndex", "find", "insert", "remove", "update"]}`, []string{
			"find, insert, update, remove, createIndex in shop.tasks", "find, insert, update, remove in shop.owners", "find, insert, update, remove in shop.docs"}},
		"only the cluster's": {`{"resource": {"cluster": true}, "actions": ["find", "insert", "update", "remove", "createIndex"]}`, []string{
			"find, insert, update, remove, createIndex in shop.tasks", "find, insert, update, remove in shop.owners", "find, insert, update, remove in shop.docs"}},
	} {
		var answer struct{ Privileges []privilege }
		if err := bson.UnmarshalExtJSON([]byte(`{"privileges": [`+test.privileges+`]}`), false, &answer); err != nil {
			t.Fatal(name, err)
		}
		if got := missing(answer.Privileges, "shop"); !slices.Equal(got, test.want) {
			t.Errorf("%s: missing %q, want %q", name, got, test.want)
		}
	}
}
