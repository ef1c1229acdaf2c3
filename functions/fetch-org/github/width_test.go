package github

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
)

func TestAWidthIsLearntFromEachStart(t *testing.T) {
	// GitHub needs 0.3 s and so much for each repository, give or take a tenth.
	for _, each := range []time.Duration{20 * time.Millisecond, 100 * time.Millisecond, 170 * time.Millisecond, 900 * time.Millisecond} {
		for _, start := range []float64{1, 25, 100} {
			rng := rand.New(rand.NewPCG(1, 2))
			w := width{Repos: start}
			ask := func() (killed bool, took time.Duration) {
				took = time.Duration(float64(300*time.Millisecond+each*time.Duration(w.n())) * math.Exp(0.1*rng.NormFloat64()))
				killed = took > emulator.KillAfter
				w = w.learn(w.n(), min(took, emulator.KillAfter), killed, 100)
				return killed, took
			}
			for range 300 {
				ask()
			}
			var killed int
			var sum time.Duration
			for range 2000 {
				k, took := ask()
				sum += took
				if k {
					killed++
				}
			}
			if killed > 10 {
				t.Errorf("%s a repository from %.0f: %d of 2000 pages killed once learnt", each, start, killed)
			}
			if mean := sum / 2000; w.n() < 100 && w.n() > 4 && (mean < 3*time.Second || mean > 5*time.Second) {
				t.Errorf("%s a repository from %.0f: pages of %d take %s", each, start, w.n(), mean)
			}
		}
	}
}

func TestAKilledPageComesAgainHalfAsWide(t *testing.T) {
	w := width{Repos: 40}.learn(40, 10*time.Second, true, 100)
	if w.n() != 20 {
		t.Errorf("width %d after a kill at 40", w.n())
	}
	if w = w.learn(20, 2*time.Second, false, 100); w.n() != 20 {
		t.Errorf("width %d after one good page", w.n())
	}
	if w = (width{Repos: 1}).learn(1, 10*time.Second, true, 100); w.n() != 1 {
		t.Errorf("width %d", w.n())
	}
}

// Every shape of query stays within 0.05 points a repository at the widths that
// GitHub's page times allow it.
func TestPointsPerRepository(t *testing.T) {
	for _, s := range []Shape{ShapeList, shapeListAll, shapeIDs, ShapeNodes, ShapeHistory} {
		for _, n := range []int{25, 49, 74, 100} {
			if got := float64(s.points(n)) / float64(n); got > 0.05 {
				t.Errorf("%d of %s cost %.3f points each", n, s.name, got)
			}
		}
	}
}
