package mongo

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// The privileges are mongod 8's replies to connectionStatus, reduced to the fields that are read.
func TestMissingPermissionsAreNamed(t *testing.T) {
	role := func(tasks string) string {
		return `{"resource": {"db": "shop", "collection": "tasks"}, "actions": [` + tasks + `]},
			{"resource": {"db": "shop", "collection": "owners"}, "actions": ["find", "insert", "update", "remove"]},
			{"resource": {"db": "shop", "collection": "docs"}, "actions": ["find", "insert", "remove", "update"]}`
	}
	on := func(resource string) string {
		return `{"resource": {` + resource + `}, "actions": ["createIndex", "find", "insert", "remove", "update"]}`
	}
	for name, test := range map[string]struct {
		privileges string
		want       []string
	}{
		"all":           {role(`"createIndex", "find", "insert", "remove", "update"`), nil},
		"readWrite":     {on(`"db": "shop", "collection": ""`), nil},
		"root":          {`{"resource": {"anyResource": true}, "actions": ["anyAction"]}`, nil},
		"all_databases": {on(`"db": "", "collection": ""`), nil},
		"one_missing":   {role(`"find", "insert", "remove", "update"`), []string{"createIndex in shop.tasks"}},
		"two_roles":     {role(`"find", "insert"`) + `,` + role(`"createIndex", "remove", "update"`), nil},
		"another_database": {on(`"db": "other", "collection": ""`), []string{
			"find, insert, update, remove, createIndex in shop.tasks", "find, insert, update, remove in shop.owners",
			"find, insert, update, remove in shop.docs"}},
		"cluster_only": {`{"resource": {"cluster": true}, "actions": ["find", "insert", "update", "remove", "createIndex"]}`,
			[]string{
				"find, insert, update, remove, createIndex in shop.tasks", "find, insert, update, remove in shop.owners",
				"find, insert, update, remove in shop.docs"}},
	} {
		var answer struct{ Privileges []privilege }
		if err := bson.UnmarshalExtJSON([]byte(`{"privileges": [`+test.privileges+`]}`), false, &answer); err != nil {
			t.Fatal(name, err)
		}
		if got := missing(answer.Privileges, "shop", false); !slices.Equal(got, test.want) {
			t.Errorf("%s: missing %q, want %q", name, got, test.want)
		}
		if got := missing(answer.Privileges, "shop", true); (got != nil) != strings.Contains(fmt.Sprint(test.want), "find") {
			t.Errorf("%s: an observer lacks %q", name, got)
		}
	}
}
