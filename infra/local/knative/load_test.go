package knative

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const repository = "../../.."

func TestLoadReadsTheManifestsOfTheRepository(t *testing.T) {
	top, err := Load(repository)
	if err != nil {
		t.Fatal(err)
	}
	if len(top.Functions) != 7 || len(top.Topics) != 17 || len(top.Ticks) != 8 || len(top.Sources) != 14 {
		t.Errorf("%d functions, %d topics, %d ticks, %d sources; want 7, 17, 8, 14", len(top.Functions), len(top.Topics), len(top.Ticks), len(top.Sources))
	}
	for _, topic := range top.Topics {
		if topic.Name == "github.base_repos" && (topic.Partitions != 12 || topic.Config["retention.ms"] != "7776000000") {
			t.Errorf("github.base_repos is %+v, want 12 partitions and 90 days", topic)
		}
	}
	for _, s := range top.Sources {
		want := Delivery{Retry: 30, Delay: time.Second, Timeout: 30 * time.Second}
		if s.Topic == "github.fetch_requests" {
			want = Delivery{Retry: 10, Exponential: true, Delay: 300 * time.Millisecond, Timeout: 30 * time.Second}
		}
		if s.Delivery != want {
			t.Errorf("%s delivers by %+v, want %+v", s.Name, s.Delivery, want)
		}
		if !s.Latest {
			t.Errorf("%s rings for all that %s has kept when it is made anew", s.Name, s.Topic)
		}
	}
}

// While there is more to drain, a bell waits 15 s and is tried again. It must come
// before Knative stops the pod, which it does 30 s after the last request, and go on
// until the next wake, which comes every 15 minutes.
func TestBellRingsUntilTheNextWakeAndBeforeAPodIsStopped(t *testing.T) {
	top, err := Load(repository)
	if err != nil {
		t.Fatal(err)
	}
	const waits, window, wake = 15 * time.Second, 30 * time.Second, 15 * time.Minute
	for _, s := range top.Sources {
		if s.Topic == "github.fetch_requests" { // no bell: a part of a sweep
			continue
		}
		all := waits
		for n := 1; n <= s.Delivery.Retry; n++ {
			pause := s.Delivery.wait(n)
			if pause > window {
				t.Errorf("%s: pause %d is %s, longer than a pod is kept", s.Name, n, pause)
			}
			all += pause + waits
		}
		if all < wake {
			t.Errorf("%s: a bell is given up after %s, before the next wake", s.Name, all)
		}
	}
}

func TestTicksFireWhenTheManifestsSay(t *testing.T) {
	top, err := Load(repository)
	if err != nil {
		t.Fatal(err)
	}
	now := time.Date(2026, 11, 25, 10, 7, 3, 0, time.UTC)
	want := map[string]string{
		"sweep-hourly": "11:00:00", "wake-fetch-org": "10:10:00", "wake-fetch-events": "10:10:00", "wake-aggregate": "10:15:00",
		"wake-sink-clickhouse": "10:15:00", "wake-sink-iceberg": "10:15:00",
		"maintain-sink-iceberg": "10:40:00", "wake-notify": "10:10:00",
	}
	for _, tick := range top.Ticks {
		if got := tick.Schedule.Next(now).UTC().Format(time.TimeOnly); got != want[tick.Name] {
			t.Errorf("%s fires at %s, want %s", tick.Name, got, want[tick.Name])
		}
	}
}

