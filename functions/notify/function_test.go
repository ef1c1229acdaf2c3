package notify

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sr/srfake"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
	"github.com/m7pulse/m7pulse/shared/serve"
	"github.com/m7pulse/m7pulse/shared/signal"
)

// installation is what the function needs, as real servers in this process, and a
// webhook that counts.
type installation struct {
	t        *testing.T
	brokers  []string
	env      map[string]string
	codec    *event.Codec
	client   *kgo.Client
	redis    *miniredis.Miniredis
	receiver *receiver
}

// receiver is a webhook. It accepts what status says, "" for all.
type receiver struct {
	*httptest.Server
	mu     sync.Mutex
	status func(signalID string) int
	ids    map[string]int    // how often each message id was accepted
	last   map[string]string // the signal of each, or digest=n
	order  []string
}

func newReceiver(t *testing.T) *receiver {
	t.Helper()
	r := &receiver{ids: map[string]int{}, last: map[string]string{}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, q *http.Request) {
	body, _ := io.ReadAll(q.Body)
	var e struct {
		ID   string `json:"id"`
		Type string `json:"type"`
		Data struct{ Signals []json.RawMessage }
	}
	_ = json.Unmarshal(body, &e)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.status != nil {
		if status := r.status(e.ID); status != 0 {
			w.WriteHeader(status)
			return
		}
	}
	if len(e.Data.Signals) > 0 {
		e.ID = fmt.Sprintf("digest=%d", len(e.Data.Signals))
	}
	id := q.Header.Get("Webhook-Id")
	r.ids[id]++
	r.last[id] = e.ID
	r.order = append(r.order, e.ID)
}

func (r *receiver) refuse(f func(string) int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.status = f
}

// accepted are the signals that were accepted, in order.
func (r *receiver) accepted() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.order)
}

var secretText = "whsec_" + base64.StdEncoding.EncodeToString([]byte(strings.Repeat("k", 32)))

// install starts the servers. rules may hold URL and SECRET, those of the receiver.
func install(t *testing.T, rules string) *installation {
	t.Helper()
	cluster, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(3, event.TopicSignals, event.DeadLetterTopic(event.TopicSignals)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cluster.Close)
	registry := httptest.NewServer(srfake.NewRegistry().Handler())
	t.Cleanup(registry.Close)
	in := &installation{t: t, brokers: cluster.ListenAddrs(), redis: miniredis.RunT(t), receiver: newReceiver(t)}
	in.env = map[string]string{
		"KAFKA_BROKERS": strings.Join(in.brokers, ","), "SCHEMA_REGISTRY_URL": registry.URL, "REDIS_URL": "redis://" + in.redis.Addr(),
		"SIGNALS": strings.NewReplacer("URL", in.receiver.URL, "SECRET", secretText).Replace(rules),
	}
	if in.codec, err = event.NewCodec(registry.URL); err != nil {
		t.Fatal(err)
	}
	if in.client, err = kafka.NewProducer(kafka.Config{Brokers: in.brokers}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(in.client.Close)
	return in
}

// start starts the function, with a clock if there is one.
func (in *installation) start(now func() time.Time) *function {
	in.t.Helper()
	cfg, err := serve.Load[Config](in.t.Context(), in.env)
	if err != nil {
		in.t.Fatal(err)
	}
	rules, err := ReadRules(string(cfg.Rules), "")
	if err != nil {
		in.t.Fatal(err)
	}
	f, err := newFunction(cfg, rules, http.DefaultTransport)
	if err != nil {
		in.t.Fatal(err)
	}
	if now != nil {
		f.now = now
	}
	in.t.Cleanup(func() { in.stop(f) })
	return f
}

// stop stops the function, which may be stopped already.
func (in *installation) stop(f *function) {
	in.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := f.Close(ctx); err != nil && !errors.Is(err, redis.ErrClosed) {
		in.t.Error(err)
	}
}

// raised is a signal of a repository of acme.
func raised(kind string, repository int64, at time.Time) *event.Signal {
	s := signal.New(kind)
	name := fmt.Sprintf("acme/repo-%d", repository)
	s.RepoID, s.NameWithOwner, s.Owner, s.ObservedAt, s.Evidence = &repository, &name, "acme", at.UTC().Truncate(time.Millisecond), "1@1"
	s.Say("%s does something", name)
	s.Identify()
	return s
}

func (in *installation) raise(signals ...*event.Signal) {
	in.t.Helper()
	for _, s := range signals {
		r, err := in.codec.Record(in.t.Context(), s, false)
		if err == nil {
			err = in.client.ProduceSync(in.t.Context(), r).FirstErr()
		}
		if err != nil {
			in.t.Fatal(err)
		}
	}
}

func wake() cloudevents.Event {
	tick := cloudevents.NewEvent()
	tick.SetID("by-hand")
	tick.SetSource("/test")
	tick.SetType(event.TypeTick)
	_ = tick.SetData(event.ContentJSON, map[string]string{"do": "wake"})
	return tick
}

// wakeUp wakes the function until it has nothing more to do now.
func (in *installation) wakeUp(f *function) {
	in.t.Helper()
	for range 100 {
		err := f.Receive(in.t.Context(), wake())
		if err == nil {
			return
		}
		if !errors.Is(err, kafka.ErrBehind) {
			in.t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond) // a bell comes again after a second
	}
	in.t.Fatal("it does not come to an end")
}

func idsOf(signals ...*event.Signal) (ids []string) {
	for _, s := range signals {
		ids = append(ids, s.ID)
	}
	return ids
}

func expect(t *testing.T, got, want []string) {
	t.Helper()
	got, want = slices.Clone(got), slices.Clone(want)
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("sent %q, want %q", got, want)
	}
}

