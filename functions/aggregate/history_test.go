package aggregate

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

func TestRedisIsCheckedForEvictionAndPersistence(t *testing.T) {
	// f opens a Redis of some configuration and says whether it is refused, and
	// whether there is a warning.
	f := func(config map[string]string, refused, warned bool) {
		t.Helper()
		redis := miniredis.RunT(t)
		if err := redis.Server().Register("CONFIG", func(c *server.Peer, _ string, args []string) {
			c.WriteMapLen(1)
			c.WriteBulk(args[1])
			c.WriteBulk(config[args[1]])
		}); err != nil {
			t.Fatal(err)
		}
		m, err := newHistoryStore("redis://" + redis.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer m.redis.Close()
		var log bytes.Buffer
		before := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
		defer slog.SetDefault(before)
		err = m.open(t.Context(), "topic")
		if got := errors.Is(err, kafka.ErrFatal); got != refused {
			t.Errorf("%v: %v, want refused: %v", config, err, refused)
		}
		if got := strings.Contains(log.String(), "does not persist"); got != warned {
			t.Errorf("%v: log %q, want a warning: %v", config, log.String(), warned)
		}
	}
	f(map[string]string{"maxmemory-policy": "noeviction", "appendonly": "yes", "save": ""}, false, false)
	f(map[string]string{"maxmemory-policy": "noeviction", "appendonly": "no", "save": "3600 1"}, false, false)
	f(map[string]string{"maxmemory-policy": "noeviction", "appendonly": "no", "save": ""}, false, true)
	f(map[string]string{"maxmemory-policy": "allkeys-lru", "appendonly": "yes", "save": ""}, true, false)
}
