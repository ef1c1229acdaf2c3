package fetchorg

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	cloudevents "github.com/cloudevents/sdk-go/v2"
	"github.com/cloudevents/sdk-go/v2/binding"
	cehttp "github.com/cloudevents/sdk-go/v2/protocol/http"

	emulator "github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/event"
)

var chaosKills = flag.Int("chaos.kills", 2, "how many processes are killed")

// process is a process of the function.
type process struct {
	cmd *exec.Cmd
	url string
}

func (w *world) process() *process {
	w.t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), aloneKey+"=1")
	for name, value := range w.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	cmd.Stderr = w.log
	if _, err := cmd.StdinPipe(); err != nil { // it lives as long as its input
		w.t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	p := &process{cmd: cmd}
	w.t.Cleanup(p.kill)
	address, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		w.t.Fatalf("the function does not start: %v\n%s", err, w.log)
	}
	p.url = strings.TrimSpace(address)
	return p
}

func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}

func (p *process) post(ctx context.Context, e cloudevents.Event) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, nil)
	if err != nil {
		return err
	}
	if err := cehttp.WriteRequest(ctx, binding.ToMessage(&e), r); err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("status %d", resp.StatusCode)
	}
	return nil
}

// TestKilledProcessesLoseNothing kills real processes with SIGKILL in the middle
// of sweeps, one after the other, and has the next one end what they began.
func TestKilledProcessesLoseNothing(t *testing.T) {
	rng := rand.New(rand.NewPCG(*chaosSeed, 1))
	w := newWorld(t)
	const scale = 60
	origin := time.Now()
	w.clock, w.scale = newClock(origin, scale).now, scale
	w.serve(emulator.Generate(emulator.Plan{Seed: *chaosSeed, Start: origin, Life: emulator.Life{Created: 30, Deleted: 20, Renamed: 30, Transferred: 10, Pushed: 100},
		Owners: []emulator.OwnerPlan{{Login: "owner-0", Repos: 150}, {Login: "owner-1", User: true, Repos: 10}}}), tokenA, tokenB)
	w.github.SetPace(scale)
	w.github.SetTiming(emulator.Measured())
	for name, value := range map[string]string{
		"OWNERS": "owner-0 owner-1", "GITHUB_TOKEN": tokenA + "," + tokenB, "PAGE_SIZE": "10",
		"CLOCK_SCALE": fmt.Sprint(scale), "CLOCK_ORIGIN": origin.Format(time.RFC3339Nano),
	} {
		w.env[name] = value
	}
	p, killed := w.process(), 0
	for i := range *chaosKills {
		sweep := origin.Add(time.Duration(i-12*60) * time.Minute).UTC().Truncate(time.Minute).Format(time.RFC3339)
		dying := p
		for _, login := range []string{"owner-0", "owner-1"} {
			go func() { _ = dying.post(context.Background(), w.requested(login, sweep)) }()
		}
		time.Sleep(time.Duration(rng.IntN(500)) * time.Millisecond)
		dying.kill()
		if len(w.linesOf(sweep)) < 2 {
			killed++
		}
		w.redis.FastForward(leaseTTL + time.Second) // the dead one's lease runs out
		p = w.process()
		deadline, cancel := context.WithTimeout(t.Context(), time.Minute)
		for len(w.linesOf(sweep)) < 2 && deadline.Err() == nil {
			// The kill may have come before the request was known; its source asks again.
			for _, login := range []string{"owner-0", "owner-1"} {
				_ = p.post(deadline, w.requested(login, sweep))
			}
		}
		cancel()
		if lines := w.linesOf(sweep); len(lines) != 2 {
			t.Fatalf("sweep %s has %d ledger lines after a minute:\n%s", sweep, len(lines), w.log)
		}
	}
	if *chaosKills > 0 && killed == 0 {
		t.Error("no kill came during a sweep")
	}
	t.Logf("%d of %d kills came during a sweep; %d questions", killed, *chaosKills, len(w.github.Requests()))
	judge(t, w.codec, w.github, w.records(event.TopicBaseRepos), w.records(event.TopicSweeps), "owner-0", "owner-1")
}

// linesOf is the owners that have a ledger line in a sweep.
func (w *world) linesOf(sweep string) map[string]bool {
	w.t.Helper()
	owners := map[string]bool{}
	for _, r := range w.records(event.TopicSweeps) {
		line, err := w.codec.Swept(w.t.Context(), r)
		if err != nil {
			w.t.Fatal(err)
		}
		if line.SweepID == sweep {
			owners[line.Owner] = true
		}
	}
	return owners
}
