package mongo

import (
	"context"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/afgen/afgen/runtime/backend"
)

// needed are the actions required on each collection. docs/servers.md has them as a role.
var needed = []struct {
	collection string
	actions    []string
}{
	{"tasks", []string{"find", "insert", "update", "remove", "createIndex"}},
	{"owners", []string{"find", "insert", "update", "remove"}},
	{"docs", []string{"find", "insert", "update", "remove"}},
}

// A privilege is one privilege of a user, as connectionStatus reports it. An empty name means all.
type privilege struct {
	Resource struct {
		DB          *string `bson:"db"`
		Collection  *string `bson:"collection"`
		AnyResource bool    `bson:"anyResource"`
	}
	Actions []string `bson:"actions"`
}

// checkPermissions returns an error that names the required actions that the user lacks. Without authentication the
// server reports no privileges. Then it returns nil, and the first forbidden operation fails.
func (c *Client) checkPermissions(ctx context.Context) error {
	var status struct {
		AuthInfo struct {
			Privileges []privilege `bson:"authenticatedUserPrivileges"`
		} `bson:"authInfo"`
	}
	cmd := bson.D{{Key: "connectionStatus", Value: 1}, {Key: "showPrivileges", Value: true}}
	raw, err := c.db.RunCommand(ctx, cmd).Raw()
	if err != nil {
		return err
	}
	if err := bson.Unmarshal(raw, &status); err != nil || len(status.AuthInfo.Privileges) == 0 {
		return nil
	}
	if missing := missing(status.AuthInfo.Privileges, c.config.Database, c.config.Observer); len(missing) > 0 {
		return backend.Errorf(backend.ErrPermissionDenied, "MongoDB at %s: the user lacks permission to %s", c.config.Address,
			strings.Join(missing, ", to ")).With(backend.OutcomeNotSent)
	}
	return nil
}

// missing returns the required actions that the privileges don't grant. An observer needs only to find.
func missing(privileges []privilege, database string, observer bool) (all []string) {
	covers := func(p privilege, collection string) bool {
		is := func(name *string, want string) bool { return name != nil && (*name == "" || *name == want) }
		return p.Resource.AnyResource || is(p.Resource.DB, database) && is(p.Resource.Collection, collection)
	}
	for _, n := range needed {
		var lacks []string
		actions := n.actions
		if observer {
			actions = []string{"find"}
		}
		for _, action := range actions {
			if !slices.ContainsFunc(privileges, func(p privilege) bool {
				return covers(p, n.collection) && (slices.Contains(p.Actions, action) || slices.Contains(p.Actions, "anyAction"))
			}) {
				lacks = append(lacks, action)
			}
		}
		if len(lacks) > 0 {
			all = append(all, strings.Join(lacks, ", ")+" in "+database+"."+n.collection)
		}
	}
	return all
}
