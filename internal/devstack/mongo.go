package devstack

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"time"

	"github.com/gofrs/flock"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// standIn is what stands in for MongoDB, as pip knows it. Another version has to pass TestMongoIsFitForAStore.
const standIn = "SecantusDB==0.7.0b3"

func (s *Server) mongoDB() (*exec.Cmd, error) {
	bin, err := installStandIn()
	if err != nil {
		return nil, err
	}
	return exec.Command(filepath.Join(bin, "secantusd-py"), "--host", "127.0.0.1", "--port", strconv.Itoa(s.Port),
		"--storage-path", filepath.Join(s.Dir, "data"), "--log-level", "WARNING", "--cache-size", "256M"), nil
}

// installStandIn returns the folder of the stand-in's programs, and installs them where they aren't there. Of several
// processes that want to, one does.
func installStandIn() (string, error) {
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "afgen", strings.ReplaceAll(standIn, "==", "-"))
	bin, mark := filepath.Join(dir, "bin"), filepath.Join(dir, "installed")
	if _, err := os.Stat(mark); err == nil {
		return bin, nil
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	lock := flock.New(dir + ".lock")
	if err := lock.Lock(); err != nil {
		return "", err
	}
	defer lock.Unlock() // it also goes with the process
	if _, err := os.Stat(mark); err == nil {
		return bin, nil
	}
	if runtime.GOOS == "windows" {
		return "", errors.New("the stand-in for MongoDB is not installed on Windows")
	}
	for _, args := range [][]string{
		{"python3", "-m", "venv", "--clear", dir},
		{filepath.Join(bin, "pip"), "install", "--quiet", "--disable-pip-version-check", "--retries", "2", "--timeout", "20", standIn},
	} {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
		cancel()
		if err != nil {
			return "", fmt.Errorf("installing the stand-in for MongoDB, which needs python3, python3-venv and the network: %s: %w: %s",
				strings.Join(args, " "), err, out)
		}
	}
	return bin, os.WriteFile(mark, nil, 0o600)
}

// withDatabase returns the URI with another database as its path. Who is looked up where stays as it was.
func withDatabase(uri, name string) string {
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

func withMongo(uri string, f func(ctx context.Context, c *mongo.Client) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	c, err := mongo.Connect(options.Client().ApplyURI(uri).SetServerSelectionTimeout(2 * time.Second))
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, c), c.Disconnect(ctx))
}

// pingMongo does what every connection begins with, and a read.
func pingMongo(uri string) error {
	return withMongo(uri, func(ctx context.Context, c *mongo.Client) error {
		return c.Database("admin").RunCommand(ctx, bson.D{{Key: "ping", Value: 1}}).Err()
	})
}

// dropDatabase removes what a test has left. A server that is gone has nothing left.
func dropDatabase(uri string) {
	_ = withMongo(uri, func(ctx context.Context, c *mongo.Client) error {
		base, _, _ := strings.Cut(uri, "?")
		return c.Database(base[strings.LastIndex(base, "/")+1:]).Drop(ctx)
	})
}
