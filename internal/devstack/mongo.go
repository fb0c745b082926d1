package devstack

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// setName is the name of every replica set.
const setName = "rs0"

// topology returns how single servers run.
func topology() string {
	if v := os.Getenv("AF_TEST_TOPOLOGY"); v != "" {
		return v
	}
	return topologySet
}

func (s *Server) prepareMongoDB() error {
	if s.Topology != topologySet && s.Topology != topologyStandalone {
		return fmt.Errorf("AF_TEST_TOPOLOGY is %q, want %s or %s", s.Topology, topologySet, topologyStandalone)
	}
	s.URI = fmt.Sprintf("mongodb://127.0.0.1:%d/", s.Port)
	return os.Mkdir(filepath.Join(s.Dir, "data"), 0o700)
}

// mongoDB returns the command of a server. Its cache and oplog are small, because tests store little and run several
// servers at once.
func (s *Server) mongoDB() (*exec.Cmd, error) {
	path, err := findMongod()
	if err != nil {
		return nil, err
	}
	cache := s.CacheGB
	if cache == 0 {
		cache = 0.25
	}
	args := []string{"--dbpath", filepath.Join(s.Dir, "data"), "--port", strconv.Itoa(s.Port), "--bind_ip", "127.0.0.1",
		"--nounixsocket", "--quiet", "--wiredTigerCacheSizeGB", strconv.FormatFloat(cache, 'f', -1,
			64), "--setParameter", "diagnosticDataCollectionEnabled=false"}
	if s.Topology != topologyStandalone {
		args = append(args, "--replSet", setName, "--oplogSize", "200")
	}
	return exec.Command(path, args...), nil
}

// hello is what a server reports about itself before authentication.
type hello struct {
	WritablePrimary bool   `bson:"isWritablePrimary"`
	Secondary       bool   `bson:"secondary"`
	SetName         string `bson:"setName"`
	Uninitiated     bool   `bson:"isreplicaset"` // it waits for replSetInitiate
}

func (s *Server) hello() (h hello, err error) {
	err = s.admin(func(ctx context.Context, db *mongo.Database) error {
		return db.RunCommand(ctx, bson.D{{Key: "hello", Value: 1}}).Decode(&h)
	})
	return h, err
}

// mongoReady returns nil if a server accepts writes. A member of a larger replica set may be a secondary and only
// needs to respond. It initiates a replica set of one after the first response.
func (s *Server) mongoReady() error {
	h, err := s.hello()
	switch {
	case err != nil:
		return err
	case h.WritablePrimary, s.Topology == topologyMember:
		return nil
	case h.Uninitiated:
		if err := s.initiate(s); err != nil {
			return err
		}
	}
	return errors.New("it has no primary yet")
}

// initiate creates a replica set of members. Call it once, on any of them.
func (s *Server) initiate(members ...*Server) error {
	var list bson.A
	for i, m := range members {
		list = append(list, bson.D{{Key: "_id", Value: i}, {Key: "host", Value: m.address()}})
	}
	config := bson.D{{Key: "_id", Value: setName}, {Key: "members", Value: list}}
	return s.admin(func(ctx context.Context, db *mongo.Database) error {
		return db.RunCommand(ctx, bson.D{{Key: "replSetInitiate", Value: config}}).Err()
	})
}

// admin calls f with the admin database of this server alone, whatever replica set it is in.
func (s *Server) admin(f func(ctx context.Context, db *mongo.Database) error) error {
	return withMongo(s.URI, s.TLS, mayBeDown, func(ctx context.Context,
		c *mongo.Client) error {
		return f(ctx, c.Database("admin"))
	})
}

// Timeouts for server selection.
const (
	mayBeDown = 2 * time.Second
	runs      = 30 * time.Second // long enough for a busy machine
)

// withMongo calls f with a client that selects a server within patience.
func withMongo(uri string, secure *tls.Config, patience time.Duration,
	f func(ctx context.Context, c *mongo.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience+10*time.Second)
	defer cancel()
	o := options.Client().ApplyURI(uri).SetServerSelectionTimeout(patience)
	if len(o.Hosts) == 1 {
		o.SetDirect(true)
	}
	if secure != nil {
		o.SetTLSConfig(secure)
	}
	c, err := mongo.Connect(o)
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, c), c.Disconnect(ctx))
}

// WithDatabase returns the URI with another database as its path. The authentication database stays the same.
func WithDatabase(uri, name string) string {
	scheme, rest, _ := strings.Cut(uri, "://")
	base, query, _ := strings.Cut(rest, "?")
	hosts, database, _ := strings.Cut(base, "/")
	if strings.Contains(hosts, "@") && !strings.Contains(strings.ToLower(query), "authsource=") {
		if database == "" {
			database = "admin"
		}
		query = strings.TrimPrefix(query+"&authSource="+database, "&")
	}
	uri = scheme + "://" + hosts + "/" + url.PathEscape(name)
	if query != "" {
		uri += "?" + query
	}
	return uri
}

// Empty deletes all documents of a database, and keeps its collections and indexes.
func Empty(uri string) error {
	return withDatabase(uri, runs, func(ctx context.Context, db *mongo.Database) error {
		names, err := db.ListCollectionNames(ctx, bson.D{})
		for _, name := range names {
			if err == nil {
				_, err = db.Collection(name).DeleteMany(ctx, bson.D{})
			}
		}
		return err
	})
}

// withDatabase calls f with the database in a URI.
func withDatabase(uri string, patience time.Duration, f func(ctx context.Context, db *mongo.Database) error) error {
	base, _, _ := strings.Cut(uri, "?")
	return withMongo(uri, nil, patience, func(ctx context.Context, c *mongo.Client) error {
		return f(ctx, c.Database(base[strings.LastIndex(base, "/")+1:]))
	})
}

// dropDatabase drops a test's database if the server still runs.
func dropDatabase(uri string) {
	_ = withDatabase(uri, mayBeDown, func(ctx context.Context, db *mongo.Database) error { return db.Drop(ctx) })
}
