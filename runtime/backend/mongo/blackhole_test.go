package mongo_test

import (
	"strings"
	"testing"
	"time"

	"github.com/afgen/afgen/internal/devstack"
	"github.com/afgen/afgen/internal/testkit"
)

// After a network cut, the server is found within seconds, even if connections started during the cut hang.
func TestRecoveryAfterNetworkCut(t *testing.T) {
	testkit.Long(t, "waits for time-outs")
	uri := devstack.Mongo(t)
	if strings.ContainsAny(uri, ",@") {
		t.Skip("NOT TESTED: the proxy needs a single MongoDB without a password")
	}
	proxy, through := testkit.NewProxyURI(t, uri, testkit.ProxyConfig{})
	base, query, _ := strings.Cut(through, "?")
	c := join(t, base+"?"+strings.TrimPrefix(query+"&directConnection=true", "&"))
	wait := func(down bool) time.Duration {
		begun := time.Now()
		deadline := time.After(30 * time.Second)
		for {
			changed, err := c.State()
			if (err != nil) == down {
				return time.Since(begun)
			}
			select {
			case <-changed:
			case <-deadline:
				t.Fatalf("down is not %v: %v", down, err)
			}
		}
	}
	must(t, c.Ping(t.Context()))
	proxy.Drop(true)
	wait(true)
	for range 2 { // connections that still hang when the network is back
		<-proxy.Dropped()
	}
	proxy.Drop(false)
	if took := wait(false); took > 9*time.Second {
		t.Errorf("recovered after %v", took)
	}
}
