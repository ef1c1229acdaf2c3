package redis

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const dirVariable = "REDIS_TEST_DIR"

// TestMain runs this binary again as the parent of a redis-server, to be killed.
func TestMain(m *testing.M) {
	dir := os.Getenv(dirVariable)
	if dir == "" {
		os.Exit(m.Run())
	}
	s, err := Start(context.Background(), Config{Dir: dir})
	if err != nil {
		panic(err)
	}
	fmt.Println(s.Addr())
	select {}
}

// start runs a Redis until the test ends: redis-server, or miniredis.
func start(t *testing.T, cfg Config, mini bool) *Server {
	t.Helper()
	if mini {
		t.Setenv("PATH", t.TempDir())
	} else if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("no redis-server on PATH")
	}
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func connect(t *testing.T, addr string) *redis.Client {
	t.Helper()
	client := redis.NewClient(&redis.Options{Addr: addr})
	t.Cleanup(func() { client.Close() })
	return client
}

func TestBothKindsAnswerAndExpire(t *testing.T) {
	for _, mini := range []bool{false, true} {
		t.Run(fmt.Sprint("mini=", mini), func(t *testing.T) {
			s := start(t, Config{Dir: t.TempDir()}, mini)
			t.Log(s.Kind())
			if name, version, ok := strings.Cut(s.Kind(), " "); mini && s.Kind() != "miniredis" || !mini && (name != "redis-server" || !ok || version == "") {
				t.Errorf("kind %q", s.Kind())
			}
			client := connect(t, s.Addr())
			if err := client.Set(t.Context(), "lease", "x", 500*time.Millisecond).Err(); err != nil {
				t.Fatal(err)
			}
			begun := time.Now()
			for client.Exists(t.Context(), "lease").Val() == 1 {
				if time.Since(begun) > 5*time.Second {
					t.Fatal("it never expired")
				}
				time.Sleep(5 * time.Millisecond)
			}
			if took := time.Since(begun); took < 250*time.Millisecond || took > 20*time.Second {
				t.Errorf("it expired after %v", took)
			}
			got, err := client.Eval(t.Context(), "return redis.call('INCRBY', KEYS[1], ARGV[1])", []string{"n"}, 41).Int()
			if err != nil || got != 41 {
				t.Errorf("script: %d, %v", got, err)
			}
		})
	}
}

func TestARedisServerRefusesRatherThanEvictAndKeepsALog(t *testing.T) {
	s := start(t, Config{Dir: t.TempDir()}, false)
	client := connect(t, s.Addr())
	for name, want := range map[string]string{"maxmemory-policy": "noeviction", "appendonly": "yes", "appendfsync": "everysec", "bind": "127.0.0.1", "protected-mode": "yes", "save": ""} {
		if got, err := client.ConfigGet(t.Context(), name).Result(); err != nil || got[name] != want {
			t.Errorf("%s: %v, %v, want %q", name, got, err, want)
		}
	}
}

func TestAcknowledgedWritesSurviveAKillAndTheServerDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only linux ties a child's life to its parent's")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("no redis-server on PATH")
	}
	dir := t.TempDir()
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), dirVariable+"="+dir)
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	addr, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	client := connect(t, strings.TrimSpace(addr))
	const writes = 1000
	for range writes {
		if err := client.Incr(t.Context(), "n").Err(); err != nil {
			t.Fatal(err)
		}
	}
	parent.Process.Kill()
	parent.Wait()
	for begun := time.Now(); listens(strings.TrimSpace(addr)); time.Sleep(10 * time.Millisecond) {
		if time.Since(begun) > 10*time.Second {
			t.Fatal("redis-server outlives its parent")
		}
	}
	again := start(t, Config{Dir: dir}, false)
	if got, err := connect(t, again.Addr()).Get(t.Context(), "n").Int(); err != nil || got != writes {
		t.Errorf("%d writes are left, %v, want %d", got, err, writes)
	}
}

func TestAPortThatIsTakenIsOneClearError(t *testing.T) {
	s := start(t, Config{Dir: t.TempDir()}, false)
	var port int
	if _, err := fmt.Sscanf(s.Addr(), "127.0.0.1:%d", &port); err != nil {
		t.Fatal(err)
	}
	_, err := Start(t.Context(), Config{Dir: t.TempDir(), Port: port})
	if err == nil || strings.Contains(err.Error(), "\n") || !strings.Contains(err.Error(), fmt.Sprint("port ", port)) {
		t.Error(err)
	}
	t.Log(err)
	if err := connect(t, s.Addr()).Ping(t.Context()).Err(); err != nil {
		t.Errorf("the first one: %v", err)
	}
}

func TestDoneTellsOfAServerThatEnds(t *testing.T) {
	s, err := Start(t.Context(), Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	if s.Kind() == "miniredis" {
		t.Skip("no redis-server on PATH")
	}
	connect(t, s.Addr()).ShutdownNoSave(t.Context())
	select {
	case <-s.Done():
	case <-time.After(10 * time.Second):
		t.Fatal("it still runs")
	}
	if err := s.Close(); err == nil {
		t.Error("Close says nothing of it")
	}
}
