package e2e

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestRestoredStoresCatchUpAndFactsFillANewInstallation: docs/deploy.md says
// so of backups.
func TestRestoredStoresCatchUpAndFactsFillANewInstallation(t *testing.T) {
	long(t)
	t.Parallel()
	p := newPulse(t)
	dir := t.TempDir()
	copyStores := func(from, to string) {
		t.Helper()
		for _, store := range []string{"clickhouse", "iceberg", "redis"} {
			if _, err := os.Stat(filepath.Join(from, store)); os.IsNotExist(err) { // miniredis has none
				continue
			}
			if err := os.RemoveAll(filepath.Join(to, store)); err != nil {
				t.Fatal(err)
			}
			if err := os.CopyFS(filepath.Join(to, store), os.DirFS(filepath.Join(from, store))); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(p *pulse, n int64) {
		t.Helper()
		if a := p.audit(); a.Observations != n || a.ClickHouse != n || a.IcebergRaw != n || a.IcebergProcessed != n || a.Duplicates != 0 || !a.Clean {
			t.Errorf("audit: %+v, want %d", a, n)
		}
	}
	p.run("up", "--detach", "--empty")
	p.run("replay", recording, "--until", "2025-01-15")
	var half struct{ Observations int64 }
	p.json(&half, "audit", "--wait")
	p.run("down")
	copyStores(p.home, dir)

	p.run("up", "--detach", "--empty")
	p.run("replay", recording, "--from", "2025-01-15", "--until", "2025-01-20")
	all := p.audit()
	if half.Observations == 0 || all.Observations <= half.Observations || !all.Clean {
		t.Fatalf("half: %+v, all: %+v", half, all)
	}
	velocities := "SELECT count(), sum(stars_delta_7d), sum(revision) FROM pulse.github_metrics_timeseries"
	before := p.query(velocities)
	file := filepath.Join(dir, "facts.jsonl.gz")
	if out := p.run("record", "github.base_repos", "--out", file); !strings.Contains(out, "events recorded") {
		t.Error(out)
	}
	p.run("down")

	copyStores(dir, p.home)
	p.run("up", "--detach", "--empty")
	p.run("wake")
	want(p, all.Observations)
	if after := p.query(velocities); after != before {
		t.Errorf("restored: %s, before: %s", after, before)
	}
	p.run("down")

	fresh := newPulse(t)
	fresh.run("up", "--detach", "--empty")
	if out := fresh.run("replay", file); !strings.HasPrefix(strings.ReplaceAll(out, ",", ""), fmt.Sprintf("%d events", all.Observations)) {
		t.Error(out)
	}
	want(fresh, all.Observations)
	if after := fresh.query(velocities); after != before {
		t.Errorf("filled again: %s, before: %s", after, before)
	}
}
