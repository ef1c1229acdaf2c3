package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"
)

const recording = "data/m7-2025.jsonl.gz"

// What a person has who installed a release: the files of an archive in a folder,
// a link to its pulse on PATH, and the repository nowhere near.
func TestReleaseShowsTheRecording(t *testing.T) {
	t.Parallel()
	p := newPulse(t, "TZ=Asia/Kolkata") // days are UTC whatever the machine's zone
	p.program = installed(t)
	out := p.run("up", "--detach")
	for _, want := range []string{"google-gemini/gemini-cli", "+773", "facebook/react", "Audit clean", "42,664"} {
		if !strings.Contains(out, want) {
			t.Errorf("up does not show %q:\n%s", want, out)
		}
	}
	p.wantRecording()
	if out, err := p.try("up", "--detach"); err == nil || !strings.Contains(out, "already running") {
		t.Errorf("a second stack in one home: %v\n%s", err, out)
	}
	if out := p.run("tour", "--all"); !strings.Contains(out, "8 of 8") || !strings.Contains(out, "Audit clean") {
		t.Errorf("tour:\n%s", out)
	}
	var top []struct {
		Repository string
		Delta      int64 `json:"stars_delta_30d"`
	}
	p.json(&top, "top", "--window", "30d", "--each", "1")
	if len(top) == 0 || top[0].Delta == 0 {
		t.Errorf("top: %+v", top)
	}
}

// installed lays out the files that .goreleaser.yaml puts into an archive and the
// programs of this run, and links to pulse from elsewhere.
func installed(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../.goreleaser.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var release struct {
		Builds   []struct{ Binary string }
		Archives []struct{ Files []struct{ Src string } }
	}
	if err := yaml.Unmarshal(text, &release); err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	for _, b := range release.Builds {
		copyFile(t, filepath.Join("../bin/e2e", filepath.Base(b.Binary)), filepath.Join(folder, b.Binary))
	}
	for _, f := range release.Archives[0].Files {
		paths, err := filepath.Glob(filepath.Join("..", f.Src))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s of .goreleaser.yaml: %d files, %v", f.Src, len(paths), err)
		}
		for _, path := range paths {
			to := filepath.Join(folder, strings.TrimPrefix(path, "../"))
			if info, err := os.Stat(path); err != nil {
				t.Fatal(err)
			} else if !info.IsDir() {
				copyFile(t, path, to)
			} else if err := os.CopyFS(to, os.DirFS(path)); err != nil {
				t.Fatal(err)
			}
		}
	}
	link := filepath.Join(t.TempDir(), "pulse")
	if err := os.Symlink(filepath.Join(folder, "bin", "pulse"), link); err != nil {
		t.Fatal(err)
	}
	return link
}

