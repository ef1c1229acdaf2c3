package kafka

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Brokers that are killed, and consumers that are, run in a process of their own: this binary again.
const roleVariable = "KAFKA_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(roleVariable) {
	case "":
		os.Exit(m.Run())
	case "broker":
		port, err := strconv.Atoi(os.Args[2])
		if err != nil {
			panic(err)
		}
		b, err := Open(context.Background(), Config{Dir: os.Args[1], Port: port, Sync: os.Args[3] == "sync", Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			panic(err)
		}
		fmt.Println(b.Addr(), b.Port())
	case "consumer": // address, instance or "", session
		session, err := time.ParseDuration(os.Args[3])
		if err != nil {
			panic(err)
		}
		opts := []kgo.Opt{kgo.SeedBrokers(os.Args[1]), kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit(),
			kgo.SessionTimeout(session), kgo.HeartbeatInterval(session / 10)}
		if os.Args[2] != "" {
			opts = append(opts, kgo.InstanceID(os.Args[2]))
		}
		begun := time.Now()
		client, err := kgo.NewClient(opts...)
		if err != nil {
			panic(err)
		}
		if fetches := client.PollFetches(context.Background()); fetches.Err() != nil || fetches.NumRecords() == 0 {
			panic(fmt.Sprint(fetches.NumRecords(), fetches.Err()))
		}
		fmt.Println(time.Since(begun).Round(time.Millisecond))
	}
	select {} // until it is killed
}

// child runs this binary in a role, and returns the first line that it prints.
func child(t testing.TB, role string, args ...string) (line string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], args...)
	cmd.Env = append(os.Environ(), roleVariable+"="+role)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = sync.OnceFunc(func() {
		cmd.Process.Kill()
		cmd.Wait()
	})
	t.Cleanup(kill)
	if line, err = bufio.NewReader(out).ReadString('\n'); err != nil {
		t.Fatalf("%s: %v", role, err)
	}
	return strings.TrimSpace(line), kill
}

func killable(t testing.TB, dir, port, sync string) (addr, boundPort string, kill func()) {
	t.Helper()
	line, kill := child(t, "broker", dir, port, sync)
	addr, boundPort, _ = strings.Cut(line, " ")
	return addr, boundPort, kill
}

func open(t *testing.T, dir string, port int) *Broker {
	t.Helper()
	b, err := Open(t.Context(), Config{Dir: dir, Port: port, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
	return b
}

func connect(t testing.TB, addr string, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addr)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func create(t testing.TB, addr, topic string, partitions int32) kadm.TopicID {
	t.Helper()
	made, err := kadm.NewClient(connect(t, addr)).CreateTopic(t.Context(), partitions, 1, nil, topic)
	if err != nil {
		t.Fatal(err)
	}
	return made.ID
}

func produce(t testing.TB, client *kgo.Client, topic string, values ...string) {
	t.Helper()
	for _, value := range values {
		if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: topic, Value: []byte(value)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
	}
}

// read returns n records, or fails after 10 seconds.
func read(t testing.TB, client *kgo.Client, n int) []*kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	var records []*kgo.Record
	for len(records) < n {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			t.Fatalf("after %d of %d records: %v", len(records), n, err)
		}
		records = append(records, fetches.Records()...)
	}
	return records
}

func TestTopicIDsRecordsAndOffsetsSurviveAKill(t *testing.T) {
	dir := t.TempDir()
	addr, port, kill := killable(t, dir, "0", "")
	id := create(t, addr, "t", 3)
	produce(t, connect(t, addr), "t", "a", "b", "c")
	group := connect(t, addr, kgo.ConsumerGroup("g"), kgo.ConsumeTopics("t"), kgo.DisableAutoCommit())
	read(t, group, 3)
	if err := group.CommitUncommittedOffsets(t.Context()); err != nil {
		t.Fatal(err)
	}
	kill()
	again, samePort, _ := killable(t, dir, port, "")
	if samePort != port || again != addr {
		t.Errorf("it is at %s, was at %s", again, addr)
	}
	admin := kadm.NewClient(connect(t, addr))
	topics, err := admin.ListTopics(t.Context())
	if err != nil || topics["t"].ID != id || len(topics["t"].Partitions) != 3 {
		t.Errorf("topic %+v, %v, want id %v", topics["t"], err, id)
	}
	lag, err := admin.Lag(t.Context(), "g")
	if err != nil || lag["g"].Lag.Total() != 0 {
		t.Errorf("lag %v, %v", lag["g"].Lag.Total(), err)
	}
	if got := read(t, connect(t, addr, kgo.ConsumeTopics("t")), 3); len(got) != 3 {
		t.Errorf("%d records", len(got))
	}
}

