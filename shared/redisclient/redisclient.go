// Package redisclient opens the Redis that an address names: one server, the
// master that Sentinels watch, or a cluster.
package redisclient

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"

	"github.com/redis/go-redis/v9"
)

var (
	// errForm quotes nothing of the address, nor go-redis' reason: any part of it may
	// belong to a password with a character that was not escaped.
	errForm = errors.New("want redis://user:password@host:port/db for one server, " +
		"redis://user:password@host:port?addr=host2:port2&addr=host3:port3 for a cluster, or " +
		"redis://host:port?master_name=name&addr=host2:port2&username=user&password=password for Sentinels; rediss:// for TLS")
	// A replica lags behind: a lease or a position read there may be out of date.
	errReplicas = errors.New("state is read from masters only: want none of read_only, replica_only, route_by_latency, " +
		"route_randomly and use_disconnected_replicas")
)

// New returns a client for an address. It connects to nothing: each server is
// called when it is first needed.
//
// With master_name the addresses are those of Sentinels; with addr, which may
// repeat the host, they are seeds of a cluster; without either there is one server.
// Other parameters are those of go-redis' ParseURL, ParseClusterURL and
// ParseFailoverURL. An error does not name the variable that holds the address.
func New(address string) (redis.UniversalClient, error) {
	open, err := parse(address)
	if err != nil {
		return nil, err
	}
	return open(), nil
}

// Validate says what is wrong with an address without quoting it.
func Validate(address string) error {
	_, err := parse(address)
	return err
}

func parse(address string) (open func() redis.UniversalClient, err error) {
	u, err := url.Parse(address)
	if err != nil || strings.Contains(u.Host, ",") {
		return nil, errForm
	}
	query := u.Query()
	switch {
	case query.Has("master_name"):
		o, err := redis.ParseFailoverURL(address)
		if err != nil || o.MasterName == "" {
			return nil, errForm
		}
		if o.ReplicaOnly || o.RouteByLatency || o.RouteRandomly || o.UseDisconnectedReplicas {
			return nil, errReplicas
		}
		return func() redis.UniversalClient { return redis.NewFailoverClient(o) }, nil
	case query.Has("addr"):
		o, err := redis.ParseClusterURL(address)
		if err != nil || strings.Trim(u.Path, "/0") != "" { // a cluster has no database but 0
			return nil, errForm
		}
		if o.ReadOnly || o.RouteByLatency || o.RouteRandomly {
			return nil, errReplicas
		}
		return func() redis.UniversalClient { return redis.NewClusterClient(o) }, nil
	default:
		o, err := redis.ParseURL(address)
		if err != nil {
			return nil, errForm
		}
		return func() redis.UniversalClient { return redis.NewClient(o) }, nil
	}
}

// EachMaster calls f for every server that holds data: the one server, or all
// masters of a cluster at the same time. It returns one of their errors.
func EachMaster(ctx context.Context, rdb redis.UniversalClient, f func(context.Context, redis.UniversalClient) error) error {
	if cluster, ok := rdb.(*redis.ClusterClient); ok {
		return cluster.ForEachMaster(ctx, func(ctx context.Context, master *redis.Client) error { return f(ctx, master) })
	}
	return f(ctx, rdb)
}

// Memory is what a server uses for data, in bytes.
func Memory(ctx context.Context, server redis.UniversalClient) (float64, error) {
	text, err := server.Info(ctx, "memory").Result()
	if err != nil {
		return 0, fmt.Errorf("ask Redis for its memory: %w", err)
	}
	_, rest, _ := strings.Cut(text, "used_memory:")
	number, _, _ := strings.Cut(rest, "\r")
	used, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil {
		return 0, fmt.Errorf("read the memory of Redis: %w", err)
	}
	return used, nil
}
