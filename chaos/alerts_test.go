package chaos

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"sigs.k8s.io/yaml"

	"github.com/m7pulse/m7pulse/alert"
	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
	"github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/infra/local/stack"
	pipelines "github.com/m7pulse/m7pulse/pipeline"
	"github.com/m7pulse/m7pulse/quality"
	"github.com/m7pulse/m7pulse/shared/child"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/signal"
)

var alarming = flag.Bool("chaos.alerts", false, "also have each alert fire by its fault, and clear after it")

const (
	// dueWithin is how long after data should have come somebody is told of it.
	dueWithin = 2 * time.Minute
	// looks is how often the watch looks in this test, but for what is told of late data:
	// there it looks as often as it does by itself.
	looks = 5 * time.Second
	// soon is how long an alert may take at that pace, and the functions to go on.
	soon = 45 * time.Second
	// swept is the same of what a sweep has to see: one is due each minute.
	swept = 2*time.Minute + soon
	// calm is how long everything may take to be well again.
	calm = 3 * time.Minute
)

// alarm is a fault and what must be told of it.
type alarm struct {
	name   string   // of the fault
	alerts []string // that fire by it, and clear once it is mended
	also   []string // that may fire beside them
	within time.Duration
	// mute: the signals come once it is mended, for they go through what is away.
	mute bool
	// breaks returns since when the fault is to be seen.
	breaks func(ctx context.Context, o *outlook) (time.Time, error)
	mends  func(ctx context.Context, o *outlook) error
}

