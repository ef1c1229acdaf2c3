package redisclient_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/redisclient"
	"github.com/m7pulse/m7pulse/shared/redisclient/redistest"
)

func TestAnAddressNamesOneServerAClusterOrSentinels(t *testing.T) {
	f := func(address, want string) {
		t.Helper()
		client, err := redisclient.New(address)
		if err != nil {
			t.Errorf("%s: %v", address, err)
			return
		}
		defer client.Close()
		var got string
		switch c := client.(type) {
		case *redis.ClusterClient:
			o := c.Options()
			got = fmt.Sprintf("cluster %v %s:%s tls %v", o.Addrs, o.Username, o.Password, o.TLSConfig != nil)
		case *redis.Client:
			o := c.Options()
			got = fmt.Sprintf("%s %s:%s db %d tls %v", o.Addr, o.Username, o.Password, o.DB, o.TLSConfig != nil)
		}
		if got != want {
			t.Errorf("%s: %s, want %s", address, got, want)
		}
	}
	f("redis://h:6379", "h:6379 : db 0 tls false")
	f("rediss://u:p@h/3", "h:6379 u:p db 3 tls true")
	f("redis://u:p@h1:1?addr=h2:2&addr=h3:3", "cluster [h1:1 h2:2 h3:3] u:p tls false")
	f("rediss://h1:1?addr=h1:1", "cluster [h1:1 h1:1] : tls true")
	f("redis://h1:1?master_name=main&addr=h2:2&username=u&password=p&db=2", "FailoverClient u:p db 2 tls false")
}

func TestAnAddressThatCannotBeRightIsRefusedAndNotQuoted(t *testing.T) {
	for _, address := range []string{
		"", "h:6379", "http://:hunter2@h", "redis://:hunter2@[broken", "redis://:hunter2@h1:1,h2:2", "redis://:hunter2@h1,h2:2", "redis://:hunter2@h/x",
		"redis://u:12?hunter2=x@h:1", "redis://h?hunter2=1", "redis://h:1?addr=hunter2", "redis://h:1/3?addr=h2:2", "redis://h:1?master_name=",
		"redis://h:1?addr=h2:2&read_only=true", "redis://h:1?addr=h2:2&route_randomly=true", "redis://h:1?master_name=m&replica_only=true",
	} {
		err := redisclient.Validate(address)
		if err == nil {
			t.Errorf("%q was taken", address)
			continue
		}
		if strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: a part of it that may be a password in: %v", address, err)
		}
		if client, err := redisclient.New(address); err == nil || client != nil {
			t.Errorf("%q was opened", address)
		}
	}
}

func TestEachMasterOfAClusterIsReached(t *testing.T) {
	client, err := redisclient.New(redistest.Cluster(t))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	const keys = 100
	for i := range keys {
		if err := client.Set(t.Context(), fmt.Sprint("key ", i), i, 0).Err(); err != nil {
			t.Fatal(err)
		}
	}
	var found, masters atomic.Int64
	err = redisclient.EachMaster(t.Context(), client, func(ctx context.Context, server redis.UniversalClient) error {
		masters.Add(1)
		n, err := server.DBSize(ctx).Result()
		found.Add(n)
		return err
	})
	if err != nil || masters.Load() != 3 || found.Load() != keys {
		t.Errorf("%d keys on %d masters: %v; want %d on 3", found.Load(), masters.Load(), err, keys)
	}
}

func TestSentinelsSayWhereTheMasterIs(t *testing.T) {
	address, master := redistest.Sentinel(t)
	var clients []redis.UniversalClient
	for _, a := range []string{address, master} {
		client, err := redisclient.New(a)
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		clients = append(clients, client)
	}
	if err := clients[0].Set(t.Context(), "key", "value", 0).Err(); err != nil {
		t.Fatal(err)
	}
	if got, err := clients[1].Get(t.Context(), "key").Result(); err != nil || got != "value" {
		t.Errorf("the master has %q: %v", got, err)
	}
}
