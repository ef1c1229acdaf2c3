package knative

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/robfig/cron/v3"
	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/m7pulse/m7pulse/shared/kafka"
)

// small is a cluster of one function, rung by a topic and by the clock.
func small(t *testing.T, cfg Config) *Cluster {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// Patient enough for the moment between a function's death and its notice.
	patient := Delivery{Retry: 10, Exponential: true, Delay: time.Millisecond, Timeout: 10 * time.Second}
	cfg.Topology = &Topology{
		Namespace: "ns",
		Functions: []Function{{Name: "fn"}},
		Topics:    []Topic{{Name: topic, Partitions: 3, Replicas: -1}, {Name: "made", Partitions: 2, Replicas: -1, Config: map[string]string{"retention.ms": "1000"}}},
		Ticks:     []Tick{{Name: "wake", Function: "fn", Schedule: cron.Every(24 * time.Hour), ContentType: "application/json", Data: []byte(`{"do":"wake"}`), do: doWake}},
		Sources:   []Source{{Name: "src", Function: "fn", Topic: topic, Group: "group", Delivery: patient}},
	}
	cfg.Command = func(string) []string { return []string{self} }
	cfg.FunctionEnv = map[string]map[string]string{"fn": {childMode: "plain"}}
	cfg.CommitEvery = 50 * time.Millisecond
	c, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return c
}

func status(t *testing.T, c *Cluster) Status {
	t.Helper()
	s, err := c.Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestRecordsBringAFunctionUpAndIdlenessTakesItDown(t *testing.T) {
	cfg, producer := broker(t)
	c := small(t, Config{Kafka: cfg, IdleAfter: 200 * time.Millisecond})
	if s := status(t, c); s.Functions[0].Starts != 0 || s.Sources[0].Lag != 0 {
		t.Fatalf("before any record: %+v", s)
	}
	for i := range 40 {
		produce(t, producer, record(i))
	}
	eventually(t, "delivered", func() bool { return status(t, c).Sources[0].Undelivered == 0 })
	eventually(t, "committed", func() bool { return status(t, c).Sources[0].Lag == 0 })
	eventually(t, "at zero", func() bool { return status(t, c).Functions[0].Phase == "zero" })
	s := status(t, c)
	if src, fn := s.Sources[0], s.Functions[0]; src.Delivered != 40 || src.Dropped != 0 || fn.Starts != 1 || fn.Crashes != 0 {
		t.Errorf("status %+v", s)
	}
}

func TestAddressAndWakeReachAFunctionAtZero(t *testing.T) {
	cfg, _ := broker(t)
	c := small(t, Config{Kafka: cfg})
	if err := c.Wake(t.Context(), "fn"); err != nil {
		t.Error(err)
	}
	if err := c.Tick(t.Context(), "fn"); err == nil {
		t.Error("a tick that no PingSource sends is taken")
	}
	resp, err := http.Get(c.URL("fn") + "/teapot")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusTeapot {
		t.Errorf("the address answers %d", resp.StatusCode)
	}
	s := status(t, c)
	if fn := s.Functions[0]; fn.Starts != 1 || fn.Failures["418"] != 1 || fn.URL != c.URL("fn") {
		t.Errorf("function %+v", fn)
	}
	if tick := s.Ticks[0]; tick.Fired != 1 || tick.Failed != 0 || tick.Next.Before(time.Now()) {
		t.Errorf("tick %+v", tick)
	}
}

func TestMissingTopicsAreMade(t *testing.T) {
	cfg, _ := broker(t)
	c := small(t, Config{Kafka: cfg})
	eventually(t, "made", func() bool { // the client keeps what it knew for a moment
		have, err := c.admin.ListTopics(t.Context(), "made")
		return err == nil && len(have["made"].Partitions) == 2
	})
	configs, err := c.admin.DescribeTopicConfigs(t.Context(), "made")
	if err != nil {
		t.Fatal(err)
	}
	if !slices.ContainsFunc(configs[0].Configs, func(c kadm.Config) bool { return c.Key == "retention.ms" && c.MaybeValue() == "1000" }) {
		t.Errorf("configs %+v", configs[0].Configs)
	}
}

func TestTopicWithOtherPartitionsIsAnError(t *testing.T) {
	cfg, _ := broker(t)
	top := &Topology{Topics: []Topic{{Name: topic, Partitions: 12}}}
	c, err := New(Config{Topology: top, Kafka: cfg})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop(t.Context())
	if err := c.Start(t.Context()); err == nil || !strings.Contains(err.Error(), "3 partitions") {
		t.Errorf("error %v", err)
	}
}

func TestRecordsSurviveAFunctionThatIsKilled(t *testing.T) {
	cfg, producer := broker(t)
	c := small(t, Config{Kafka: cfg})
	for i := range 600 {
		produce(t, producer, record(i))
		if i%200 == 100 {
			eventually(t, "up", func() bool { return status(t, c).Functions[0].Phase == "ready" })
			if err := syscall.Kill(status(t, c).Functions[0].PID, syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
		}
	}
	eventually(t, "delivered", func() bool { return status(t, c).Sources[0].Undelivered == 0 })
	s := status(t, c)
	if src := s.Sources[0]; src.Delivered != 600 || src.Dropped != 0 {
		t.Errorf("source %+v", src)
	}
	if s.Functions[0].Crashes == 0 {
		t.Error("nothing was killed")
	}
}

func TestKafkaOutOfReachIsAnErrorOfStart(t *testing.T) {
	c, err := New(Config{Topology: &Topology{Topics: []Topic{{Name: topic, Partitions: 1}}}, Kafka: kafka.Config{Brokers: []string{"127.0.0.1:1"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Stop(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if err := c.Start(ctx); err == nil {
		t.Error("it starts")
	}
}

func TestSourcesPostThroughTheIngressOfAnotherCluster(t *testing.T) {
	of, producer := broker(t)
	hosts := make(chan string, 1)
	ingress := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { hosts <- r.Host }))
	defer ingress.Close()
	c := small(t, Config{Kafka: of, Ingress: strings.TrimPrefix(ingress.URL, "http://")})
	produce(t, producer, record(0))
	if got := <-hosts; got != "fn.ns.svc.cluster.local" {
		t.Errorf("posted to %s", got)
	}
	s := status(t, c)
	if len(s.Functions) != 0 || len(s.Ticks) != 0 || len(s.Sources) != 1 {
		t.Errorf("%+v: want the sources alone", s)
	}
	if err := c.Wake(t.Context(), "fn"); err == nil {
		t.Error("the clock runs in that cluster; it was asked here")
	}
}
