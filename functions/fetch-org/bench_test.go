package fetchorg

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/twmb/franz-go/pkg/kgo"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
)

// BenchmarkSweep sweeps a GitHub that needs as long for its answers as has been
// measured, and lives on meanwhile. Its clock and the function's run faster than
// the machine's, so what the machine needs itself weighs as much more.
//
// "first" is the sweep that begins with no knowledge at all; "hourly" is any
// later one, which begins with the widths still to be learnt.
func BenchmarkSweep(b *testing.B) {
	for _, c := range []struct {
		repos, owners, users int
		scale                float64
		first                bool
	}{{10_000, 7, 1, 10, false}, {30_000, 21, 3, 10, false}, {10_000, 7, 1, 15, true}} {
		kind := "hourly"
		if c.first {
			kind = "first"
		}
		b.Run(fmt.Sprintf("%s/repos=%d/users=%d", kind, c.repos, c.users), func(b *testing.B) {
			for range b.N {
				r := newRig(b, c.repos, c.owners, c.users, c.scale)
				if !c.first {
					r.sweep()
					r.nextHour()
				}
				r.github.SetTiming(emulator.Measured())
				r.sweep()
			}
		})
	}
}

// BenchmarkOwnerOf30000 sweeps one owner whose GitHub answers at once, with the
// function in a process of its own, for what that needs.
func BenchmarkOwnerOf30000(b *testing.B) {
	for range b.N {
		r := newRig(b, 30_000, 1, 1, 1)
		stop := r.apart()
		r.sweep()
		used, ok := stop().SysUsage().(*syscall.Rusage)
		if !ok {
			b.Fatal("the system does not say what the process used")
		}
		b.ReportMetric(float64(used.Maxrss)/1024, "RSS-MiB")
		b.ReportMetric(time.Duration(used.Utime.Nano()+used.Stime.Nano()).Seconds()/30, "cpu-s/1000")
	}
}

// aloneKey makes the test program be the function, as a server whose address it
// prints, until its input ends.
const aloneKey = "FETCH_ORG_ALONE"

func TestMain(m *testing.M) {
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

// apart has the events posted to the function in another process.
func (r *rig) apart() (stop func() *os.ProcessState) {
	r.b.Helper()
	self, err := os.Executable()
	if err != nil {
		r.b.Fatal(err)
	}
	child := exec.Command(self)
	child.Env = append(os.Environ(), aloneKey+"=1", "GOMEMLIMIT=44MiB") // as in func.yaml
	for name, value := range r.env {
		child.Env = append(child.Env, name+"="+value)
	}
	child.Stderr = r.log
	in, err := child.StdinPipe()
	if err != nil {
		r.b.Fatal(err)
	}
	out, err := child.StdoutPipe()
	if err != nil {
		r.b.Fatal(err)
	}
	if err := child.Start(); err != nil {
		r.b.Fatal(err)
	}
	url, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		r.b.Fatalf("the function did not start: %v\n%s", err, r.log)
	}
	client, err := cloudevents.NewClientHTTP(cloudevents.WithTarget(strings.TrimSpace(url)))
	if err != nil {
		r.b.Fatal(err)
	}
	r.receive = func(ctx context.Context, e cloudevents.Event) error {
		if result := client.Send(ctx, e); !cloudevents.IsACK(result) {
			return result
		}
		return nil
	}
	return func() *os.ProcessState {
		_ = in.Close()
		if err := child.Wait(); err != nil {
			r.b.Fatalf("the function: %v\n%s", err, r.log)
		}
		return child.ProcessState
	}
}

// rig is a world as large as one likes, whose events come as a KafkaSource
// brings them.
type rig struct {
	*world
	b       *testing.B
	s       *sweeper
	receive func(context.Context, cloudevents.Event) error
	clock   clock
	from    int
	asked   int
	hours   int
}

func newRig(b *testing.B, repos, owners, users int, scale float64) *rig {
	b.Helper()
	w := newWorld(b)
	origin := time.Now()
	c := newClock(origin, scale)
	plan := emulator.Plan{Seed: 1, Start: origin, Life: emulator.Life{
		Created: .1, Deleted: .05, Renamed: .05, Transferred: .02, Archived: .05, Hidden: .02, Pushed: 20,
	}}
	var names, tokens []string
	for i := range owners {
		names = append(names, fmt.Sprintf("owner-%d", i))
		plan.Owners = append(plan.Owners, emulator.OwnerPlan{Login: names[i], Repos: repos / owners})
	}
	for i := range users {
		tokens = append(tokens, fmt.Sprintf("ghp_%d", i))
	}
	w.clock = c.now
	w.serve(emulator.Generate(plan), tokens...)
	w.github.SetPace(scale)
	w.env["GITHUB_TOKEN"] = strings.Join(tokens, ",")
	w.env["OWNERS"], w.env["PAGE_SIZE"] = strings.Join(names, ","), "25"
	w.env["CLOCK_SCALE"], w.env["CLOCK_ORIGIN"] = strconv.FormatFloat(scale, 'f', -1, 64), origin.Format(time.RFC3339Nano)
	slog.SetDefault(slog.New(slog.NewTextHandler(w.log, &slog.HandlerOptions{Level: slog.LevelWarn})))
	s, err := newSweeper(b.Context(), w.env)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = s.Close(context.Background()) })
	s.clock, s.github.clock, s.github.budgets.clock = c, c, c
	return &rig{world: w, b: b, s: s, receive: s.Receive, clock: c}
}