const toAll = `
targets: {hook: {webhook: URL, secret: SECRET}}
rules: [{to: [hook]}, {to: [hook], kinds: [release]}]
`

func TestEachSignalIsSentToATargetOnce(t *testing.T) {
	t.Parallel()
	in := install(t, toAll)
	f := in.start(nil)
	now := time.Now()
	one, two := raised(signal.Release, 1, now), raised(signal.Breakout, 2, now)
	in.raise(one, two, one, raised(signal.Release, 3, now.Add(-maxAge-time.Minute))) // which is too old
	in.wakeUp(f)
	in.raise(two)
	in.wakeUp(f)
	in.stop(f)
	f = in.start(nil)
	in.wakeUp(f)
	expect(t, in.receiver.accepted(), idsOf(one, two))
}

func TestRulesSayWhatIsSentWhere(t *testing.T) {
	t.Parallel()
	company, other := "Acme Inc", "other"
	s := raised(signal.Breakout, 1, time.Now())
	s.Company, s.Value = &company, new(-40.0)
	for text, want := range map[string]bool{
		"to: [a]": true, "to: [a], kinds: [release]": false, "to: [a], kinds: [release, breakout]": true, "to: [a], owners: [ACME]": true, "to: [a], owners: [b]": false,
		"to: [a], companies: [acme inc]": true, "to: [a], companies: [" + other + "]": false, "to: [a], severity: info": true, "to: [a], severity: notice": true, "to: [a], severity: warning": false,
		"to: [a], least: {breakout: 40}": true, "to: [a], least: {breakout: 41}": false, "to: [a], least: {burst: 1000}": true,
	} {
		r, err := ReadRules("targets: {a: {slack: 'https://h/x'}}\nrules: [{"+text+"}]", "")
		if err != nil {
			t.Fatal(err)
		}
		if got := len(r.targets(s)) == 1; got != want {
			t.Errorf("%s: sent %t, want %t", text, got, want)
		}
	}
}

func TestRulesThatCannotBeMeantAreRefused(t *testing.T) {
	t.Parallel()
	const a = "targets: {a: {slack: 'https://h/PASSWORD'}}\n"
	for _, text := range []string{
		"rules: [{to: [a]}]", a + "rules: [{to: [b]}]", a + "rules: [{kinds: [release]}]", a + "rules: [{to: [a], kinds: [releases]}]", a + "rules: [{to: [a], severity: bad}]",
		a + "rules: [{to: [a], least: {x: 1}}]", a + "rule: []", "targets: {A: {slack: 'https://h/PASSWORD'}}", "targets: {a: {slack: 'PASSWORD'}}",
		"targets: {a: {slack: 'https://h/PASSWORD', quiet: {from: '7', to: '08:00'}}}", "targets: {a: {slack: 'https://h/PASSWORD', quiet: {from: '07:00', to: '07:00'}}}",
		"targets: {a: {slack: 'https://h/PASSWORD', quiet: {from: '07:00', to: '08:00', zone: Nowhere/No}}}", "targets: {a: {slack: 'https://h/PASSWORD', digest: {every: month, at: '08:00'}}}",
		"targets: {a: {slack: 'https://h/PASSWORD', digest: {every: day, at: '08:00'}, quiet: {from: '07:00', to: '08:00'}}}", "{", strings.Repeat("#", maxRulesBytes+1),
	} {
		if _, err := ReadRules(text, ""); err == nil || strings.Contains(err.Error(), "PASSWORD") {
			t.Errorf("%.120s: %v", text, err)
		}
	}
	if r, err := ReadRules("", filepath.Join(t.TempDir(), "none.yaml")); err != nil || len(r.Targets) != 0 {
		t.Errorf("without a file: %v, %v", r, err)
	}
	file := filepath.Join(t.TempDir(), "signals.yaml")
	if err := os.WriteFile(file, []byte(a), 0o600); err != nil {
		t.Fatal(err)
	}
	if r, err := ReadRules("", file); err != nil || len(r.Targets) != 1 {
		t.Errorf("of a file: %v, %v", r, err)
	}
}

