package fetchevents

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/portfolio"
)

var (
	chaosSeed  = flag.Uint64("chaos.seed", 1, "of what is drawn")
	chaosKills = flag.Int("chaos.kills", 3, "how many processes are killed")
)

// aloneKey makes the test program be the function, as a server whose address it
// prints, until its input ends.
const aloneKey = "FETCH_EVENTS_ALONE"

// TestMain is the function's process where a test has started one.
func TestMain(m *testing.M) {
	flag.Parse()
	if os.Getenv(aloneKey) == "" {
		os.Exit(m.Run())
	}
	if err := alone(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func alone() error {
	env := map[string]string{}
	for _, pair := range os.Environ() {
		name, value, _ := strings.Cut(pair, "=")
		env[name] = value
	}
	instance := New()
	if err := instance.Start(context.Background(), env); err != nil {
		return err
	}
	server := httptest.NewServer(http.HandlerFunc(instance.Handle))
	defer server.Close()
	fmt.Println(server.URL)
	_, err := io.Copy(io.Discard, os.Stdin)
	return errors.Join(err, instance.Stop(context.Background()))
}

// process is a process of the function.
type process struct {
	cmd *exec.Cmd
	in  io.Closer // it lives as long as its input
	url string
	log *bytes.Buffer
}

func (in *installation) process(github string) *process {
	in.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), aloneKey+"=1", "KAFKA_BROKERS="+strings.Join(in.cfg.Kafka.Brokers, ","), "SCHEMA_REGISTRY_URL="+in.cfg.Registry,
		"REDIS_URL="+string(in.cfg.Redis), "GITHUB_TOKEN="+token, "GITHUB_GRAPHQL_URL="+github+"/graphql")
	p := &process{cmd: cmd, log: &bytes.Buffer{}}
	cmd.Stderr = p.log
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		in.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		in.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		in.t.Fatal(err)
	}
	in.t.Cleanup(p.kill)
	for lines := bufio.NewScanner(out); lines.Scan(); { // some of them are logged
		if p.url = lines.Text(); strings.HasPrefix(p.url, "http://") {
			return p
		}
	}
	p.kill()
	in.t.Fatalf("the function does not start\n%s", p.log)
	return nil
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

// wake posts a tick, as its source does.
func (p *process) wake(ctx context.Context) error {
	tick := cloudevents.NewEvent()
	tick.SetID("by-hand")
	tick.SetSource("/test")
	tick.SetType(event.TypeTick)
	if err := tick.SetData(event.ContentJSON, map[string]string{"do": "wake"}); err != nil {
		return err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, nil)
	if err != nil {
		return err
	}
	if err := cehttp.WriteRequest(ctx, binding.ToMessage(&tick), r); err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// TestKilledProcessesLoseNoEvents kills real processes with SIGKILL while they read
// feeds, one after the other, and has the next one read what they have left.
func TestKilledProcessesLoseNoEvents(t *testing.T) {
	const repos, each = 40, 60
	rng := rand.New(rand.NewPCG(*chaosSeed, 1))
	world, list := quiet(repos)
	in := install(t, world)
	in.github.SetClock(time.Now)
	github := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		time.Sleep(50 * time.Millisecond) // as long as GitHub, so that a kill comes while it is asked
		in.github.ServeHTTP(w, r)
	}))
	t.Cleanup(github.Close)

	p, amid := in.process(github.URL), 0
	for round := range *chaosKills + 1 {
		for _, r := range list { // something has happened everywhere, and every feed is due
			for i := range each {
				in.world.Occur(r, "push", fmt.Sprintf("dev-%d", i%7), time.Now().Add(-time.Duration(each-i)*time.Second))
			}
			if _, err := in.redis.ZAdd(portfolio.FeedsDue, 0, fmt.Sprint(r.ID)); err != nil {
				t.Fatal(err)
			}
		}
		if round < *chaosKills {
			dying, before := p, len(in.stored().events)
			answered := make(chan error, 1)
			go func() { answered <- dying.wake(context.Background()) }()
			for range 1000 { // until it has written something
				if len(in.stored().events) > before {
					break
				}
				time.Sleep(10 * time.Millisecond)
			}
			time.Sleep(time.Duration(rng.IntN(200)) * time.Millisecond)
			dying.kill()
			<-answered
			if after := len(in.stored().events); after > before && after < before+repos*each {
				amid++
			}
			in.redis.FastForward(leaseTTL + time.Second) // the dead one's lease runs out
			p = in.process(github.URL)
		}
		deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
		for len(in.stored().events) < (round+1)*repos*each && deadline.Err() == nil {
			if err := p.wake(deadline); err != nil {
				t.Logf("a tick is to come again: %v", err)
			}
		}
		cancel()
	}
	s := in.stored()
	lost := 0
	for _, r := range list {
		for _, h := range in.github.Happened(r.ID) {
			if s.events[feed.Key{Type: h.Type, ID: h.ID, CreatedAt: h.At.UnixMilli()}] == nil {
				lost++
			}
		}
	}
	for _, l := range s.lines {
		if l.Status != feed.StatusComplete {
			t.Errorf("line %+v", l)
		}
	}
	t.Logf("%d of %d kills came amid a reading; %d events in %d records, %d lines", amid, *chaosKills, len(s.events), s.records, len(s.lines))
	if want := (*chaosKills + 1) * repos * each; lost > 0 || len(s.events) != want {
		t.Errorf("%d events of %d are in Kafka, %d are lost\n%s", len(s.events), want, lost, p.log)
	}
	if *chaosKills > 0 && amid == 0 {
		t.Error("no kill came amid a reading")
	}
}