// alarms are the faults, in their order: the first needs GitHub's hour to end soon after
// the start, the last two end the watch and start it anew.
func alarms() []alarm {
	at := func(f func(ctx context.Context, o *outlook) error) func(context.Context, *outlook) (time.Time, error) {
		return func(ctx context.Context, o *outlook) (time.Time, error) {
			began := time.Now()
			return began, f(ctx, o)
		}
	}
	// Its link is down: the address refuses connections.
	away := func(links ...string) (func(context.Context, *outlook) (time.Time, error), func(context.Context, *outlook) error) {
		return at(func(_ context.Context, o *outlook) error {
				for _, l := range links {
					o.p.links[l].proxy.Stop()
				}
				return nil
			}), func(_ context.Context, o *outlook) (err error) {
				for _, l := range links {
					err = errors.Join(err, o.p.links[l].proxy.Start())
				}
				return err
			}
	}
	of := func(name string, links ...string) alarm {
		a := alarm{name: name + " is away", alerts: []string{signal.StoreDown}, also: []string{signal.DataLate}, within: soon, mute: name == "Kafka" || name == "Redis"} // notify keeps in Redis what it has to send
		a.breaks, a.mends = away(links...)
		return a
	}
	partition := alarm{
		name: "what the functions send to ClickHouse gets lost", alerts: []string{signal.DataLate, signal.LagGrowing, "breaker_open"},
		within: 9 * time.Minute, // 5 of them are the rule's, after three tries that are not answered
		mute:   true,            // notify has the signals, ClickHouse has not
		breaks: at(func(_ context.Context, o *outlook) error {
			_, err := o.p.links["clickhouse"].proxy.Toxics.AddToxicJson(strings.NewReader(`{"name":"hole","type":"timeout","stream":"upstream","toxicity":1,"attributes":{"timeout":0}}`))
			return err
		}),
		mends: func(ctx context.Context, o *outlook) error {
			return o.p.links["clickhouse"].proxy.Toxics.RemoveToxic(ctx, "hole")
		},
	}
	result := func(kind, suite, expectation, severity string) alarm {
		found := func(passed bool) func(context.Context, *outlook) error {
			return func(ctx context.Context, o *outlook) error { return o.found(ctx, suite, expectation, severity, passed) }
		}
		return alarm{name: "expectation " + expectation + " does not hold", alerts: []string{kind}, within: soon, breaks: at(found(false)), mends: found(true)}
	}
	// What GitHub does not answer of the last owner's repositories, from the next sweep on.
	unanswered := func(n int) func(context.Context, *outlook) error {
		return func(_ context.Context, o *outlook) error {
			o.github.Change(func(w *github.World) {
				for i, r := range w.Owner(globex).Repos {
					r.Unanswered = i < n
				}
			})
			return nil
		}
	}
	return []alarm{
		{
			name: "the points of GitHub's hour are used up", alerts: []string{signal.QuotaLow}, within: swept,
			breaks: at(func(_ context.Context, o *outlook) error {
				o.github.SetRemaining(token, 90, o.hour)
				return nil
			}),
			mends: func(ctx context.Context, o *outlook) error { // the hour ends
				pause(ctx, time.Until(o.hour))
				return ctx.Err()
			},
		},
		{
			name: "an owner is gone", alerts: []string{signal.OwnerFailed}, within: swept,
			breaks: at(func(_ context.Context, o *outlook) error {
				o.github.Change(func(w *github.World) {
					i := slices.IndexFunc(w.Owners, func(one *github.Owner) bool { return one.Login == "jane" })
					o.gone = w.Owners[i]
					w.Owners = slices.Delete(w.Owners, i, i+1)
				})
				return nil
			}),
			mends: func(_ context.Context, o *outlook) error {
				o.github.Change(func(w *github.World) { w.Owners = append(w.Owners, o.gone) })
				return nil
			},
		},
		{
			name: "GitHub does not answer for 1 repository of 160", alerts: []string{signal.SweepIncomplete}, within: swept,
			breaks: at(unanswered(1)), mends: unanswered(0),
		},
		{
			name: "GitHub does not answer for 5 repositories of 160", alerts: []string{signal.CompletenessLow, signal.SweepIncomplete}, within: swept,
			breaks: at(unanswered(5)), mends: unanswered(0),
		},
		{
			name: "a record cannot be processed", alerts: []string{signal.DeadLettersWaiting}, within: soon,
			breaks: at(func(ctx context.Context, o *outlook) error {
				return o.p.flood(ctx, event.TopicBaseRepos, 1, rand.New(rand.NewPCG(*seed, 7)))
			}),
			mends: func(ctx context.Context, o *outlook) error {
				_, err := o.p.pulse(ctx, "dlq", "drop", "--all")
				return err
			},
		},
		{
			name: "a task of Kafka Connect has failed", alerts: []string{signal.ConnectFailed}, within: soon,
			breaks: at(func(_ context.Context, o *outlook) error { o.connect.fail(); return nil }),
			mends:  func(ctx context.Context, o *outlook) error { return o.connect.cure(ctx) },
		},
		{
			name: "a row is removed from the hot store", alerts: []string{signal.HotIsNotCold}, within: 2 * time.Minute,
			also:   []string{signal.DataLate}, // nothing is read meanwhile: what is on its way is in one store only
			breaks: at(func(ctx context.Context, o *outlook) error { return o.removeRow(ctx) }),
			mends:  func(ctx context.Context, o *outlook) error { return o.rebuildHot(ctx) },
		},
		result(signal.QualityFailed, "timeseries", "hot_stars_range", signal.Critical),
		result(signal.EventCoverageLow, "signals", "event_coverage", signal.Warning),
		{
			name: "ClickHouse's disk is nearly full", alerts: []string{signal.DiskLow}, within: soon,
			breaks: at(func(_ context.Context, o *outlook) error { return o.p.disks["clickhouse"].fillTo(0.03) }),
			mends:  func(_ context.Context, o *outlook) error { o.p.disks["clickhouse"].free(); return nil },
		},
		of("Redis", "redis"),
		of("ClickHouse", "clickhouse", watched),
		of("Iceberg", "object store"),
		of("Kafka", "kafka"),
		partition,
		{
			name: "the watch is killed", alerts: []string{"watch_silent"}, within: 3 * time.Minute,
			breaks: at(func(_ context.Context, o *outlook) error { return o.stopWatch(syscall.SIGKILL) }),
			// It looks each minute now, and by its own choice of when: it is started when a
			// minute from each start would be the worst time to look, just before data is late.
			mends: func(ctx context.Context, o *outlook) error {
				pause(ctx, time.Until(time.Now().Truncate(time.Minute).Add(time.Minute-2*time.Second)))
				return o.startWatch(ctx, time.Minute)
			},
		},
		{
			name: "no sweep begins", alerts: []string{signal.DataLate}, within: dueWithin,
			breaks: func(_ context.Context, o *outlook) (time.Time, error) {
				o.hold(true)
				return time.Now().Truncate(time.Minute).Add(time.Minute), nil // when the next was due
			},
			mends: func(_ context.Context, o *outlook) error { o.hold(false); return nil },
		},
	}
}