func copyFile(t *testing.T, from, to string) {
	t.Helper()
	content, err := os.ReadFile(from)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(to), 0o755)
	}
	if err == nil {
		err = os.WriteFile(to, content, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestRecordingReplayedAgainIsStoredOnce(t *testing.T) {
	long(t)
	t.Parallel()
	p := newPulse(t, "TZ=America/St_Johns")
	p.run("up", "--detach")
	p.run("down")
	if out := p.run("up", "--detach"); !strings.Contains(out, "nothing is replayed twice") {
		t.Errorf("second up:\n%s", out)
	}
	p.wantRecording()
	p.replayAgain()
}

// replayAgain replays what was recorded from Kafka, and compacts the tables.
func (p *pulse) replayAgain() {
	p.t.Helper()
	file := filepath.Join(p.t.TempDir(), "recorded.jsonl.gz")
	if out := p.run("record", "github.base_repos", "--out", file); !strings.Contains(out, "42,664 events recorded") {
		p.t.Errorf("record:\n%s", out)
	}
	p.run("replay", file)
	p.wantRecording()
	if out := p.run("maintain", "--keep-snapshots", "0s"); !strings.Contains(out, "base_repos") {
		p.t.Errorf("maintain:\n%s", out)
	}
	if got, text := p.post("SINK_ICEBERG_URL", "dev.knative.sources.ping", "application/json", `{"do":"maintain"}`); got != 204 {
		p.t.Errorf("a tick to maintain is answered %d %q", got, text)
	}
	p.wantRecording()
	if out := p.run("replay", recording, "--from", "2025-12-31", "--until", "2026-01-01"); !strings.HasPrefix(out, "141 events") {
		p.t.Errorf("replay of the last day:\n%s", out)
	}
}

func TestKilledFunctionsAndLostBellsCostNothing(t *testing.T) {
	long(t)
	t.Parallel()
	p := newPulse(t)
	p.run("up", "--detach", "--empty", "--drop-bells", "0.3")
	p.replayUnderKills()
	p.wantRecording()
}

// replayUnderKills replays the recording while every function is killed again
// and again. What a fast machine leaves alone until the replay has ended is
// killed as it catches up.
func (p *pulse) replayUnderKills() {
	p.t.Helper()
	replayed := make(chan error, 1)
	go func() {
		out, err := p.try("replay", recording, "--speed", "4000000") // some seconds
		if err != nil {
			err = fmt.Errorf("%w\n%s", err, out)
		}
		replayed <- err
	}()
	functions := []string{"aggregate", "sink-clickhouse", "sink-iceberg"}
	killed := map[string]int{}
	spared := func(name string) bool { return killed[name] == 0 }
	began := time.Now()
	for done := false; !done || slices.ContainsFunc(functions, spared) && time.Since(began) < time.Minute; {
		select {
		case err := <-replayed:
			if err != nil {
				p.t.Fatal(err)
			}
			done = true
		case <-time.After(700 * time.Millisecond):
		}
		for _, f := range p.status().Functions {
			// Whoever is killed again and again never rings for the next stage.
			if (!done || spared(f.Name)) && kill(f.PID) {
				killed[f.Name]++
			}
		}
	}
	for _, name := range functions {
		if spared(name) {
			p.t.Errorf("%s was never killed: %v", name, killed)
		}
	}
	p.t.Logf("killed: %v", killed)
}

func TestBadEventsAreRefusedOrBuriedAndNothingElseIsDisturbed(t *testing.T) {
	long(t)
	t.Parallel()
	p := newPulse(t)
	p.run("up", "--detach", "--empty")
	good := `{"repo_id":7,"name_with_owner":"a/b","stars":5,"observed_at":"2026-01-02T00:00:00Z","source":"replay"}`
	post := func(want int, function, ceType, contentType, body, why string) {
		t.Helper()
		if got, text := p.post(function, ceType, contentType, body); got != want || !strings.Contains(text, why) {
			t.Errorf("answered %d %q, want %d %q", got, text, want, why)
		}
	}
	const observed, processed = "dev.m7pulse.repo.observed.v1", "dev.m7pulse.repo.processed.v1"
	post(204, "AGGREGATE_URL", observed, "application/json", good, "")
	post(204, "AGGREGATE_URL", observed, "application/json", good, "") // twice is once
	post(415, "AGGREGATE_URL", "", "text/plain", "hello", "not a CloudEvent")
	post(422, "AGGREGATE_URL", "dev.m7pulse.unheard.v1", "application/json", good, "unknown")
	post(422, "AGGREGATE_URL", observed, "application/json", "{", "decode")
	post(422, "AGGREGATE_URL", observed, "application/json", strings.Replace(good, `"repo_id":7,`, "", 1), "repo_id")
	post(422, "AGGREGATE_URL", observed, "application/json", strings.Replace(good, `"stars":5`, `"stars":-5`, 1), "stars -5")
	post(422, "AGGREGATE_URL", observed, "application/avro", "\x00\x00\x00\x00\x63x", "schema id 99 is unknown")
	post(422, "SINK_CLICKHOUSE_URL", observed, "application/json", good, "does not drain")
	post(413, "AGGREGATE_URL", observed, "application/json", strings.Repeat("x", 1<<20+1), "larger")
	post(204, "SINK_CLICKHOUSE_URL", "dev.knative.sources.ping", "application/json", `{"do":"wake"}`, "")
	post(422, "SINK_CLICKHOUSE_URL", "dev.knative.sources.ping", "application/json", `{"do":"sweep"}`, "wake")

	invalid := filepath.Join(t.TempDir(), "invalid.jsonl")
	line := `{"specversion":"1.0","id":"x","type":"` + observed + `","source":"/e2e","datacontenttype":"application/json","data":{"stars":1}}`
	if err := os.WriteFile(invalid, []byte(line+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := p.try("replay", invalid); err == nil || !strings.Contains(out, "repo_id") {
		t.Errorf("a replay of an invalid event: %v\n%s", err, out)
	}
	p.produce("github.base_repos", "", "invalid in the topic")
	a := p.audit()
	if a.Observations != 1 || a.ClickHouse != 1 || a.IcebergRaw != 1 || a.IcebergProcessed != 1 || !a.Clean || a.DeadLetters != 1 {
		t.Errorf("audit: %+v", a)
	}
	p.settlesLetters()
}

// settlesLetters retries the one open dead letter, which is written again,
// and drops that.
func (p *pulse) settlesLetters() {
	p.t.Helper()
	waiting := func() (ids []string) {
		p.t.Helper()
		var letters []struct {
			Topic     string
			Partition int
			Offset    int
			Text      string
		}
		if err := json.Unmarshal([]byte(p.run("dlq", "list", "--json")), &letters); err != nil {
			p.t.Fatal(err)
		}
		for _, l := range letters {
			if l.Text != "invalid in the topic" {
				p.t.Errorf("letter %+v", l)
			}
			ids = append(ids, fmt.Sprintf("%s/%d/%d", l.Topic, l.Partition, l.Offset))
		}
		return ids
	}
	first := waiting()
	if len(first) != 1 || !strings.Contains(p.run("dlq", "show", first[0]), `"value_base64"`) {
		p.t.Fatalf("letters %v", first)
	}
	p.run("dlq", "retry", first[0])
	if a := p.audit(); a.DeadLetters != 1 {
		p.t.Errorf("after a retry: %+v", a)
	}
	again := waiting()
	if len(again) != 1 || again[0] == first[0] {
		p.t.Errorf("waiting after a retry: %v, before: %v", again, first)
	}
	for _, args := range [][]string{{"dlq", "retry", first[0]}, {"dlq", "drop", "github.base_repos/0/99"}, {"dlq", "drop"}} {
		if out, err := p.try(args...); err == nil {
			p.t.Errorf("pulse %v: %s", args, out)
		}
	}
	p.run("dlq", "drop", "--all")
	if a := p.audit(); a.DeadLetters != 0 || !a.Clean || a.Observations != 1 {
		p.t.Errorf("after a drop: %+v", a)
	}
}

func TestWrongUseIsSaidInOneLine(t *testing.T) {
	t.Parallel()
	p := newPulse(t)
	wrong := func(want string, args ...string) {
		t.Helper()
		out, err := p.try(args...)
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("pulse %v: %v, want %q:\n%s", args, err, want, out)
		}
	}
	wrong("no stack is up", "status")
	wrong("no stack is up", "audit")
	wrong("--speed", "replay", recording, "--speed", "slow")
	wrong("no such file", "replay", "/nowhere.jsonl", "--to", "http://127.0.0.1:1")
	wrong("--to", "replay", recording, "--to", "somewhere")
	p.env = append(p.env, "PULSE_HOM=x")
	wrong("unknown variable PULSE_HOM", "status")
	p.env = p.env[:len(p.env)-1]
}