func TestTransactionsSurviveKillsAsTheyWere(t *testing.T) {
	dir := t.TempDir()
	addr, port, kill := killable(t, dir, "0", "")
	create(t, addr, "t", 1)
	transaction := func(id string, end kgo.TransactionEndTry, values ...string) {
		t.Helper()
		client := connect(t, addr, kgo.TransactionalID(id))
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, client, "t", values...)
		if err := client.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	want := func(values string) {
		t.Helper()
		got := ""
		for _, r := range read(t, connect(t, addr, kgo.ConsumeTopics("t"), kgo.FetchIsolationLevel(kgo.ReadCommitted())), len(values)) {
			got += string(r.Value)
		}
		if got != values {
			t.Errorf("committed are %s, want %s", got, values)
		}
	}
	transaction("committed", kgo.TryCommit, "a", "b")
	transaction("aborted", kgo.TryAbort, "x", "y")
	for _, next := range []string{"c", "d", "e"} { // each time a transaction is left open, and its id used again
		open := connect(t, addr, kgo.TransactionalID("open"))
		if err := open.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		produce(t, open, "t", "z", "z")
		kill()
		_, _, kill = killable(t, dir, port, "")
		transaction("open", kgo.TryCommit, next)
	}
	want("abcde")
	kill()
	_, _, kill = killable(t, dir, port, "") // once more, with nothing open
	want("abcde")
	kill()
	portNumber, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	open(t, dir, portNumber).Close()
	open(t, dir, portNumber)
	want("abcde")
}

func TestATransactionGoesOnAfterARestart(t *testing.T) {
	dir := t.TempDir()
	b := open(t, dir, 0)
	create(t, b.Addr(), "t", 1)
	client := connect(t, b.Addr(), kgo.TransactionalID("x"))
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, client, "t", "a")
	if err := b.Close(); err != nil {
		t.Fatal(err)
	}
	again, err := Open(t.Context(), Config{Dir: dir, Port: b.Port()})
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	produce(t, client, "t", "b")
	if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	got := read(t, connect(t, b.Addr(), kgo.ConsumeTopics("t"), kgo.FetchIsolationLevel(kgo.ReadCommitted())), 2)
	if string(got[0].Value)+string(got[1].Value) != "ab" {
		t.Errorf("%v", got)
	}
}

