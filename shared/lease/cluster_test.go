package lease_test

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/lease"
	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/redisclient/redistest"
)

// Keys of all nodes, with and without a hash tag of their own: a script whose
// keys lie on two nodes is refused by a real cluster.
func TestLeasesOfAClusterAreHeldByOneAtATime(t *testing.T) {
	rdb, err := redisclient.New(redistest.Cluster(t))
	if err != nil {
		t.Fatal(err)
	}
	defer rdb.Close()
	for i := range 50 {
		key := fmt.Sprintf([]string{"lock:%d", "lock:{%d}", "{lock:%d}:held"}[i%3], i)
		first, err := lease.Acquire(t.Context(), rdb, key, time.Minute)
		if err != nil {
			t.Fatal(err)
		}
		var held *lease.Held
		if _, err := lease.Acquire(t.Context(), rdb, key, time.Minute); !errors.As(err, &held) || held.Token != first.Token() {
			t.Fatalf("%s for a second holder: %v", key, err)
		}
		if err := errors.Join(first.Renew(t.Context()), first.Release(t.Context())); err != nil {
			t.Fatal(err)
		}
		second, err := lease.Acquire(t.Context(), rdb, key, time.Minute)
		if err != nil || second.Token() <= first.Token() {
			t.Fatalf("%s after its release: %v", key, err)
		}
		if err := first.Renew(t.Context()); !errors.Is(err, lease.ErrLost) {
			t.Fatalf("%s was renewed by a holder that had released it: %v", key, err)
		}
	}
}