const (
	token   = "token-of-the-alerts"
	globex  = "globex"
	watched = "clickhouse, by the watch" // the link of the watch to ClickHouse
)

// declared are the alerts that there are: those of the definitions, and those that only
// Prometheus has.
func declared(t *testing.T) (rules []rule, names []string) {
	t.Helper()
	rules = readRules(t)
	for _, r := range rules {
		names = append(names, r.Alert)
	}
	for _, d := range alert.Definitions() {
		if !slices.Contains(names, d.Kind) {
			t.Errorf("%s has no rule of Prometheus", d.Kind)
		}
	}
	return rules, names
}

func TestEachAlertThatIsDeclaredHasAFault(t *testing.T) {
	_, names := declared(t)
	var tried []string
	for _, a := range alarms() {
		tried = append(tried, a.alerts...)
		for _, name := range slices.Concat(a.alerts, a.also) {
			if !slices.Contains(names, name) {
				t.Errorf("%s: no alert is named %s", a.name, name)
			}
		}
	}
	for _, name := range names {
		if !slices.Contains(tried, name) {
			t.Errorf("no fault makes %s fire: add one to alarms", name)
		}
	}
}

// TestEachAlertFiresByItsFaultAndClearsAfterIt throws one fault after the other at a
// pipeline that reads an emulated GitHub each minute, with pulse watch beside it, and
// holds the watch, its signals and the rules of Prometheus to them.
func TestEachAlertFiresByItsFaultAndClearsAfterIt(t *testing.T) {
	if !*alarming {
		t.Skip("with -chaos.alerts, as `make chaos` runs it")
	}
	o := newOutlook(t)
	defer o.report()
	if err := o.quiet(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, a := range alarms() {
		t.Run(a.name, func(t *testing.T) {
			if slices.Contains(a.alerts, signal.DiskLow) && !o.p.disks["clickhouse"].small {
				t.Skip("NOT TRIED: only root can mount a small disk")
			}
			if err := o.quiet(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := o.hear(t.Context(), a); err != nil {
				t.Errorf("%v\nthe watch:\n%s", err, o.said())
			}
		})
	}
}

// outlook is all that tells of an alert: what the watch prints, the signals in Kafka and
// those that notify has sent, and Prometheus.
type outlook struct {
	t       *testing.T
	p       *pipeline
	rules   []rule
	github  *github.Server
	hour    time.Time // when that of GitHub's user ends
	gone    *github.Owner
	connect *worker

	mu      sync.Mutex
	held    bool // no sweep is begun
	process *child.Process
	address string // of the watch's figures
	lines   []line
	text    []string
	signals []*event.Signal
	scraped map[string]bool      // the figures of the watch, at the last scrape
	pending map[string]time.Time // since when a rule's expression holds, by alert and label
	fires   map[string]time.Time // since when an alert fires, as Prometheus says
	fired   map[string]bool      // all that fired since it was last asked

	table strings.Builder
}

// line is a change that the watch has printed.
type line struct {
	at   time.Time
	kind string
	over bool
}

func newOutlook(t *testing.T) *outlook {
	t.Helper()
	rules, _ := declared(t)
	world := github.NewWorld()
	like := world.Owners[0].Repos[0]
	many := &github.Owner{Login: globex, Type: "Organization"}
	for i := range 150 { // with those of the two others 160
		many.Repos = append(many.Repos, &github.Repo{ID: int64(9000 + i), Name: fmt.Sprintf("r%d", i), Stars: int64(100 + i), Branch: "main", CreatedAt: like.CreatedAt, PushedAt: like.PushedAt})
	}
	world.Owners = append(world.Owners, many)
	emulator, err := github.New(world, token)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(emulator)
	t.Cleanup(server.Close)
	o := &outlook{t: t, rules: rules, github: emulator, hour: time.Now().Add(3 * time.Minute), connect: newWorker(t), pending: map[string]time.Time{}, fires: map[string]time.Time{}, fired: map[string]bool{}}
	emulator.SetRemaining(token, github.PointsPerHour, o.hour)
	reads := map[string]string{"GITHUB_TOKEN": token, "GITHUB_GRAPHQL_URL": server.URL, "OWNERS": "acme,jane," + globex, "SWEEP_PERIOD": "1m"}
	// Blocks of ordinary size, committed as in a stack on one machine.
	o.p = newReadingPipeline(t, absolute(t, programs), 1, map[string]string{"SINK_ICEBERG_INTERVAL": "2s", "SINK_ICEBERG_QUIET": "100ms"}, reads)
	o.p.links[watched] = newLink(t, watched, strings.TrimPrefix(o.p.direct["CLICKHOUSE_URL"], "http://"))
	if err := os.WriteFile(filepath.Join(o.p.dir, "kind"), []byte(stack.KindOf(reads)+"\n"), 0o644); err != nil { // as pulse up does
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	t.Cleanup(func() {
		cancel()
		running.Wait()
		if err := o.stopWatch(syscall.SIGTERM); err != nil {
			t.Error(err)
		}
	})
	running.Go(func() { o.tick(ctx) })
	running.Go(func() { o.listen(ctx) })
	running.Go(func() { o.evaluate(ctx) })
	if err := o.startWatch(ctx, looks); err != nil {
		t.Fatal(err)
	}
	return o
}

// tick is the source of all data: the PingSource of the sweep, each minute.
func (o *outlook) tick(ctx context.Context) {
	for ctx.Err() == nil {
		o.mu.Lock()
		held := o.held
		o.mu.Unlock()
		if !held {
			ticking, cancel := context.WithTimeout(ctx, 30*time.Second)
			_ = o.p.cluster.Tick(ticking, "fetch-org") // a tick that is lost is one of the faults' effects
			cancel()
		}
		pause(ctx, time.Until(time.Now().Truncate(time.Minute).Add(time.Minute)))
	}
}

// hold has no sweep begin, or lets them begin again.
func (o *outlook) hold(held bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.held = held
}

// startWatch starts pulse watch, which finds the stores over the links.
func (o *outlook) startWatch(ctx context.Context, every time.Duration) error {
	address := free(o.t)
	cmd := exec.Command(filepath.Join(o.p.programs, "pulse"), "watch", "--every", every.String(), "--listen", address)
	cmd.Dir = ".."
	cmd.Env = []string{
		"TZ=UTC", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PULSE_HOME=" + o.p.dir, "SWEEP_PERIOD=1m", "CONNECT_URL=" + o.connect.url,
		"CLICKHOUSE_URL=http://" + o.p.links[watched].addr(), "REDIS_URL=" + o.p.env["REDIS_URL"], "S3_ENDPOINT=" + o.p.env["S3_ENDPOINT"],
	}
	reading, writing := io.Pipe()
	cmd.Stdout, cmd.Stderr = writing, writing
	process, err := child.Start(cmd, syscall.SIGKILL)
	if err != nil {
		return fmt.Errorf("start the watch: %w", err)
	}
	go func() {
		<-process.Done()
		writing.Close()
	}()
	go o.read(reading)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.process, o.address = process, address
	return ctx.Err()
}

func (o *outlook) stopWatch(how syscall.Signal) error {
	o.mu.Lock()
	process := o.process
	o.mu.Unlock()
	if process == nil {
		return nil
	}
	if err := process.Signal(how); err != nil {
		return err
	}
	select {
	case <-process.Done():
		return nil
	case <-time.After(15 * time.Second):
		return process.Stop(0)
	}
}

// announcement is a line of the watch: a time, an alert, its severity and figure.
var announcement = regexp.MustCompile(`^[0-9:]+: (\w+) \(\w+\), \w+ \S+: (.*)$`)

// read notes what the watch prints.
func (o *outlook) read(from io.Reader) {
	for in := bufio.NewScanner(from); in.Scan(); {
		o.mu.Lock()
		o.text = append(o.text, in.Text())
		if m := announcement.FindStringSubmatch(in.Text()); m != nil {
			o.lines = append(o.lines, line{time.Now(), m[1], m[2] == "is over"})
		}
		o.mu.Unlock()
	}
}

// said is the end of what the watch has printed.
func (o *outlook) said() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return strings.Join(o.text[max(0, len(o.text)-20):], "\n")
}

// listen reads the signals, whoever raises them.
func (o *outlook) listen(ctx context.Context) {
	client, err := kgo.NewClient(append(o.p.kafka.Options(), kgo.ConsumeTopics(event.TopicSignals), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))...)
	if err != nil {
		o.t.Error(err)
		return
	}
	defer client.Close()
	for ctx.Err() == nil {
		client.PollFetches(ctx).EachRecord(func(r *kgo.Record) { // while Kafka is away there are none
			s, err := o.p.codec.Signal(ctx, r)
			if err != nil {
				if ctx.Err() == nil {
					o.t.Errorf("a signal cannot be read: %v", err)
				}
				return
			}
			o.mu.Lock()
			o.signals = append(o.signals, s)
			o.mu.Unlock()
		})
	}
}

// raised is the first signal since a time of a kind, or that an alert with a figure has
// cleared; nil if there is none.
func (o *outlook) raised(kind, figure string, since time.Time) *event.Signal {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, s := range o.signals {
		if s.Kind == kind && !s.ObservedAt.Before(since.Truncate(time.Millisecond)) && (figure == "" || s.Metric != nil && *s.Metric == figure) {
			return s
		}
	}
	return nil
}

// printed says whether the watch has said since a time that an alert fires, or is over.
func (o *outlook) printed(kind string, over bool, since time.Time) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return slices.ContainsFunc(o.lines, func(l line) bool { return l.kind == kind && l.over == over && !l.at.Before(since) })
}