// copied puts the repository's manifests under a folder of the test, changed by
// replacing old, which must be there, with new in one file.
func copied(t *testing.T, file, old, new string) (root string) {
	t.Helper()
	root = t.TempDir()
	found := false
	for _, pattern := range []string{manifestDir + "/*.yaml", functionDir + "/*/func.yaml"} {
		paths, err := filepath.Glob(filepath.Join(repository, pattern))
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range paths {
			name, err := filepath.Rel(repository, path)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if name == file {
				found = strings.Contains(string(text), old)
				text = []byte(strings.Replace(string(text), old, new, 1))
			}
			to := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(to, text, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !found {
		t.Fatalf("%s does not have %q", file, old)
	}
	return root
}

func TestLoadRefusesFaults(t *testing.T) {
	const (
		config  = "infra/knative/config.yaml"
		topics  = "infra/knative/topics.yaml"
		ticks   = "infra/knative/ticks.yaml"
		sources = "infra/knative/sources.yaml"
		kustom  = "infra/knative/kustomization.yaml"
		fn      = "functions/aggregate/func.yaml"
	)
	// Each makes one change and must lead to a line with all the words.
	f := func(file, old, new string, words ...string) {
		t.Helper()
		_, err := Load(copied(t, file, old, new))
		if err == nil {
			t.Errorf("%s with %q for %q is taken", file, new, old)
			return
		}
		for _, line := range strings.Split(err.Error(), "\n")[1:] {
			all := true
			for _, w := range words {
				all = all && strings.Contains(line, w)
			}
			if all {
				return
			}
		}
		t.Errorf("%s with %q for %q: no line has all of %q:\n%v", file, new, old, words, err)
	}

	// form
	f(ticks, "schedule:", "scheduel:", ticks, "sweep-hourly", "scheduel")
	f(ticks, "kind: PingSource", "kind: CronSource", ticks, "CronSource")
	f(sources, "spec:", "spec: [", sources)
	f(fn, "runtime:", "runtimes:", fn, "runtimes")
	f(kustom, "  - ticks.yaml\n", "", kustom, "ticks.yaml")
	f(kustom, "ticks.yaml", "tocks.yaml", kustom, "tocks.yaml is not there")

	// every kind
	f(ticks, "name: sweep-hourly", "name: Sweep_Hourly", ticks, "metadata.name")
	f(ticks, "name: wake-aggregate", "name: sweep-hourly", ticks, "sweep-hourly", "twice")
	f(topics, "namespace: m7pulse", "namespace: other", topics, "metadata.namespace", "other")

	// topics
	f(topics, "partitions: 12", "partitions: 0", topics, "spec.partitions")
	f(topics, "topicName: github.fetch_requests\n", "topicName: github fetch\n", topics, "spec.topicName")
	f(topics, "cleanup.policy: delete", "cleanup.policy: compact", topics, "cleanup.policy")
	f(topics, "    max.message.bytes: 1048588\n", "", topics, "max.message.bytes")
	f(topics, "max.message.bytes: 1048588", "max.message.bytes: 900000", topics, "max.message.bytes", "900000")
	f(topics, "strimzi.io/cluster", "strimzi.io/clutter", topics, "strimzi.io/cluster is missing")
	f(topics, "topicName: github.sweeps.dlq", "topicName: github.swept.dlq", topics, "no topic github.sweeps.dlq")
	f(topics, "topicName: github.base_repos.bells", "topicName: github.bass_repos.dlq", topics, "no topic github.base_repos.bells")

	// ticks
	f(ticks, `"0 * * * *"`, `every tuesday`, ticks, "sweep-hourly", "spec.schedule")
	f(ticks, `"0 * * * *"`, `"@every 1h"`, ticks, "spec.schedule", "@every")
	f(ticks, "  contentType:", "  timezone: Mars/Base\n  contentType:", ticks, "spec.timezone")
	f(ticks, `'{"do":"sweep"}'`, `'{"do":'`, ticks, "spec.data", "not JSON")
	f(ticks, `"do":"sweep"`, `"do":"sleep"`, ticks, "spec.data", "sleep")
	f(ticks, "contentType: application/json", "contentType: text/plain", ticks, "spec.contentType")
	f(ticks, "name: fetch-org\n", "name: fetch-orgs\n", ticks, "spec.sink.ref.name", "fetch-orgs")
	f(ticks, "kind: Service", "kind: Broker", ticks, "spec.sink.ref", "Broker")

	// sources
	f(sources, "    - github.base_repos.bells", "    - github.bass_repos.bells", sources, "spec.topics", "github.bass_repos.bells")
	f(sources, "    - github.base_repos.bells", "    - github.base_repos", sources, "spec.topics", "github.base_repos.bells")
	f(sources, "    - github.base_repos.bells", "    - github.base_repos.bells\n    - github.sweeps", sources, "spec.topics", "want 1")
	f(sources, "kafkatopic: github.base_repos.bells", "kafkatopic: github.sweeps", sources, "ceOverrides.extensions.kafkatopic")
	f(sources, "kafkatopic:", "kafka_topic:", sources, "ceOverrides.extensions", "kafka_topic")
	f(sources, "initialOffset: latest", "initialOffset: earliest", sources, "spec.initialOffset")
	f(sources, "  ordering: unordered\n", "", sources, "spec.ordering")
	f(sources, "consumers: 1", "consumers: 3", sources, "spec.consumers")
	f(sources, "m7pulse-source-base-repos-to-aggregate", "m7pulse-source-sweeps-to-sink-iceberg", sources, "spec.consumerGroup")
	f(sources, "svc.cluster.local:9092", "svc:9092", sources, "spec.bootstrapServers")
	f(sources, "    retry: 10\n", "", sources, "spec.delivery.retry")
	f(sources, "backoffPolicy: exponential", "backoffPolicy: random", sources, "spec.delivery.backoffPolicy")
	f(sources, "backoffDelay: PT0.3S", "backoffDelay: 300ms", sources, "spec.delivery.backoffDelay", "300ms")
	f(sources, "    timeout: PT30S\n", "", sources, "spec.delivery.timeout")
	f(sources, "    retry: 10", "    deadLetterSink: {}\n    retry: 10", sources, "deadLetterSink")

	// functions
	f(fn, "invoke: http", "invoke: cloudevent", fn, "invoke")
	f(fn, "runtime: go", "runtime: node", fn, "runtime")
	f(fn, "name: aggregate", "name: aggregator", fn, "name", "folder")
	f(fn, "max: 1", "max: 0", fn, "deploy.options.scale")
	f(fn, "configMap:m7pulse:KAFKA_BROKERS", "configMap:m7pulse:REGISTRY", fn, "run.envs KAFKA_BROKERS", "no key REGISTRY")
	f(fn, "configMap:m7pulse:KAFKA_BROKERS", "configMap:m8pulse:KAFKA_BROKERS", fn, "run.envs KAFKA_BROKERS", "m8pulse")
	f(fn, "{{ configMap:m7pulse:KAFKA_BROKERS }}", "{{ env:KAFKA_BROKERS }}", fn, "run.envs KAFKA_BROKERS", "none of")
	f(config, "  KAFKA_BROKERS:", "  KAFKA_BROKER:", fn, "run.envs KAFKA_BROKERS")
	f(config, "  KAFKA_BROKERS:", "  SPARE: \"\"\n  KAFKA_BROKERS:", config, "data.SPARE", "no function")
}

func TestLoadReportsAllFaultsAtOnce(t *testing.T) {
	root := copied(t, "infra/knative/sources.yaml", "ordering: unordered", "ordering: sideways")
	for file, line := range map[string]string{
		"infra/knative/ticks.yaml":         "nonsense: true\n",
		"functions/sink-iceberg/func.yaml": "nonsense: true\n",
	} {
		path := filepath.Join(root, file)
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(text, line...), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	_, err := Load(root)
	if err == nil {
		t.Fatal("the faults are taken")
	}
	lines := strings.Split(err.Error(), "\n")[1:]
	if len(lines) != 3 {
		t.Errorf("%d lines, want one for each of 3 faults:\n%v", len(lines), err)
	}
}

func TestDurationsAreISO8601(t *testing.T) {
	f := func(text string, want time.Duration) {
		t.Helper()
		got, err := parseDuration(text)
		if (err != nil) != (want < 0) || err == nil && got != want {
			t.Errorf("%q is %s, %v; want %s", text, got, err, want)
		}
	}
	f("PT0.3S", 300*time.Millisecond)
	f("PT30S", 30*time.Second)
	f("PT1H2M3S", time.Hour+2*time.Minute+3*time.Second)
	f("P1DT12H", 36*time.Hour)
	for _, bad := range []string{"", "P", "PT", "P1DT", "30s", "PT-1S", "P1Y", "PT1S ", "PT9999999999999999999999S"} {
		f(bad, -1)
	}
}
