// Package e2e runs the real pulse binary as a person would, on the embedded
// stack: child processes, real files, the recording.
package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// pulse is one built binary and one home.
type pulse struct {
	t    *testing.T
	home string
	env  []string

	program string        // "": binary, in the repository
	within  time.Duration // a command ends; 0: limit
}

// limit bounds one command of a stack that has no limit of its own.
const limit = 3 * time.Minute

func newPulse(t *testing.T, env ...string) *pulse {
	t.Helper()
	p := &pulse{t: t, home: filepath.Join(t.TempDir(), "home")}
	p.env = append(p.env, "PULSE_HOME="+p.home)
	p.env = append(p.env, env...)
	t.Cleanup(func() {
		if out, err := p.try("down"); err != nil {
			t.Errorf("down: %v\n%s", err, out)
		}
	})
	return p
}

func (p *pulse) command(ctx context.Context, args ...string) *exec.Cmd {
	path, err := filepath.Abs(cmp.Or(p.program, binary))
	if err != nil {
		p.t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, path, args...)
	for _, v := range os.Environ() { // a developer's own settings must not reach the test
		name, _, _ := strings.Cut(v, "=")
		switch name {
		case "AWS_CA_BUNDLE", "GITHUB_TOKEN", "KAFKA_BROKERS", "SCHEMA_REGISTRY_URL", "REDIS_URL", "CLICKHOUSE_URL", "ICEBERG_CATALOG_URI", "OWNERS", "OWNERS_FILE", "GITHUB_GRAPHQL_URL":
		default:
			cmd.Env = append(cmd.Env, v)
		}
	}
	cmd.Env = append(cmd.Env, p.env...)
	cmd.Dir = ".."
	if p.program != "" {
		cmd.Dir = p.t.TempDir()
	}
	return cmd
}

func (p *pulse) try(args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), cmp.Or(p.within, limit))
	defer cancel()
	var out bytes.Buffer
	cmd := p.command(ctx, args...)
	cmd.Stdout, cmd.Stderr = &out, &out
	began := time.Now()
	err := cmd.Run()
	p.t.Logf("%.1f s: pulse %s", time.Since(began).Seconds(), strings.Join(args, " "))
	return out.String(), err
}

func (p *pulse) run(args ...string) string {
	p.t.Helper()
	out, err := p.try(args...)
	if err != nil {
		p.t.Fatalf("pulse %s: %v\n%s\n%s", strings.Join(args, " "), err, out, p.logs())
	}
	return out
}

// logs is the end of what the functions have logged.
func (p *pulse) logs() string {
	var b strings.Builder
	files, _ := filepath.Glob(filepath.Join(p.home, "log", "*.log"))
	for _, f := range files {
		text, _ := os.ReadFile(f)
		fmt.Fprintf(&b, "== %s\n%s\n", filepath.Base(f), text[max(0, len(text)-1500):])
	}
	return b.String()
}

func (p *pulse) json(v any, args ...string) {
	p.t.Helper()
	out := p.run(append(args, "--json")...)
	if err := json.Unmarshal([]byte(out), v); err != nil {
		p.t.Fatalf("pulse %v: %v\n%s", args, err, out)
	}
}

// audit is what `pulse audit --json` says.
type audit struct {
	Observations, Kafka, ClickHouse, Repos, Duplicates int64
	IcebergRaw                                         int64 `json:"iceberg_raw"`
	IcebergProcessed                                   int64 `json:"iceberg_processed"`
	DeadLetters                                        int64 `json:"dead_letters"`
	Events                                             struct {
		Kafka  int64
		Tables map[string]int64
	}
	Signals struct {
		Kafka  int64
		Tables map[string]int64
	}
	Clean       bool
	Differences []string
}

func (p *pulse) audit() (a audit) {
	p.t.Helper()
	p.json(&a, "audit", "--wait")
	return a
}

func (p *pulse) wantRecording() {
	p.t.Helper()
	p.want(42_664, 154)
	p.wantSignals(recordedSignals)
}

// recordedSignals is how many signals the recording raises.
const recordedSignals = 202

// wantSignals checks that both stores hold a number of signals, each once.
func (p *pulse) wantSignals(n int64) {
	p.t.Helper()
	a := p.audit()
	if a.Signals.Kafka != n || a.Signals.Tables["ClickHouse"] != n || a.Signals.Tables["Iceberg"] != n || !a.Clean {
		p.t.Errorf("audit %+v, want %d signals everywhere", a, n)
	}
}

// want says what is wrong if the stores do not hold so many observations of so
// many repositories, each once.
func (p *pulse) want(observations, repos int64) {
	p.t.Helper()
	a := p.audit()
	if a.Observations != observations || a.Kafka != observations || a.ClickHouse != observations || a.IcebergRaw != observations || a.IcebergProcessed != observations ||
		a.Repos != repos || a.Duplicates != 0 || !a.Clean {
		p.t.Errorf("audit: %+v, want %d observations of %d repositories", a, observations, repos)
	}
}

// status is what `pulse status --json` says, as far as tests need it.
type status struct {
	PID       int
	Functions []struct {
		Name     string
		URL      string
		PID      int
		Replicas int
		Starts   int64
	}
	DeadLetters int64 `json:"dead_letters"`
}

func (p *pulse) status() (s status) {
	p.t.Helper()
	p.json(&s, "status")
	return s
}

func (p *pulse) address(name string) string {
	p.t.Helper()
	text, err := os.ReadFile(filepath.Join(p.home, "env"))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), name+"="); ok {
			return v
		}
	}
	p.t.Fatalf("no %s in the env file", name)
	return ""
}

// failing is what a function says that its last session failed with.
func (p *pulse) failing(function string) string {
	p.t.Helper()
	answer, err := http.Get(p.address(function) + "/status")
	if err != nil {
		p.t.Fatal(err)
	}
	defer answer.Body.Close()
	var status struct{ Failing string }
	if err := json.NewDecoder(answer.Body).Decode(&status); err != nil {
		p.t.Fatal(err)
	}
	return status.Failing
}

// post sends an event in binary mode and returns status and body.
func (p *pulse) post(function, ceType, contentType, body string) (int, string) {
	p.t.Helper()
	req, err := http.NewRequest(http.MethodPost, p.address(function), strings.NewReader(body))
	if err != nil {
		p.t.Fatal(err)
	}
	if ceType != "" {
		for k, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "e2e", "Ce-Source": "/e2e", "Ce-Type": ceType} {
			req.Header.Set(k, v)
		}
	}
	req.Header.Set("Content-Type", contentType)
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(b.String())
}

// kill ends a function's process as a crash would, if it has one.
func kill(pid int) bool { return pid > 0 && syscall.Kill(pid, syscall.SIGKILL) == nil }