func TestWithoutRulesNothingIsRead(t *testing.T) {
	t.Parallel()
	f, err := open(t.Context(), map[string]string{"KAFKA_BROKERS": "127.0.0.1:1", "REDIS_URL": "redis://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	byHand := wake()
	byHand.SetType(event.TypeSignal)
	if err := f.Receive(t.Context(), byHand); !errors.Is(err, event.ErrInvalid) {
		t.Errorf("a signal posted by hand is answered for by %v", err)
	}
	if err := errors.Join(f.Receive(t.Context(), wake()), f.Close(t.Context())); err != nil || f.Status().Failing != "" {
		t.Errorf("%v, %+v", err, f.Status())
	}
}

func TestQuietHoursEndByTheClockOfTheirZone(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ from, to, zone, at, end string }{
		{"22:00", "07:00", "", "2026-01-02T21:59:59Z", ""}, {"22:00", "07:00", "", "2026-01-02T22:00:00Z", "2026-01-03T07:00:00Z"},
		{"22:00", "07:00", "", "2026-01-03T06:59:59Z", "2026-01-03T07:00:00Z"}, {"22:00", "07:00", "", "2026-01-03T07:00:00Z", ""},
		{"12:00", "13:30", "", "2026-01-02T12:59:00Z", "2026-01-02T13:30:00Z"}, {"12:00", "13:30", "", "2026-01-02T23:00:00Z", ""},
		{"22:00", "07:00", "Europe/Berlin", "2026-01-02T21:30:00Z", "2026-01-03T06:00:00Z"}, {"22:00", "07:00", "Europe/Berlin", "2026-07-02T20:30:00Z", "2026-07-03T05:00:00Z"},
		{"22:00", "07:00", "Europe/Berlin", "2026-03-28T22:00:00Z", "2026-03-29T05:00:00Z"}, // the clocks are put forward in that night
	} {
		q := Quiet{From: c.from, To: c.to, Zone: c.zone}
		if err := q.prepare(); err != nil {
			t.Fatal(err)
		}
		at, _ := time.Parse(time.RFC3339, c.at)
		want := at
		if c.end != "" {
			want, _ = time.Parse(time.RFC3339, c.end)
		}
		if got := q.end(at); !got.Equal(want) {
			t.Errorf("%s to %s in %q, at %s: until %s, want %s", c.from, c.to, c.zone, c.at, got.UTC(), want.UTC())
		}
	}
}

func TestADigestIsNextAtItsTime(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ every, at, zone, after, next string }{
		{"day", "08:00", "", "2026-01-02T07:59:00Z", "2026-01-02T08:00:00Z"}, {"day", "08:00", "", "2026-01-02T08:00:00Z", "2026-01-03T08:00:00Z"},
		{"week", "08:00", "", "2026-01-02T08:00:00Z", "2026-01-05T08:00:00Z"}, {"week", "08:00", "", "2026-01-05T08:00:00Z", "2026-01-12T08:00:00Z"},
		{"day", "08:00", "Asia/Tokyo", "2026-01-02T07:59:00Z", "2026-01-02T23:00:00Z"},
	} {
		d := Digest{Every: c.every, At: c.at, Zone: c.zone}
		if err := d.prepare(); err != nil {
			t.Fatal(err)
		}
		after, _ := time.Parse(time.RFC3339, c.after)
		if got := d.next(after).UTC().Format(time.RFC3339); got != c.next {
			t.Errorf("every %s at %s %s, after %s: %s, want %s", c.every, c.at, c.zone, c.after, got, c.next)
		}
	}
}

