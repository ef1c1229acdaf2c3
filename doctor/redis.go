package doctor

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/redis/go-redis/v9"

	"github.com/m7pulse/m7pulse/shared/redisclient"
)

func redisServer(ctx context.Context, of Installation, n *notes) error {
	client, err := redisclient.New(of.Env["REDIS_URL"])
	if err != nil {
		return err
	}
	defer client.Close()
	return redisclient.EachMaster(ctx, client, func(ctx context.Context, server redis.UniversalClient) error {
		return lookAtRedis(ctx, server, n)
	})
}

func lookAtRedis(ctx context.Context, server redis.UniversalClient, n *notes) error {
	asked := time.Now()
	now, err := server.Time(ctx).Result()
	if err != nil {
		return fmt.Errorf("ask for its time: %w", err)
	}
	n.clock(now, asked, 0)
	text, err := server.Info(ctx, "server", "replication", "memory", "persistence").Result()
	if err != nil {
		return fmt.Errorf("ask for its state: %w", err)
	}
	info := map[string]string{}
	for line := range strings.Lines(text) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok {
			info[name] = value
		}
	}
	n.ok("version %s, %s in use", info["redis_version"], info["used_memory_human"])
	if info["role"] == "slave" {
		n.wrong("set REDIS_URL to the master, or to the Sentinels that know it", "it is a replica and refuses writes")
	}
	if p := info["maxmemory_policy"]; p != "" && p != "noeviction" {
		n.wrong("set maxmemory-policy noeviction: aggregate refuses a server that evicts its histories", "it evicts keys when it is full (%s)", p)
	}
	used, _ := strconv.ParseUint(info["used_memory"], 10, 64)
	most, _ := strconv.ParseUint(info["maxmemory"], 10, 64)
	if most > 0 && used > most/5*4 {
		n.warning("raise maxmemory: at its limit it refuses writes, and the pipeline waits", "%s of %s are in use", humanize.IBytes(used), humanize.IBytes(most))
	}
	if info["aof_last_write_status"] == "err" || info["rdb_last_bgsave_status"] == "err" {
		n.wrong("make room on its disk and look at its log", "it could not write its data to disk")
	}
	if info["aof_enabled"] == "0" {
		n.warning("set appendonly yes: without it aggregate reads its histories from Kafka again after each restart", "it does not keep an append-only file")
	}
	return nil
}