// firing are the alerts that fire, as Prometheus says.
func (o *outlook) firing() (names []string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for name := range o.fires {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// quiet waits until every figure is known and no alert fires.
func (o *outlook) quiet(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, calm)
	defer cancel()
	missing := func() (names []string) {
		o.mu.Lock()
		defer o.mu.Unlock()
		for _, d := range alert.Definitions() {
			if !o.scraped[d.Metric()] {
				names = append(names, d.Figure)
			}
		}
		return names
	}
	for len(missing()) > 0 || len(o.firing()) > 0 {
		if ctx.Err() != nil {
			return fmt.Errorf("within %s it is not quiet: %v fire, the figures %v are not known\n%s", calm, o.firing(), missing(), o.said())
		}
		pause(ctx, 200*time.Millisecond)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	clear(o.fired)
	return nil
}

// hear throws a fault, and waits for everything that must be told of it, then mends it,
// and waits for everything that must be told of that.
func (o *outlook) hear(ctx context.Context, a alarm) error {
	definitions := map[string]alert.Definition{}
	for _, d := range alert.Definitions() {
		definitions[d.Kind] = d
	}
	ctx, cancel := context.WithTimeout(ctx, a.within+2*calm+5*time.Minute)
	defer cancel()
	began, err := a.breaks(ctx, o)
	if err != nil {
		return fmt.Errorf("throw the fault: %w", err)
	}
	type told struct{ rule, signal, sent, over, cleared time.Duration }
	all := map[string]*told{}
	for _, name := range a.alerts {
		all[name] = &told{}
	}
	// once notes when something is seen for the first time, and says whether it was.
	once := func(at *time.Duration, since time.Time, seen bool) bool {
		if *at == 0 && seen {
			*at = max(time.Since(since), time.Millisecond)
		}
		return *at != 0
	}
	sent := func(s *event.Signal) bool {
		return s != nil && o.p.target.has(s.ID)
	}
	wait := func(until time.Time, seen func(name string, d alert.Definition, is *told) bool) (missing []string) {
		for {
			missing = nil
			for _, name := range a.alerts {
				if !seen(name, definitions[name], all[name]) {
					missing = append(missing, name)
				}
			}
			if len(missing) == 0 || time.Now().After(until) || ctx.Err() != nil {
				return missing
			}
			pause(ctx, 100*time.Millisecond)
		}
	}
	signals := func(name string, d alert.Definition, is *told) bool {
		if d.Kind == "" { // Prometheus alone has it
			return true
		}
		s := o.raised(name, "", began)
		said := once(&is.signal, began, s != nil)
		return once(&is.sent, began, sent(s)) && said
	}
	missing := wait(began.Add(a.within), func(name string, d alert.Definition, is *told) bool {
		fires := once(&is.rule, began, slices.Contains(o.firing(), name) && (d.Kind == "" || o.printed(name, false, began)))
		return (signals(name, d, is) || a.mute) && fires
	})
	var errs []error
	if len(missing) > 0 {
		errs = append(errs, fmt.Errorf("within %s it was not told of %v: %s", a.within, missing, seen(all)))
	}
	if err := a.mends(ctx, o); err != nil {
		return errors.Join(append(errs, fmt.Errorf("mend the fault: %w", err))...)
	}
	mended := time.Now()
	missing = wait(mended.Add(calm), func(name string, d alert.Definition, is *told) bool {
		over := once(&is.over, mended, !slices.Contains(o.firing(), name) && (d.Kind == "" || o.printed(name, true, began)))
		cleared := d.Kind == "" || d.RaisedBy != "" || once(&is.cleared, mended, o.raised(signal.AlertCleared, d.Figure, began) != nil)
		return signals(name, d, is) && over && cleared
	})
	if len(missing) > 0 {
		errs = append(errs, fmt.Errorf("within %s after it was mended it was not told that %v are over: %s", calm, missing, seen(all)))
	}
	o.mu.Lock()
	for name := range o.fired {
		if !slices.Contains(a.alerts, name) && !slices.Contains(a.also, name) {
			errs = append(errs, fmt.Errorf("%s fired too", name))
		}
	}
	o.mu.Unlock()
	seconds := func(d time.Duration) string {
		if d == 0 {
			return "–"
		}
		return strconv.FormatFloat(d.Seconds(), 'f', 1, 64)
	}
	for _, name := range a.alerts {
		is := all[name]
		o.t.Logf("%s by %q: fires after %s, its signal after %s, sent after %s; over %s after it was mended, the signal of that after %s", name, a.name, seconds(is.rule), seconds(is.signal), seconds(is.sent), seconds(is.over), seconds(is.cleared))
		fmt.Fprintf(&o.table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", name, a.name, seconds(is.rule), seconds(is.signal), seconds(is.sent), seconds(is.over), seconds(is.cleared))
	}
	return errors.Join(errs...)
}

// seen says what was, for an error.
func seen[T any](all map[string]*T) string {
	var b strings.Builder
	for name, is := range all {
		fmt.Fprintf(&b, "%s %+v ", name, *is)
	}
	return b.String()
}

// report tells how many seconds everything took.
func (o *outlook) report() {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "alert\tfault\tfires\tsignal\tsent\tover\tsignal\n%s", o.table.String())
	w.Flush()
	o.t.Logf("seconds after the fault until the watch and Prometheus say that it fires, until its signal is in Kafka, and until notify has sent it; after the mending until both say that it is over, and until the signal of that is in Kafka. A look each %s, the last each minute.\n%s", looks, b.String())
}

// has says whether a signal was received.
func (g *target) has(id string) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, s := range g.messages {
		if s == id {
			return true
		}
	}
	return false
}

// found keeps a result of the quality checks, as pulse quality does: Great Expectations
// itself is held to each fault by `make quality-test`.
func (o *outlook) found(ctx context.Context, suite, expectation, severity string, passed bool) (err error) {
	s, err := pipelines.Open(ctx, o.p.direct)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close()) }()
	at := time.Now().UTC().Truncate(time.Millisecond)
	return quality.Keep(ctx, s, o.p.direct, &quality.Report{At: at, Results: []quality.Result{{
		QualityResult: sinkclickhouse.QualityResult{Suite: suite, Expectation: expectation, Store: "clickhouse", Severity: severity, Passed: passed},
		Says:          "It holds.",
	}}})
}

