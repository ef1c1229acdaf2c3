package retention

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"knative.dev/pkg/apis"

	sinkiceberg "github.com/m7pulse/m7pulse/functions/sink-iceberg"
	"github.com/m7pulse/m7pulse/infra/knative"
	"github.com/m7pulse/m7pulse/shared/serve"
)

// The table for people says what the manifests, the schema and the defaults declare.
func TestTheDocumentSaysWhatIsDeclared(t *testing.T) {
	rows := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)^\| [^|]*\| ([^|]+) \| ([^|]+) \|`).FindAllStringSubmatch(read(t, "../docs/retention.md"), -1) {
		rows[strings.Trim(m[1], "`")] = m[2]
	}
	topics, err := knative.ReadTopics()
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	for _, topic := range topics {
		ms, err := strconv.ParseInt(topic.Config["retention.ms"], 10, 64)
		if err != nil {
			t.Fatal(topic.Name, err)
		}
		row := topic.Name
		switch {
		case strings.HasSuffix(row, ".dlq"):
			row = "topics of dead letters"
		case strings.HasSuffix(row, ".bells"):
			row = "topics of bells"
		}
		words := "for ever"
		if kept := time.Duration(ms) * time.Millisecond; kept == time.Hour {
			words = "1 hour"
		} else if ms >= 0 {
			words = fmt.Sprintf("%d days", int(kept.Hours()/24))
		}
		if before, ok := want[row]; ok && before != words {
			t.Errorf("topics like %s are kept for %s and for %s", topic.Name, before, words)
		}
		want[row] = words
	}
	keep, err := serve.Load[keeping](t.Context(), map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	want["snapshots"] = fmt.Sprintf("%d h", int(keep.Snapshots.Hours()))
	want["files of no snapshot"] = fmt.Sprintf("%d h", int(keep.Orphans.Hours()))
	want["quality_results"] = only(t, "../functions/sink-clickhouse/schema.sql", `TTL toDateTime\(checked_at\) \+ INTERVAL (\d+) DAY`) + " days"
	want["traces, where they are kept there"] = only(t, "../infra/collector/collector.yaml", `ttl: (\d+)h`) + " h"
	want["histories, a repository's last answer"] = only(t, "../functions/aggregate/history.go", `historyTTL = (\d+) \* 24 \* time.Hour`) + " days"
	want["checkpoints of feeds"] = only(t, "../functions/fetch-events/schedule.go", `keepFor = (\d+) \* 24 \* time.Hour`) + " days"
	want["messages that were sent"] = only(t, "../functions/notify/outbox.go", `remembered = (\d+) \* time.Hour`) + " h"
	for row, words := range want {
		if rows[row] != words {
			t.Errorf("docs/retention.md says %q of %s, want %q", rows[row], row, words)
		}
	}
}

type keeping struct{ sinkiceberg.Keep }

func (keeping) Validate(context.Context) *apis.FieldError { return nil }

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func only(t *testing.T, path, pattern string) string {
	t.Helper()
	found := regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, path), -1)
	if len(found) == 0 {
		t.Fatalf("%s does not match %s", path, pattern)
	}
	for _, m := range found[1:] {
		if m[1] != found[0][1] {
			t.Fatalf("%s has %s as %s and as %s", path, pattern, m[1], found[0][1])
		}
	}
	return found[0][1]
}