// TestAFetchThatIsFullHasNoRecordsOfAnAbortedTransaction: a reader takes what of an
// aborted transaction it is not warned of for committed. The fetch is full in the
// midst of such a transaction, on the first, or on a later partition.
func TestAFetchThatIsFullHasNoRecordsOfAnAbortedTransaction(t *testing.T) {
	addr := open(t, t.TempDir(), 0).Addr()
	create(t, addr, "t", 3)
	noise := make([]byte, 20_000)
	for i := range noise {
		noise[i] = byte(i * i >> 3)
	}
	writer := connect(t, addr, kgo.TransactionalID("w"), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerBatchCompression(kgo.NoCompression()))
	transaction := func(end kgo.TransactionEndTry, word string, records int) {
		t.Helper()
		if err := writer.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		for p := range int32(3) {
			for range records { // each a batch of its own
				if err := writer.ProduceSync(t.Context(), &kgo.Record{Topic: "t", Partition: p, Key: []byte(word), Value: noise}).FirstErr(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := writer.EndTransaction(t.Context(), end); err != nil {
			t.Fatal(err)
		}
	}
	for range 3 {
		transaction(kgo.TryAbort, "aborted", 5)
		transaction(kgo.TryCommit, "committed", 1)
	}
	for range renewAfter { // of nothing
		if _, err := kmsg.NewPtrFetchRequest().RequestWith(t.Context(), writer); err != nil {
			t.Fatal(err)
		}
	}
	for _, most := range []int32{30_000, 50_000, 130_000, 200_000} {
		reader := connect(t, addr, kgo.ConsumeTopics("t"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.FetchMaxBytes(most), kgo.FetchMaxPartitionBytes(100_000), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		for _, r := range read(t, reader, 9) {
			if string(r.Key) != "committed" {
				t.Fatalf("with at most %d bytes a fetch, record %d/%d of an aborted transaction was read", most, r.Partition, r.Offset)
			}
		}
	}
}

func TestControlRecordsAreThereForWhoAsks(t *testing.T) {
	b := open(t, t.TempDir(), 0)
	create(t, b.Addr(), "t", 1)
	client := connect(t, b.Addr(), kgo.TransactionalID("x"))
	if err := client.BeginTransaction(); err != nil {
		t.Fatal(err)
	}
	produce(t, client, "t", "a")
	if err := client.EndTransaction(t.Context(), kgo.TryCommit); err != nil {
		t.Fatal(err)
	}
	got := read(t, connect(t, b.Addr(), kgo.ConsumeTopics("t"), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords()), 2)
	if got[0].Attrs.IsControl() || !got[1].Attrs.IsControl() || got[1].Offset != 1 {
		t.Errorf("%+v", got)
	}
	var key kmsg.ControlRecordKey
	if err := key.ReadFrom(got[1].Key); err != nil || key.Type != kmsg.ControlRecordKeyTypeCommit {
		t.Errorf("%v %v", key, err)
	}
}

func TestNoTopicIsMadeUnasked(t *testing.T) {
	b := open(t, t.TempDir(), 0)
	client := connect(t, b.Addr(), kgo.AllowAutoTopicCreation(), kgo.UnknownTopicRetries(0))
	if err := client.ProduceSync(t.Context(), &kgo.Record{Topic: "unasked"}).FirstErr(); !errors.Is(err, kerr.UnknownTopicOrPartition) {
		t.Error(err)
	}
}

func TestTheBrokersOwnSettingsHoldOnOldDataToo(t *testing.T) {
	dir := t.TempDir()
	for range 2 {
		b, err := Open(t.Context(), Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		configs, err := kadm.NewClient(connect(t, b.Addr())).DescribeBrokerConfigs(t.Context(), 0)
		if err != nil {
			t.Fatal(err)
		}
		got := map[string]string{}
		for _, c := range configs[0].Configs {
			got[c.Key] = c.MaybeValue()
		}
		for name, want := range settings() {
			if got[name] != want {
				t.Errorf("%s is %q, want %q", name, got[name], want)
			}
		}
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestAPortThatIsTakenIsAnError(t *testing.T) {
	b := open(t, t.TempDir(), 0)
	if _, err := Open(t.Context(), Config{Dir: t.TempDir(), Port: b.Port()}); err == nil || !strings.Contains(err.Error(), "start the broker") {
		t.Error(err)
	}
}

// At once means: without waiting for the 45 s of a session. How fast that is
// would be a benchmark's business.
func TestAGroupOfOneIsJoinedAtOnce(t *testing.T) {
	const atOnce = 20 * time.Second
	for _, c := range []struct {
		name, instance, session string
		killConsumer, killAll   bool
		atMost                  time.Duration
	}{
		{"the first time", "", "45s", false, false, atOnce},
		{"after a kill, under its instance id", "one", "45s", true, false, atOnce},
		{"after a kill, under none, when its session is over", "", "2s", true, false, atOnce},
		{"after a kill of the broker too", "", "45s", true, true, atOnce},
		{"after a kill of the broker too, under its instance id", "one", "45s", true, true, atOnce},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := t.TempDir()
			addr, port, killBroker := killable(t, dir, "0", "")
			create(t, addr, "t", 12)
			produce(t, connect(t, addr), "t", "a")
			took, kill := child(t, "consumer", addr, c.instance, c.session)
			if c.killAll {
				killBroker()
				killable(t, dir, port, "")
			}
			if c.killConsumer {
				kill()
				took, _ = child(t, "consumer", addr, c.instance, c.session)
			}
			d, err := time.ParseDuration(took)
			if err != nil || d > c.atMost {
				t.Errorf("it took %s", took)
			}
			t.Log("first record after", took)
		})
	}
}

// TestAcknowledgedRecordsSurviveAKill produces with all the client's might, kills the broker, and counts.
func TestAcknowledgedRecordsSurviveAKill(t *testing.T) {
	for _, sync := range []string{"", "sync"} {
		t.Run("sync="+sync, func(t *testing.T) {
			dir := t.TempDir()
			addr, port, kill := killable(t, dir, "0", sync)
			create(t, addr, "t", 12)
			acked := map[string]bool{}
			rate := 0.0
			for round := range 3 {
				client := connect(t, addr, kgo.RequiredAcks(kgo.AllISRAcks()), kgo.RecordDeliveryTimeout(2*time.Second))
				ctx, cancel := context.WithCancel(t.Context())
				results := make(chan string, 1<<20)
				begun := time.Now()
				go func() {
					for n := 0; ctx.Err() == nil; n++ {
						value := fmt.Sprintf("%d/%d %s", round, n, strings.Repeat("x", 500))
						client.Produce(ctx, &kgo.Record{Topic: "t", Key: []byte(value[:8]), Value: []byte(value)}, func(r *kgo.Record, err error) {
							if err == nil {
								name, _, _ := strings.Cut(string(r.Value), " ")
								results <- name
							}
						})
					}
				}()
				time.Sleep(500 * time.Millisecond)
				kill()
				took := time.Since(begun)
				cancel()
				client.Close()
				before := len(acked)
				for len(results) > 0 {
					acked[<-results] = true
				}
				rate = max(rate, float64(len(acked)-before)/took.Seconds())
				_, _, kill = killable(t, dir, port, sync)
			}
			reader := connect(t, addr, kgo.ConsumeTopics("t"))
			ends, err := kadm.NewClient(reader).ListEndOffsets(t.Context(), "t")
			if err != nil {
				t.Fatal(err)
			}
			total := 0
			ends.Each(func(o kadm.ListedOffset) { total += int(o.Offset) })
			kept, twice := map[string]bool{}, 0
			for _, r := range read(t, reader, total) {
				name, _, _ := strings.Cut(string(r.Value), " ")
				if kept[name] {
					twice++
				}
				kept[name] = true
			}
			lost := 0
			for name := range acked {
				if !kept[name] {
					lost++
				}
			}
			t.Logf("%d acknowledged in 3 rounds, at most %.0f a second; %d kept, %d lost, %d twice", len(acked), rate, total, lost, twice)
			if lost > 0 || twice > 0 || len(acked) == 0 {
				t.Errorf("%d of %d acknowledged records are lost, %d are there twice", lost, len(acked), twice)
			}
		})
	}
}
