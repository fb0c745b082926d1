package devstack

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

// Brokers are the nodes of a RabbitMQ cluster that only one test uses. They are killed, frozen, stopped and restarted
// through [Server]; a node keeps its address.
type Brokers struct {
	Nodes []*Server
	URI   string // names all nodes, separated by commas, as rabbitmq.uri does
}

// Cluster starts a RabbitMQ cluster of n nodes. A node that can't reach most of the others pauses.
func Cluster(t testing.TB, n int) *Brokers {
	t.Helper()
	c := &Brokers{}
	cookie := rand.Text()
	var hosts []string
	for range n {
		s := Prepare(t, RabbitMQ)
		c.Nodes, hosts = append(c.Nodes, s), append(hosts, s.address())
	}
	c.URI = "amqp://guest:guest@" + strings.Join(hosts, ",") + "/"
	for i, s := range c.Nodes {
		text := "cluster_partition_handling = pause_minority\n"
		if i > 0 { // the first node starts alone, the others join it
			text += "cluster_formation.peer_discovery_backend = classic_config\n"
			for i, s := range c.Nodes {
				text += fmt.Sprintf("cluster_formation.classic_config.nodes.%d = %s\n", i+1, s.Node)
			}
		}
		if err := errors.Join(appendFile(filepath.Join(s.Dir, "rabbitmq.conf"), text),
			os.WriteFile(filepath.Join(s.Dir, ".erlang.cookie"), []byte(cookie), 0o400)); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Nodes[0].Start(); err != nil {
		unavailable(t, RabbitMQ, err)
	}
	errs := make([]error, n)
	var starting sync.WaitGroup
	for i, s := range c.Nodes[1:] {
		starting.Go(func() { errs[i] = s.Start() })
	}
	starting.Wait()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
	return c
}

func appendFile(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}