// removeRow deletes an observation from ClickHouse, and keeps what the audit says of it as
// the result of the checks that compare the stores.
func (o *outlook) removeRow(ctx context.Context) error {
	o.hold(true)
	if v, err := o.audit(ctx); err != nil || !v.Clean {
		return errors.Join(err, fmt.Errorf("before a row is removed: %+v", v))
	}
	conn, err := sinkclickhouse.Open(o.p.direct["CLICKHOUSE_URL"])
	if err != nil {
		return err
	}
	err = conn.Exec(ctx, "ALTER TABLE pulse.github_metrics_timeseries DELETE WHERE (repo_id, observed_at) = (SELECT repo_id, observed_at FROM pulse.github_metrics_timeseries LIMIT 1) SETTINGS mutations_sync = 2, allow_nondeterministic_mutations = 1")
	if err := errors.Join(err, conn.Close()); err != nil {
		return fmt.Errorf("remove a row: %w", err)
	}
	v, err := o.audit(ctx)
	if err != nil {
		return err
	}
	if v.Clean {
		return errors.New("the audit does not see that a row was removed")
	}
	return o.found(ctx, "hot_cold", "hot_is_cold_rows", signal.Critical, v.Clean)
}

// rebuildHot mends it. Before that other suites are checked, which says nothing of it.
func (o *outlook) rebuildHot(ctx context.Context) error {
	defer o.hold(false)
	if err := o.found(ctx, "sweeps", "sweep_statuses", signal.Critical, true); err != nil {
		return err
	}
	pause(ctx, 3*looks)
	if !slices.Contains(o.firing(), signal.HotIsNotCold) {
		return errors.New("the alert ended when other suites were checked")
	}
	if _, err := o.p.pulse(ctx, "rebuild", "hot", "--from", "cold"); err != nil {
		return err
	}
	v, err := o.audit(ctx)
	if err != nil {
		return err
	}
	return o.found(ctx, "hot_cold", "hot_is_cold_rows", signal.Critical, v.Clean)
}

