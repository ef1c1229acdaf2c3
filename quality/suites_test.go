//go:build integration

package quality_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/python"
	"github.com/m7pulse/m7pulse/quality"
	"github.com/m7pulse/m7pulse/shared/download"
)

// These need a stack with the recording: make quality-test starts one.

func pulse(ctx context.Context, t *testing.T, args ...string) (string, error) {
	t.Helper()
	cmd := exec.CommandContext(ctx, "../bin/pulse", args...)
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	return string(out), err
}

// check runs pulse quality, and returns what does not hold.
func check(t *testing.T) (report quality.Report, failed []string) {
	t.Helper()
	out, err := pulse(t.Context(), t, "quality", "--json", "--days", "400")
	if failed := json.Unmarshal([]byte(out), &report); failed != nil {
		t.Fatalf("%v: %v: %s", failed, err, out)
	}
	for _, r := range report.Failed("") {
		failed = append(failed, r.Expectation)
	}
	if critical := len(report.Failed("critical")) > 0; critical != (err != nil) {
		t.Errorf("critical expectations failed: %v, and the command ended with %v", critical, err)
	}
	return report, failed
}

func TestTheRecordingIsAsExpected(t *testing.T) {
	report, failed := check(t)
	if len(failed) != 0 || len(report.Results) < 40 {
		t.Errorf("%d expectations, these do not hold: %v", len(report.Results), failed)
	}
	t.Logf("%d expectations in %.1f s, %.1f s of it to load; %d rows, %d bytes read", len(report.Results), report.Seconds, report.LoadSeconds, report.ReadRows, report.ReadBytes)
	answer, err := http.Get(os.Getenv("PULSE_CONTROL_URL") + "/quality/")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK || !strings.HasPrefix(answer.Header.Get("Content-Security-Policy"), "default-src 'none'") {
		t.Errorf("the page: %s, %v", answer.Status, answer.Header)
	}
}

func TestEachExpectationFailsOnItsFault(t *testing.T) {
	cache, err := download.Dir()
	if err != nil {
		t.Fatal(err)
	}
	const source = "../infra/quality"
	interpreter, err := python.Environment{Name: "quality", Requirements: filepath.Join(source, "requirements.txt"), Cache: cache}.Make(t.Context(), os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), interpreter, filepath.Join(source, "faults.py"))
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1", "CLICKHOUSE_URI="+strings.Replace(os.Getenv("CLICKHOUSE_URL"), "http://", "clickhousedb://", 1)+"/pulse?autogenerate_session_id=false")
	out, err := cmd.CombinedOutput()
	t.Logf("%s", out)
	if err != nil {
		t.Error(err)
	}
}

// TestADraftThatFailsIsNotPublished has a repository observed with more stars than there
// can be. It is the last: the observation stays.
func TestADraftThatFailsIsNotPublished(t *testing.T) {
	file := filepath.Join(t.TempDir(), "observed.jsonl")
	const day = "2025-12-30"
	line := fmt.Sprintf(`{"specversion":"1.0","id":"777@1","source":"/test","type":"dev.m7pulse.repo.observed.v1","datacontenttype":"application/json","data":{"repo_id":777,"name_with_owner":"acme/huge","stars":3000000,"observed_at":"%sT00:00:00Z","source":"replay"}}`, day)
	if err := os.WriteFile(file, []byte(line+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
	defer cancel()
	for _, args := range [][]string{{"replay", file}, {"audit", "--wait"}} {
		if out, err := pulse(ctx, t, args...); err != nil {
			t.Fatal(args, err, out)
		}
	}
	var outcome struct {
		Published, Checked bool
		Failures           []string
	}
	out, err := pulse(ctx, t, "reprocess", "--from", day, "--quality", "always", "--json")
	if failed := json.Unmarshal([]byte(out), &outcome); failed != nil {
		t.Fatalf("%v: %v: %s", failed, err, out)
	}
	if err == nil || outcome.Published || !outcome.Checked || len(outcome.Failures) != 1 || !strings.HasPrefix(outcome.Failures[0], "hot_stars_range: ") {
		t.Errorf("%v: %+v", err, outcome)
	}
	if out, err = pulse(ctx, t, "reprocess", "--from", day, "--quality", "never", "--json"); err != nil || !strings.Contains(out, `"published": true`) {
		t.Errorf("without the check: %v: %s", err, out)
	}
	if _, failed := check(t); !slices.Contains(failed, "hot_stars_range") || !slices.Contains(failed, "cold_stars_range") {
		t.Errorf("what does not hold afterwards: %v", failed)
	}
	// The sinks store what was raised a moment ago.
	if out, err = pulse(ctx, t, "audit", "--wait"); err != nil {
		t.Error(err, out)
	}
	if out, err = pulse(ctx, t, "signals", "--kind", "quality_failed", "--json"); err != nil || strings.Count(out, `"hot_stars_range"`) != 1 {
		t.Errorf("signals: %v: %s", err, out)
	}
	// It goes on failing: the episode is one.
	check(t)
	if out, err = pulse(ctx, t, "audit", "--wait"); err != nil {
		t.Error(err, out)
	}
	if out, err = pulse(ctx, t, "signals", "--kind", "quality_failed", "--json"); err != nil || strings.Count(out, `"hot_stars_range"`) != 1 {
		t.Errorf("signals after one more run: %v: %s", err, out)
	}
}
