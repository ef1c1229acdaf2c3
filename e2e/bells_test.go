package e2e

import (
	"strings"
	"testing"
	"time"
)

// until polls, and returns how long it took.
func (p *pulse) until(limit time.Duration, what string, done func() bool) time.Duration {
	p.t.Helper()
	began := time.Now()
	for !done() {
		if time.Since(began) > limit {
			p.t.Fatalf("not within %s: %s\n%s", limit, what, p.logs())
		}
		time.Sleep(200 * time.Millisecond)
	}
	return time.Since(began)
}

// stored says, without waking anybody, whether every store holds all.
func (p *pulse) stored() bool {
	_, err := p.try("audit")
	return err == nil
}

// replicas are the functions that have a process.
func (p *pulse) replicas() (names []string) {
	p.t.Helper()
	for _, f := range p.status().Functions {
		if f.PID != 0 {
			names = append(names, f.Name)
		}
	}
	return names
}

// The real dispatcher posts 140 to 210 records a second. With a bell for each
// record it would go on ringing for well over a minute after all is stored.
func TestFunctionsAreAtZeroWithinAMinuteOfABurst(t *testing.T) {
	long(t)
	const window = "30s" // as in infra/deploy
	p := newPulse(t)
	p.run("up", "--detach", "--empty", "--idle-after", window, "--bell-rate", "170")
	out := p.run("replay", recording, "--from", "2025-09-13")
	if !strings.HasPrefix(out, "14,067 events") {
		t.Fatalf("replay: %s, want 14,067 events", out)
	}
	storing := p.until(2*time.Minute, "all is stored", p.stored)
	stopping := p.until(2*time.Minute, "every function is at zero", func() bool { return len(p.replicas()) == 0 })
	t.Logf("stored after %.1f s, at zero %.1f s later", storing.Seconds(), stopping.Seconds())
	if stopping > time.Minute {
		t.Errorf("the functions were at zero %s after all was stored, want a minute at most", stopping.Round(time.Second))
	}
}

func TestDeadSourcesDelayByAWakeAtMost(t *testing.T) {
	long(t)
	p := newPulse(t)
	p.run("up", "--detach", "--empty", "--idle-after", "30s", "--drop-bells", "1")
	p.run("replay", recording, "--from", "2025-12-01")
	if up := p.replicas(); len(up) > 0 || p.stored() {
		t.Fatalf("without a bell %v are up", up)
	}
	p.run("wake")
	p.until(time.Minute, "all is stored after one wake of each function", p.stored)
}