// sweep ticks and delivers until every owner has its ledger line, and reports
// what it took.
func (r *rig) sweep() {
	r.b.Helper()
	ctx, cancel := context.WithCancel(r.b.Context())
	began := r.clock.now()
	var running sync.WaitGroup
	client, err := kgo.NewClient(kgo.SeedBrokers(r.kafka.ListenAddrs()...), kgo.ConsumeTopics(event.TopicFetchRequests), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()))
	if err != nil {
		r.b.Fatal(err)
	}
	defer client.Close()
	running.Go(func() {
		for ctx.Err() == nil {
			client.PollFetches(ctx).EachRecord(func(record *kgo.Record) {
				running.Go(func() {
					for try := 0; ctx.Err() == nil; try++ {
						if err := r.receive(ctx, asEvent(record)); err == nil {
							return
						}
						<-r.clock.after(600 * time.Millisecond << min(try, 8))
					}
				})
			})
		}
	})
	running.Go(func() { // every five minutes, as in a cluster
		for ctx.Err() == nil {
			select {
			case <-ctx.Done():
			case <-r.clock.after(5 * time.Minute):
				if err := r.receive(ctx, r.ticked("wake")); err != nil && ctx.Err() == nil {
					r.b.Error(err)
				}
			}
		}
	})
	time.Sleep(200 * time.Millisecond) // until the consumer has joined
	if err := r.receive(r.b.Context(), r.ticked("sweep")); err != nil {
		r.b.Fatal(err)
	}
	for {
		left, err := Unfinished(r.b.Context(), r.env["REDIS_URL"])
		if err != nil {
			r.b.Fatal(err)
		}
		if left == 0 {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	cancel()
	running.Wait()
	took := r.clock.since(began)
	var total event.OwnerSwept
	incomplete := 0
	lines := r.records(event.TopicSweeps)
	for _, record := range lines[r.from:] {
		line, err := r.codec.Swept(r.b.Context(), record)
		if err != nil {
			r.b.Fatal(err)
		}
		total.Seen += line.Seen
		total.Pages += line.Pages
		total.KilledPages += line.KilledPages
		total.Points += line.Points
		if line.Status != event.StatusComplete {
			incomplete++
			r.b.Logf("%s: %s, %v", line.Owner, line.Status, *line.Reason)
		}
	}
	r.from = len(lines)
	questions := r.github.Requests()[r.asked:]
	r.asked += len(questions)
	var work time.Duration
	killed := 0
	for _, q := range questions {
		work += q.Took
		if q.Killed {
			killed++
		}
	}
	report := func(v float64, unit string) { r.b.ReportMetric(v, unit) }
	report(took.Minutes(), "min")
	report(float64(total.Points)/float64(total.Seen), "points/repo")
	report(100*float64(killed)/float64(len(questions)), "%killed")
	report(work.Seconds()/float64(total.Seen), "work-s/repo")
	report(float64(incomplete), "incomplete")
	report(float64(r.github.Breaches()), "breaches")
	r.b.Logf("%d repositories in %s, %d questions of %.1f repositories, widths %s", total.Seen, took.Round(time.Second), len(questions), float64(total.Seen)/float64(len(questions)), r.widths())
}

// nextHour moves the clock of all an hour on, and forgets the widths.
func (r *rig) nextHour() {
	r.hours++
	hour := r.hours
	was := r.world.clock
	r.world.clock = func() time.Time { return was().Add(time.Duration(hour) * time.Hour) }
	for _, c := range []*clock{&r.s.clock, &r.s.github.clock, &r.s.github.budgets.clock, &r.clock} {
		c.now = r.world.clock
	}
	r.github.SetClock(r.world.clock)
	r.redis.Del(widthKey(shapeList))
	r.redis.Del(widthKey(shapeNodes))
	r.redis.Del(widthKey(shapeHistory))
}

func (r *rig) widths() string {
	var all []string
	for _, s := range []shape{shapeList, shapeListAll, shapeNodes, shapeHistory} {
		w, err := r.s.github.widths.of(r.b.Context(), s)
		if err != nil {
			r.b.Fatal(err)
		}
		all = append(all, fmt.Sprintf("%s %d", s.name, w.n()))
	}
	return strings.Join(all, ", ")
}
