// Package chaos breaks everything that the pipeline stands on, by a seed, while
// observations flow through it, and holds it to its promises after each round:
// nothing lost, nothing twice, equal checksums in Kafka, ClickHouse and Iceberg,
// and each invalid record once among the dead letters. docs/reliability.md says
// what is thrown and what was seen.
package chaos

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/rs/zerolog"
)

var (
	rounds = flag.Int("chaos.rounds", 1, "how many rounds")
	throws = flag.Int("chaos.faults", 12, "faults of each round")
	seed   = flag.Uint64("chaos.seed", 1, "by which all is chosen")
	within = flag.Duration("chaos.within", 0, "begin no round after this time; 0: no limit")
)

// programs is where this run's binaries are.
const programs = "../bin/chaos"

// long skips a test that is only slow when tests run with -short, as in `make
// test`. `make long-test` runs them all.
func long(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("slow: make long-test runs it")
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxiproxy's toxics log past the logger that it is given
	if !testing.Short() {                    // where no test starts them
		if err := build(programs); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// build makes pulse and the functions' programs, with the flags of `make build`,
// so that what it has compiled is not compiled again.
func build(dir string, flags ...string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	args := append(append([]string{"build", "-trimpath", "-tags", "grpcnotrace", "-o", dir + "/"}, flags...), "../cmd/pulse", "../cmd/functions/...")
	cmd := exec.Command("go", args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

func TestPipelineKeepsItsPromisesThroughChaos(t *testing.T) {
	long(t)
	t.Parallel()
	c := newChaos(t, newPipeline(t, absolute(t, programs), 0.7, small()), *seed)
	defer c.report()
	began := time.Now()
	for n := range *rounds {
		if *within > 0 && time.Since(began) > *within {
			t.Logf("%d of %d rounds in %s", n, *rounds, *within)
			break
		}
		if errs := c.round(t.Context(), *throws); len(errs) > 0 {
			t.Fatalf("round %d of seed %d: %v\nits faults:\n%s", n+1, *seed, errors.Join(errs...), strings.Join(c.thrown, "\n"))
		}
		// Blocks are so small that an audit would soon read thousands of files. What
		// this makes of them the next round's audit looks at.
		if n%5 == 4 {
			if _, err := c.p.pulse(t.Context(), "maintain", "--json"); err != nil {
				t.Fatalf("maintain after round %d of seed %d: %v", n+1, *seed, err)
			}
		}
	}
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// chaos is one run.
type chaos struct {
	t      *testing.T
	p      *pipeline
	load   *load
	random *rand.Rand
	all    []fault
	deck   []fault // what is left of a shuffled deck of all faults

	mu     sync.Mutex
	counts map[string]*count
	thrown []string // in this round
	rounds int
	began  time.Time
}

// count is how often a fault was thrown, and how often it found nothing to break.
type count struct{ thrown, missed int }

func newChaos(t *testing.T, p *pipeline, seed uint64) *chaos {
	t.Helper()
	all := faults(p)
	if *rounds == 1 { // the short form has no time for them
		all = slices.DeleteFunc(all, func(f fault) bool { return strings.HasPrefix(f.name, "long") })
	}
	slices.SortFunc(all, func(a, b fault) int { return cmp.Compare(a.name, b.name) })
	return &chaos{
		t: t, p: p, load: newLoad(t, p, rand.New(rand.NewPCG(seed, 1))), random: rand.New(rand.NewPCG(seed, 2)),
		all: all, counts: map[string]*count{}, began: time.Now(),
	}
}

// draw takes faults from a shuffled deck, so that all come equally often.
func (c *chaos) draw() fault {
	if len(c.deck) == 0 {
		c.deck = slices.Clone(c.all)
		c.random.Shuffle(len(c.deck), func(i, j int) { c.deck[i], c.deck[j] = c.deck[j], c.deck[i] })
	}
	f := c.deck[0]
	c.deck = c.deck[1:]
	return f
}

// chaotic is in how long a time a round's faults are thrown. One that lasts
// longer ends soon after, but for a long zombie.
const chaotic = 6 * time.Second

// round sends a load, throws faults at it, heals all, and says what is wrong when
// all has settled.
func (c *chaos) round(ctx context.Context, n int) []error {
	var drawn []fault
	for range n {
		drawn = append(drawn, c.draw())
	}
	return c.throw(ctx, drawn)
}

func (c *chaos) throw(ctx context.Context, drawn []fault) []error {
	began := time.Now()
	c.rounds++
	c.thrown = nil
	drew := func(kind string) bool {
		return slices.ContainsFunc(drawn, func(f fault) bool { return strings.HasPrefix(f.name, kind) })
	}
	lasting := 2 * time.Second // past the last fault's beginning
	switch {
	case drew("long"):
		lasting = 30 * time.Second
	case drew("kill -9 before"), drew("kill -9 after"):
		lasting = effectLimit
	}
	hurt, end := context.WithTimeout(ctx, chaotic+lasting)
	defer end()
	var thrown sync.WaitGroup
	for _, f := range drawn {
		at := time.Duration(c.random.Int64N(int64(chaotic)))
		random := rand.New(rand.NewPCG(c.random.Uint64(), 3))
		thrown.Go(func() {
			pause(hurt, at)
			err := f.throw(hurt, c.p, random)
			c.note(f, at, err)
		})
	}
	sending, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	var sent error
	thrown.Go(func() {
		for range batches {
			if sent = c.load.batch(sending); sent != nil {
				return
			}
			pause(hurt, chaotic/batches)
		}
	})
	thrown.Wait()
	c.p.heal()
	if sent != nil {
		return []error{fmt.Errorf("send the load: %w", sent)}
	}
	healed := time.Now()
	errs := c.load.settled(ctx)
	c.t.Logf("round %d: %d faults in %.1f s, settled %.1f s later; %d observations in all, %d errors",
		c.rounds, len(drawn), healed.Sub(began).Seconds(), time.Since(healed).Seconds(), len(c.load.keys), len(errs))
	return errs
}

func (c *chaos) note(f fault, at time.Duration, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.counts[f.name]
	if n == nil {
		n = &count{}
		c.counts[f.name] = n
	}
	n.thrown++
	line := fmt.Sprintf("%6.2f s  %s", at.Seconds(), f.name)
	if err != nil {
		n.missed++
		line += ": " + err.Error()
	}
	c.thrown = append(c.thrown, line)
	if err != nil && !errors.Is(err, errMissed) && !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		c.t.Errorf("fault %s: %v", f.name, err)
	}
}

// report tells what was thrown.
func (c *chaos) report() {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	thrown, hit := 0, 0
	for _, f := range c.all {
		if n := c.counts[f.name]; n != nil {
			fmt.Fprintf(w, "%s\t%d\t%d\n", f.name, n.thrown, n.thrown-n.missed)
			thrown, hit = thrown+n.thrown, hit+n.thrown-n.missed
		}
	}
	w.Flush()
	c.t.Logf("seed %d: %d rounds in %s, %d faults of %d kinds (%d hit), %d observations in %d records\nfault, thrown, hit\n%s",
		*seed, c.rounds, time.Since(c.began).Round(time.Second), thrown, len(c.all), hit, len(c.load.keys), c.load.records, b.String())
}
