//go:build integration

package e2e

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
	"github.com/twmb/franz-go/pkg/kgo"

	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/kafka"
)

// archived are the topics that Connect keeps, as far as the recording fills them.
var archived = []string{event.TopicBaseRepos, event.TopicProcessedRepos, event.TopicSignals}

// stages are drained in bulk mode: the functions alone would take longer.
var stages = []string{"aggregate", "sink-clickhouse", "sink-iceberg"}

// drained bounds a bulk drain of the whole recording through real servers, which have the
// machine's cores among themselves.
const drained = 10 * time.Minute

// TestConnectKeepsKafkaAndItIsPutBack archives the recording by Kafka Connect, whose
// worker is killed twice, deletes Kafka and what the sinks have stored, puts Kafka back
// from the archive, and audits what the functions make of it. Beside it, Iceberg's sink
// writes github.base_repos into a table of its own, which is held against ours.
func TestConnectKeepsKafkaAndItIsPutBack(t *testing.T) {
	names := []string{"kafka", "registry", "minio", "nessie"}
	connect := []string{"CONNECTORS=archive base-repos", "CONNECT_COMMIT_MS=3000"}
	servers(t, nil, "wipe", append(names, "connect")...)
	servers(t, nil, "start", names...)
	t.Cleanup(func() { servers(t, nil, "wipe", append(names, "connect")...) })
	addresses := realAddresses()

	p := newPulse(t)
	p.within = drained
	p.env = append(p.env, addresses...)
	p.run("up", "--detach", "--empty")
	p.env = p.env[:len(p.env)-len(addresses)]
	servers(t, connect, "start", "connect")
	c := coldStore(t)
	p.run("replay", recording, "--until", "2025-05-01")
	for _, part := range [][2]string{{"2025-05-01", "2025-09-01"}, {"2025-09-01", "2026-01-01"}} {
		was := waitForRows(t, c, 0)
		p.run("replay", recording, "--from", part[0], "--until", part[1])
		is := waitForRows(t, c, was) // it is at work
		killConnect(t)
		t.Logf("worker killed with %d rows in the archive, %d before the replay", is, was)
		servers(t, connect, "start", "connect")
	}
	for _, stage := range stages {
		p.run("drain", stage)
	}
	p.wantRecording()

	cfg := kafka.Config{Brokers: strings.Split(p.address("KAFKA_BROKERS"), ",")}
	log := map[string]map[int32][]*kgo.Record{}
	for _, topic := range archived {
		log[topic] = readTopic(t, cfg, topic)
	}
	waitForArchive(t, c, log)
	wantBesides(t, c, log[event.TopicBaseRepos])

	p.run("down")
	servers(t, nil, "wipe", "kafka", "connect")
	for id, err := range c.ListTables(t.Context(), table.Identifier{"github"}) {
		if err != nil {
			t.Fatal(err)
		}
		if err := c.DropTable(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
	servers(t, nil, "start", "kafka")
	fresh := newPulse(t)
	fresh.within = drained
	fresh.env = append(fresh.env, addresses...)
	fresh.run("up", "--detach", "--empty")
	fresh.env = fresh.env[:len(fresh.env)-len(addresses)]
	var out struct {
		Restored map[string]int
		Seconds  float64
	}
	fresh.json(&out, "replay", "iceberg:archive.records")
	t.Logf("restored: %+v", out)
	for _, topic := range []string{event.TopicBaseRepos, event.TopicSignals} {
		restored := readTopic(t, cfg, topic)
		for partition, want := range log[topic] {
			got := restored[partition]
			if topic == event.TopicSignals { // aggregate's come again, behind them
				got = got[:min(len(got), len(want))]
			}
			if !slices.EqualFunc(got, want, kafka.SameContent) {
				t.Errorf("%s/%d: %d records are not the %d that were there", topic, partition, len(got), len(want))
			}
		}
	}
	for _, stage := range stages {
		fresh.run("drain", stage)
	}
	fresh.wantRecording()
	fresh.json(&out, "replay", "iceberg:archive.records")
	fresh.wantRecording()
}

// realAddresses are those of infra/servers.
func realAddresses() []string {
	return []string{
		"KAFKA_BROKERS=127.0.0.1:" + port("KAFKA_PORT", "19092"),
		"SCHEMA_REGISTRY_URL=http://127.0.0.1:" + port("REGISTRY_PORT", "18481") + "/apis/ccompat/v7",
		"ICEBERG_CATALOG_URI=http://127.0.0.1:" + port("NESSIE_PORT", "19120") + "/iceberg/main",
		"S3_ENDPOINT=http://127.0.0.1:" + port("MINIO_PORT", "19000"),
		"S3_REGION=us-east-1", "S3_ACCESS_KEY_ID=minioadmin", "S3_SECRET_ACCESS_KEY=minioadmin",
	}
}

func coldStore(t *testing.T) catalog.Catalog {
	t.Helper()
	c, closeCatalog, err := sinkiceberg.Open(t.Context(), sinkiceberg.Location{
		Catalog:  "http://127.0.0.1:" + port("NESSIE_PORT", "19120") + "/iceberg/main",
		Endpoint: "http://127.0.0.1:" + port("MINIO_PORT", "19000"), Region: "us-east-1", AccessKey: "minioadmin", SecretKey: "minioadmin",
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeCatalog() })
	return c
}

// waitForRows waits until the archive has more than so many rows, and says how many.
func waitForRows(t *testing.T, c catalog.Catalog, more int64) int64 {
	t.Helper()
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(500 * time.Millisecond) {
		if n := rowsOf(c.LoadTable(t.Context(), table.Identifier{"archive", "records"})); n > more {
			return n
		}
	}
	t.Fatalf("no more than %d rows in the archive", more)
	return 0
}

// rowsOf is how many rows a table says that it has, repeats too.
func rowsOf(t *table.Table, err error) int64 {
	if err != nil || t.CurrentSnapshot() == nil {
		return 0
	}
	n, _ := strconv.ParseInt(t.CurrentSnapshot().Summary.Properties["total-records"], 10, 64)
	return n
}

// killConnect ends the worker as a crash would.
func killConnect(t *testing.T) {
	t.Helper()
	home := os.Getenv("SERVERS_DIR")
	if home == "" {
		cache, err := os.UserHomeDir()
		if err != nil {
			t.Fatal(err)
		}
		home = filepath.Join(cache, ".cache/m7pulse/servers")
	}
	text, err := os.ReadFile(filepath.Join(home, "connect", "pid"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil || !kill(pid) {
		t.Fatalf("kill the worker %d: %v", pid, err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		conn, err := net.Dial("tcp", "127.0.0.1:"+port("CONNECT_PORT", "18083"))
		if err != nil {
			return
		}
		conn.Close()
		if time.Now().After(end) {
			t.Fatal("the worker listens a minute after it was killed")
		}
	}
}

// connectorStatus is what the worker says of a connector.
func connectorStatus(t *testing.T, name string) string {
	t.Helper()
	answer, err := http.Get("http://127.0.0.1:" + port("CONNECT_PORT", "18083") + "/connectors/" + name + "/status")
	if err != nil {
		return err.Error()
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, 64<<10))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// readTopic reads the committed records of a topic by partition.
func readTopic(t *testing.T, cfg kafka.Config, topic string) map[int32][]*kgo.Record {
	t.Helper()
	ends, err := kafka.Ends(t.Context(), cfg, topic)
	if err != nil {
		t.Fatal(err)
	}
	all := map[int32][]*kgo.Record{}
	for p, end := range ends {
		err := kafka.ReadRange(t.Context(), cfg, p, 0, end, func(records []*kgo.Record, _ int64) error {
			all[p.Number] = append(all[p.Number], records...)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return all
}

// waitForArchive waits until the archive has every record of the log, and nothing
// else, at its place.
func waitForArchive(t *testing.T, c catalog.Catalog, log map[string]map[int32][]*kgo.Record) {
	t.Helper()
	var missing string
	for end := time.Now().Add(2 * limit); time.Now().Before(end); time.Sleep(2 * time.Second) {
		archive, err := sinkiceberg.OpenArchive(t.Context(), c, "archive.records")
		if err != nil {
			t.Fatal(err)
		}
		spans, err := archive.Spans(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		rows, records := int64(0), int64(0)
		for p, s := range spans {
			if !slices.Contains(archived, p.Topic) {
				t.Errorf("the archive has %d rows of %s", s.Rows, p.Topic)
			}
			rows += s.Rows
		}
		missing = ""
		for topic, partitions := range log {
			kept, err := archive.Read(t.Context(), topic, 0, 1<<62, 1<<30)
			if err != nil {
				t.Fatal(err)
			}
			records += int64(len(kept))
			byPartition := map[int32][]*kgo.Record{}
			for _, r := range kept {
				byPartition[r.Partition] = append(byPartition[r.Partition], r)
			}
			for partition, want := range partitions {
				if got := byPartition[partition]; len(got) != len(want) {
					missing += fmt.Sprintf("%s/%d: %d of %d records; ", topic, partition, len(got), len(want))
				} else if !slices.EqualFunc(got, want, func(a, b *kgo.Record) bool { return a.Offset == b.Offset && kafka.SameContent(a, b) }) {
					t.Fatalf("%s/%d: the archive's records are not Kafka's", topic, partition)
				}
			}
		}
		if missing == "" {
			t.Logf("archive.records: %d rows, %d records, %d twice or more", rows, records, rows-records)
			return
		}
	}
	t.Fatalf("the archive is not complete: %s; its task: %.2000s", missing, connectorStatus(t, "archive"))
}

// reading is the key of an observation.
type reading struct {
	id int64
	at time.Time
}

// wantBesides holds the table that Iceberg's own sink has made of the observations
// against that of sink-iceberg.
func wantBesides(t *testing.T, c catalog.Catalog, log map[int32][]*kgo.Record) {
	t.Helper()
	ours := map[reading]int64{}
	if _, err := sinkiceberg.ReadObserved(t.Context(), c, nil, func(rows []*event.RepoObserved) error {
		for _, o := range rows {
			ours[reading{o.ID, o.ObservedAt}] = o.Stars
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	records := 0
	for _, r := range log {
		records += len(r)
	}
	var theirs map[reading]int64
	rows := 0
	moved, most := time.Now(), 0
	for ; ; time.Sleep(2 * time.Second) {
		theirs, rows = map[reading]int64{}, 0
		besides, err := c.LoadTable(t.Context(), table.Identifier{"connect", "base_repos"})
		if err != nil {
			t.Fatal(err)
		}
		_, batches, err := besides.Scan(table.WithSelectedFields("repo_id", "observed_at", "stars")).ToArrowRecords(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for batch, err := range batches {
			if err != nil {
				t.Fatal(err)
			}
			column := map[string]arrow.Array{}
			for i, f := range batch.Schema().Fields() {
				column[f.Name] = batch.Column(i)
			}
			for i := range int(batch.NumRows()) {
				at := time.UnixMicro(int64(column["observed_at"].(*array.Timestamp).Value(i))).UTC()
				theirs[reading{column["repo_id"].(*array.Int64).Value(i), at}] = column["stars"].(*array.Int64).Value(i)
				rows++
			}
			batch.Release()
		}
		if len(theirs) > most {
			moved, most = time.Now(), len(theirs)
		}
		if len(theirs) >= len(ours) || time.Since(moved) > limit {
			break
		}
	}
	t.Logf("connect.base_repos: %d rows of %d records, %d keys; ours %d keys", rows, records, len(theirs), len(ours))
	for key, stars := range theirs {
		if was, ok := ours[key]; !ok || was != stars {
			t.Fatalf("connect.base_repos has %+v with %d stars, base_repos %d (%v)", key, stars, was, ok)
		}
	}
	if len(theirs) != len(ours) {
		t.Errorf("connect.base_repos lacks %d observations, and has had no more for %s; its task: %.2000s", len(ours)-len(theirs), limit, connectorStatus(t, "base-repos"))
	}
	if rows != len(theirs) {
		t.Logf("connect.base_repos has %d rows twice or more", rows-len(theirs)) // it is at least once
	}
}