// audit compares the stores. That they differ is no error.
func (o *outlook) audit(ctx context.Context) (v verdict, err error) {
	out, err := o.p.pulse(ctx, "audit", "--wait", "--timeout", "1m", "--json")
	if json.Unmarshal(out, &v) == nil {
		return v, nil
	}
	return v, fmt.Errorf("no audit: %w", err)
}

// fillTo leaves a share of a disk, without a byte written where none is refused.
func (d *disk) fillTo(left float64) error {
	f, err := os.OpenFile(d.ballast(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	for {
		var is syscall.Statfs_t
		if err := syscall.Statfs(d.path, &is); err != nil {
			return fmt.Errorf("look at a disk: %w", err)
		}
		if float64(is.Bavail) < left*float64(is.Blocks) {
			return nil
		}
		if _, err := f.Write(make([]byte, 1<<20)); err != nil {
			return err
		}
	}
}

// worker is Kafka Connect's REST API, as far as the watch and the runbook ask it.
type worker struct {
	url string

	mu    sync.Mutex
	state string // of the only task
}

func newWorker(t *testing.T) *worker {
	w := &worker{state: "RUNNING"}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /connectors", func(to http.ResponseWriter, _ *http.Request) {
		w.mu.Lock()
		defer w.mu.Unlock()
		fmt.Fprintf(to, `{"archive":{"status":{"name":"archive","connector":{"state":"RUNNING","worker_id":"worker:8083"},"tasks":[{"id":0,"state":%q,"worker_id":"worker:8083"}],"type":"sink"}}}`, w.state)
	})
	mux.HandleFunc("POST /connectors/archive/restart", func(to http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("includeTasks") == "true" {
			w.set("RUNNING")
		}
		to.WriteHeader(http.StatusAccepted)
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close)
	w.url = srv.URL
	return w
}

func (w *worker) set(state string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.state = state
}

func (w *worker) fail() { w.set("FAILED") }

// cure restarts what has failed, as the runbook says.
func (w *worker) cure(ctx context.Context) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, w.url+"/connectors/archive/restart?includeTasks=true&onlyFailed=true", nil)
	if err != nil {
		return err
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	return answer.Body.Close()
}