// watch is a clock that a test sets.
type watch struct {
	mu sync.Mutex
	at time.Time
}

func (w *watch) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.at
}

func (w *watch) set(at time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.at = at
}

func TestWhatComesInQuietHoursIsSentAfterThem(t *testing.T) {
	t.Parallel()
	in := install(t, `
targets: {hook: {webhook: URL, secret: SECRET, quiet: {from: "22:00", to: "07:00", except: critical}}}
rules: [{to: [hook]}]
`)
	night := time.Date(2026, 1, 2, 23, 0, 0, 0, time.UTC)
	clock := &watch{at: night}
	f := in.start(clock.now)
	quiet, loud := raised(signal.RepositoryGone, 1, night), raised(signal.OwnerFailed, 2, night)
	in.raise(quiet, loud)
	in.wakeUp(f)
	expect(t, in.receiver.accepted(), idsOf(loud))
	clock.set(time.Date(2026, 1, 3, 6, 58, 0, 0, time.UTC))
	in.wakeUp(f)
	expect(t, in.receiver.accepted(), idsOf(loud))
	clock.set(time.Date(2026, 1, 3, 7, 0, 0, 0, time.UTC))
	in.wakeUp(f)
	expect(t, in.receiver.accepted(), idsOf(loud, quiet))
}

// A source sends a bell again only as long as it is refused.
func TestABellComesAgainUntilARefusedMessageIsSent(t *testing.T) {
	t.Parallel()
	in := install(t, `
targets: {hook: {webhook: URL, secret: SECRET}}
rules: [{to: [hook]}]
`)
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	clock := &watch{at: noon}
	f := in.start(clock.now)
	in.receiver.refuse(func(string) int { return http.StatusServiceUnavailable })
	s := raised(signal.Release, 1, noon)
	in.raise(s)
	for second := range 5 {
		clock.set(noon.Add(time.Duration(second) * time.Second))
		if err := f.Receive(t.Context(), wake()); !errors.Is(err, kafka.ErrBehind) {
			t.Fatalf("after %d s of the pause a bell is answered %v", second, err)
		}
	}
	in.receiver.refuse(nil)
	clock.set(noon.Add(firstPause))
	if err := f.Receive(t.Context(), wake()); err != nil {
		t.Fatal(err)
	}
	expect(t, in.receiver.accepted(), idsOf(s))
}

// A message that was due before the quiet hours began, and was not taken, waits for
// their end.
func TestATryDoesNotDisturbQuietHours(t *testing.T) {
	t.Parallel()
	in := install(t, `
targets: {hook: {webhook: URL, secret: SECRET, quiet: {from: "22:00", to: "07:00"}}}
rules: [{to: [hook]}]
`)
	evening := time.Date(2026, 1, 2, 21, 59, 58, 0, time.UTC)
	clock := &watch{at: evening}
	f := in.start(clock.now)
	in.receiver.refuse(func(string) int { return http.StatusServiceUnavailable })
	s := raised(signal.Release, 1, evening)
	in.raise(s)
	if err := f.Receive(t.Context(), wake()); !errors.Is(err, kafka.ErrBehind) {
		t.Fatalf("a target that is down is answered for by %v", err)
	}
	in.receiver.refuse(nil)
	clock.set(evening.Add(time.Minute))
	in.wakeUp(f)
	expect(t, in.receiver.accepted(), nil)
	clock.set(time.Date(2026, 1, 3, 7, 0, 0, 0, time.UTC))
	in.wakeUp(f)
	expect(t, in.receiver.accepted(), idsOf(s))
}

func TestADigestIsOneMessage(t *testing.T) {
	t.Parallel()
	in := install(t, `
targets: {hook: {webhook: URL, secret: SECRET, digest: {every: day, at: "08:00"}}}
rules: [{to: [hook]}]
`)
	noon := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	clock := &watch{at: noon}
	f := in.start(clock.now)
	in.raise(raised(signal.Release, 1, noon), raised(signal.Release, 2, noon), raised(signal.Breakout, 3, noon))
	in.wakeUp(f)
	expect(t, in.receiver.accepted(), nil)
	clock.set(noon.Add(20 * time.Hour))
	in.wakeUp(f)
	expect(t, in.receiver.accepted(), []string{"digest=3"})
}

