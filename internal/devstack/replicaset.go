package devstack

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// Replicas are the members of a MongoDB replica set that only one test uses. They are killed, stopped and restarted
// through [Server]; a member keeps its address.
type Replicas struct {
	Members []*Server
	URI     string // names all members; WithDatabase adds a database
}

// ReplicaSet starts a replica set of n members with MongoDB's default timeouts: an election takes about 11 s. It
// returns when there is a primary.
func ReplicaSet(t testing.TB, n int) *Replicas {
	t.Helper()
	rs := &Replicas{}
	var hosts []string
	for range n {
		m := Prepare(t, MongoDB)
		m.Topology = topologyMember
		rs.Members, hosts = append(rs.Members, m), append(hosts, m.address())
	}
	rs.URI = "mongodb://" + strings.Join(hosts, ",") + "/?replicaSet=" + setName
	errs := make([]error, n)
	var starting sync.WaitGroup
	for i, m := range rs.Members {
		starting.Go(func() { errs[i] = m.Start() })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		unavailable(t, MongoDB, err)
	}
	if err := rs.Members[0].initiate(rs.Members...); err != nil {
		t.Fatalf("devstack: replSetInitiate: %v", err)
	}
	if _, err := rs.Primary(); err != nil {
		t.Fatal(err)
	}
	return rs
}

// Primary returns the member that accepts writes. During an election it waits for the result, for at most a minute.
func (rs *Replicas) Primary() (*Server, error) {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		for _, m := range rs.Members {
			if !m.running() {
				continue
			}
			if h, err := m.hello(); err == nil && h.WritablePrimary {
				return m, nil
			}
		}
	}
	return nil, fmt.Errorf("devstack: the replica set has no primary after %v", patience)
}

// Await waits until one member is the primary and all others are secondaries, for at most a minute. A restarted member
// needs a while to catch up.
func (rs *Replicas) Await() error {
	for end := time.Now().Add(patience); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		ready := 0
		for _, m := range rs.Members {
			if h, err := m.hello(); err == nil && (h.WritablePrimary || h.Secondary) {
				ready++
			}
		}
		if ready == len(rs.Members) {
			_, err := rs.Primary()
			return err
		}
	}
	return fmt.Errorf("devstack: members of the replica set are not ready after %v", patience)
}

// StepDown makes the primary hand over to another member, which must have caught up. It returns the old primary.
func (rs *Replicas) StepDown() (*Server, error) {
	old, err := rs.Primary()
	if err != nil {
		return nil, err
	}
	return old, old.admin(func(ctx context.Context, db *mongo.Database) error {
		return db.RunCommand(ctx,
			bson.D{{Key: "replSetStepDown", Value: 30}, {Key: "secondaryCatchUpPeriodSecs", Value: 10}}).Err()
	})
}