// rule is one of infra/prometheus/rules.yaml. What Prometheus itself makes of the file,
// alert's tests ask promtool; here its scrapes and its waits are taken for granted.
type rule struct {
	Alert string
	Expr  string
	For   string

	wait time.Duration
}

// The forms of expressions that there are.
var (
	beyond  = regexp.MustCompile(`^(\w+) ([<>]) (\S+)$`)
	absent  = regexp.MustCompile(`^absent\((\w+)\)$`)
	grouped = regexp.MustCompile(`^(min|max) by \(function\) \((\w+)\{(\w+)="([^"]*)"\}\) == (\S+)$`)
)

func readRules(t *testing.T) (rules []rule) {
	t.Helper()
	text, err := os.ReadFile("../infra/prometheus/rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct{ Groups []struct{ Rules []rule } }
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		for _, r := range g.Rules {
			if r.wait, err = time.ParseDuration(r.For); err != nil {
				t.Fatalf("%s: for: %v", r.Alert, err)
			}
			if !beyond.MatchString(r.Expr) && !absent.MatchString(r.Expr) && !grouped.MatchString(r.Expr) {
				t.Fatalf("%s: no test can compute %s", r.Alert, r.Expr)
			}
			rules = append(rules, r)
		}
	}
	return rules
}