func TestASampleIsSentToEachTarget(t *testing.T) {
	t.Parallel()
	r, refusing := newReceiver(t), newReceiver(t)
	refusing.refuse(func(string) int { return http.StatusForbidden })
	rules, err := ReadRules(strings.NewReplacer("URL", r.URL, "OTHER", refusing.URL, "SECRET", secretText).Replace(`
targets:
  a: {webhook: URL, secret: SECRET, quiet: {from: "00:00", to: "23:59"}}
  b: {webhook: OTHER, secret: SECRET}
  c: {webhook: URL, secret: SECRET, digest: {every: week, at: "08:00"}}
`), "")
	if err != nil {
		t.Fatal(err)
	}
	tried := Try(t.Context(), rules, "")
	if len(tried) != 3 || tried[0].Err != nil || tried[1].Err == nil || tried[2].Err != nil || tried[1].Target != "b" {
		t.Errorf("tried %v", tried)
	}
	if got := r.accepted(); len(got) != 2 || !strings.HasPrefix(got[0], "milestone/1@") || got[1] != "digest=1" {
		t.Errorf("sent %q", got)
	}
	if only := Try(t.Context(), rules, "a"); len(only) != 1 || len(r.accepted()) != 3 {
		t.Errorf("tried %v", only)
	}
}

// letters are the dead letters' ids and reasons.
func (in *installation) letters() map[string]string {
	in.t.Helper()
	all := map[string]string{}
	for _, r := range in.records(event.DeadLetterTopic(event.TopicSignals)) {
		var l event.DeadLetter
		if err := json.Unmarshal(r.Value, &l); err != nil {
			in.t.Fatal(err)
		}
		all[l.ID()] = l.Stage + ": " + l.Reason
	}
	return all
}

func (in *installation) records(topic string) (all []*kgo.Record) {
	in.t.Helper()
	ends, err := kadm.NewClient(in.client).ListEndOffsets(in.t.Context(), topic)
	if err != nil {
		in.t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) {
		err = errors.Join(err, kafka.ReadRange(in.t.Context(), kafka.Config{Brokers: in.brokers}, kafka.Partition{Topic: topic, Number: o.Partition}, 0, o.Offset, func(records []*kgo.Record, _ int64) error {
			all = append(all, records...)
			return nil
		}))
	})
	if err != nil {
		in.t.Fatal(err)
	}
	return all
}

func TestWhatATargetRejectsIsADeadLetterThatCanBeRetried(t *testing.T) {
	t.Parallel()
	in := install(t, toAll)
	f := in.start(nil)
	bad, good := raised(signal.Release, 1, time.Now()), raised(signal.Release, 2, time.Now())
	in.receiver.refuse(func(id string) int {
		if id == bad.ID {
			return http.StatusGone
		}
		return 0
	})
	in.raise(bad, good)
	in.wakeUp(f)
	in.wakeUp(f)
	letters := in.letters()
	if reasons := slices.Collect(maps.Values(letters)); len(reasons) != 1 || !strings.HasPrefix(reasons[0], "notify: send it to target hook: rejected: ") || strings.Contains(reasons[0], in.receiver.URL) {
		t.Errorf("dead letters %q", letters)
	}
	expect(t, in.receiver.accepted(), idsOf(good))
	// pulse deadletters retry sends the original again.
	in.receiver.refuse(nil)
	var letter event.DeadLetter
	if err := json.Unmarshal(in.records(event.DeadLetterTopic(event.TopicSignals))[0].Value, &letter); err != nil {
		t.Fatal(err)
	}
	original, err := letter.Original()
	if err == nil {
		err = in.client.ProduceSync(t.Context(), original).FirstErr()
	}
	if err != nil {
		t.Fatal(err)
	}
	in.wakeUp(f)
	expect(t, in.receiver.accepted(), idsOf(good, bad))
}

func TestTwoTargetsThatRejectASignalAreTwoDeadLetters(t *testing.T) {
	t.Parallel()
	in := install(t, `
targets: {first: {webhook: URL, secret: SECRET}, second: {webhook: URL, secret: SECRET}}
rules: [{to: [first, second]}]
`)
	f := in.start(nil)
	bad := raised(signal.Release, 1, time.Now())
	in.receiver.refuse(func(string) int { return http.StatusGone })
	in.raise(bad)
	in.wakeUp(f)
	in.wakeUp(f)
	in.receiver.refuse(nil)
	records := in.records(event.DeadLetterTopic(event.TopicSignals))
	if len(in.letters()) != 2 || len(records) != 2 {
		t.Fatalf("dead letters %q", in.letters())
	}
	for n, r := range records {
		var letter event.DeadLetter
		if err := json.Unmarshal(r.Value, &letter); err != nil {
			t.Fatal(err)
		}
		original, err := letter.Original()
		if err == nil {
			err = in.client.ProduceSync(t.Context(), original).FirstErr()
		}
		if err != nil {
			t.Fatal(err)
		}
		in.wakeUp(f)
		if got := in.receiver.accepted(); len(got) != n+1 {
			t.Errorf("after retrying %s: accepted %q, want it once more", letter.ID(), got)
		}
	}
}