// sample is one line of /metrics.
type sample struct {
	name   string
	labels map[string]string
	value  float64
}

// holds are the values of the label by which a rule groups, "" if by none, for which its
// expression holds.
func (r rule) holds(samples []sample) (groups []string) {
	if m := absent.FindStringSubmatch(r.Expr); m != nil {
		if slices.ContainsFunc(samples, func(s sample) bool { return s.name == m[1] }) {
			return nil
		}
		return []string{""}
	}
	if m := beyond.FindStringSubmatch(r.Expr); m != nil {
		threshold, _ := strconv.ParseFloat(m[3], 64)
		for _, s := range samples {
			if s.name == m[1] && (m[2] == "<" && s.value < threshold || m[2] == ">" && s.value > threshold) {
				return []string{""}
			}
		}
		return nil
	}
	m := grouped.FindStringSubmatch(r.Expr)
	is, _ := strconv.ParseFloat(m[5], 64)
	by := map[string][]float64{}
	for _, s := range samples {
		if s.name == m[2] && s.labels[m[3]] == m[4] {
			by[s.labels["function"]] = append(by[s.labels["function"]], s.value)
		}
	}
	for function, values := range by {
		if m[1] == "min" && slices.Min(values) == is || m[1] == "max" && slices.Max(values) == is {
			groups = append(groups, function)
		}
	}
	return groups
}

// scrapes is how often the functions are asked for their figures, as by Prometheus. The
// watch is asked each second.
const scrapes = 15 * time.Second

// evaluate is Prometheus: it scrapes the watch and the functions that run, and holds the
// rules to what it sees, each second.
func (o *outlook) evaluate(ctx context.Context) {
	var functions []sample
	var asked time.Time
	for ; ctx.Err() == nil; pause(ctx, time.Second) {
		o.mu.Lock()
		watch := o.address
		o.mu.Unlock()
		samples := scrape(ctx, "http://"+cmp.Or(watch, "127.0.0.1:1"))
		figures := map[string]bool{}
		for _, s := range samples {
			figures[s.name] = true
		}
		if time.Since(asked) > scrapes {
			functions, asked = nil, time.Now()
			for _, f := range o.p.status() {
				if f.PID > 0 { // else asking would start it
					functions = append(functions, scrape(ctx, f.URL)...)
				}
			}
		}
		samples = append(samples, functions...)
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		o.mu.Lock()
		o.scraped = figures
		was := o.pending
		o.pending, o.fires = map[string]time.Time{}, map[string]time.Time{}
		for _, r := range o.rules {
			for _, group := range r.holds(samples) {
				key := r.Alert + " " + group
				since, known := was[key]
				if !known {
					since = now
				}
				o.pending[key] = since
				if now.Sub(since) >= r.wait {
					o.fires[r.Alert], o.fired[r.Alert] = since, true
				}
			}
		}
		o.mu.Unlock()
	}
}

// exposed is a line of the text that Prometheus reads.
var (
	exposed  = regexp.MustCompile(`(?m)^(\w+)(?:\{(.*)\})? (\S+)$`)
	labelled = regexp.MustCompile(`(\w+)="([^"]*)"`)
)

// scrape reads the metrics at an address; none if it does not answer.
func scrape(ctx context.Context, address string) (samples []sample) {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, address+"/metrics", nil)
	if err != nil {
		return nil
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return nil
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil || answer.StatusCode != http.StatusOK {
		return nil
	}
	for _, m := range exposed.FindAllStringSubmatch(string(text), -1) {
		value, err := strconv.ParseFloat(m[3], 64)
		if err != nil {
			continue
		}
		s := sample{name: m[1], labels: map[string]string{}, value: value}
		for _, l := range labelled.FindAllStringSubmatch(m[2], -1) {
			s.labels[l[1]] = l[2]
		}
		samples = append(samples, s)
	}
	return samples
}