func TestATargetThatIsDownIsTriedLessAndLessOftenAndGivenUp(t *testing.T) {
	t.Parallel()
	in := install(t, toAll)
	began := time.Now()
	clock := &watch{at: began}
	f := in.start(clock.now)
	tries := 0
	in.receiver.refuse(func(string) int { tries++; return http.StatusBadGateway })
	in.raise(raised(signal.Release, 1, began))
	for minute := range 13 * 60 {
		clock.set(began.Add(time.Duration(minute) * time.Minute))
		if err := f.Receive(t.Context(), wake()); err != nil && !errors.Is(err, kafka.ErrBehind) {
			t.Fatal(err)
		}
		if n, err := f.outbox.waiting(t.Context()); err != nil || n == 0 {
			break
		}
	}
	if in.receiver.mu.Lock(); tries < 15 || tries > 25 {
		t.Errorf("%d tries in 12 hours", tries)
	}
	in.receiver.mu.Unlock()
	if letters := in.letters(); len(letters) != 1 {
		t.Errorf("dead letters %q", letters)
	}
}

// What waited in an outbox that Redis has lost is read again, though the process that
// had put it in is still alive. Its target knows what it has had by the message's id.
func TestASignalOutlivesTheRedisThatForgetsIt(t *testing.T) {
	t.Parallel()
	in := install(t, toAll)
	clock := &watch{at: time.Now()}
	f := in.start(clock.now)
	sent, waiting, next := raised(signal.Release, 1, clock.now()), raised(signal.Release, 2, clock.now()), raised(signal.Release, 3, clock.now())
	in.raise(sent)
	in.wakeUp(f)
	in.receiver.refuse(func(string) int { return http.StatusServiceUnavailable })
	in.raise(waiting)
	_ = f.Receive(t.Context(), wake())
	in.redis.FlushAll()
	in.receiver.refuse(nil)
	clock.set(clock.now().Add(time.Minute))
	in.raise(next)
	for end := time.Now().Add(20 * time.Second); len(in.receiver.accepted()) < 4 && time.Now().Before(end); {
		_ = f.Receive(t.Context(), wake()) // which fails until the outbox is read into again
		time.Sleep(50 * time.Millisecond)
	}
	expect(t, in.receiver.accepted(), idsOf(sent, sent, waiting, next))
	if len(in.receiver.ids) != 3 {
		t.Errorf("%d ids of messages, want 3: %v", len(in.receiver.ids), in.receiver.ids)
	}
}

func TestAFullOutboxLeavesSignalsInKafka(t *testing.T) {
	t.Parallel()
	in := install(t, toAll)
	o := in.start(nil).outbox
	p := kafka.Partition{Topic: event.TopicSignals, Number: 0}
	const block = 500
	for n := range maxOutbox / block {
		var some []*message
		for i := range block {
			some = append(some, &message{Target: "hook", id: fmt.Sprint(n, i), due: time.Now().Add(time.Hour)})
		}
		if err := o.put(t.Context(), "id", nil, kafka.Offsets{p: 5}, some, time.Now()); err != nil {
			t.Fatal(err)
		}
	}
	if err := o.put(t.Context(), "id", nil, kafka.Offsets{p: 6}, []*message{{Target: "hook", id: "more"}}, time.Now()); !errors.Is(err, errFull) {
		t.Errorf("a full outbox takes more in: %v", err)
	}
	if marks, err := o.marks(t.Context()); err != nil || len(marks) != 1 || marks[0].Next != 5 {
		t.Errorf("offsets %v, %v", marks, err)
	}
	// An offset never falls, and a message is known.
	if err := o.put(t.Context(), "id", nil, kafka.Offsets{p: 3}, nil, time.Now()); err != nil {
		t.Fatal(err)
	}
	if marks, _ := o.marks(t.Context()); marks[0].Next != 5 {
		t.Errorf("offsets %v", marks)
	}
}
