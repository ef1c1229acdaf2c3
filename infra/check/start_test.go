//go:build stage

package check

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
)

var starts = flag.Int("starts", 10, "how often each function is started from zero, as a process and as a container")

func TestStagedFunctionsStartFromZeroAsProcesses(t *testing.T) {
	b := newBench(t)
	b.coldStarts(b.start, func(h *hosted) int { return h.cmd.Process.Pid })
}

func TestStagedFunctionsStartFromZeroAsContainers(t *testing.T) {
	if _, err := exec.LookPath("podman"); err != nil {
		t.Skipf("SKIPPED: no function was started as a container: %v", err)
	}
	b := newBench(t)
	c := b.containers()
	b.coldStarts(c.start, c.pid)
}

// lives are those of a function from zero to zero: how long it took, from its
// start, until it was ready and until its event was stored, and, from SIGTERM,
// until it was gone.
type lives struct{ ready, stored, gone []time.Duration }

// coldStarts starts the functions in turn, each for one event, and ends them
// when what that event brought is stored.
func (b *bench) coldStarts(start func(name string) *hosted, pid func(*hosted) int) {
	b.t.Helper()
	seen := 0
	// The tick is stored as a request in Kafka. The sinks' wake is answered when
	// what stands in Kafka is stored.
	give := func(h *hosted) time.Duration {
		b.t.Helper()
		q := tick("wake")
		switch h.name {
		case "fetch-org":
			q = tick("sweep")
		case "aggregate", "m7pulse":
			seen++
			q = observation(seen)
		}
		got, stored := h.post([]request{q}), time.Since(h.began)
		if got[204] != 1 || stored > 10*time.Second { // after 15 s a bell is answered in any case
			b.t.Fatalf("%s: answer %v after %s", h.name, got, stored)
		}
		// Its sinks have begun to store what its aggregate has committed. An insert
		// that SIGTERM cuts off would keep the next writer waiting until it can no
		// longer land.
		if h.name == "m7pulse" {
			if got := h.post([]request{tick("wake")}); got[204] != 1 {
				b.t.Fatalf("%s: a wake is answered %v", h.name, got)
			}
		}
		return stored
	}
	order := []string{"fetch-org", "m7pulse", "aggregate", "sink-clickhouse", "sink-iceberg"} // as an observation passes
	all := map[string]*lives{}
	for _, name := range order {
		all[name] = &lives{}
	}
	for range *starts {
		for _, name := range order {
			h, l := start(name), all[name]
			l.ready, l.stored = append(l.ready, h.ready), append(l.stored, give(h))
			began := time.Now()
			h.stop()
			l.gone = append(l.gone, time.Since(began))
		}
		b.audited(seen)
	}
	for _, name := range order {
		h, l := start(name), all[name]
		time.Sleep(time.Second)
		ready := resident(b.t, pid(h))
		give(h)
		time.Sleep(time.Second)
		served := resident(b.t, pid(h))
		h.stop()
		b.t.Logf("%-16s from its start to ready p50 %4d p95 %4d ms, to the 2xx p50 %4d p95 %4d ms; from SIGTERM to gone p50 %4d p95 %4d ms; at rest %3d MiB when ready, %3d MiB after an event", name,
			percentile(l.ready, 50), percentile(l.ready, 95), percentile(l.stored, 50), percentile(l.stored, 95), percentile(l.gone, 50), percentile(l.gone, 95), ready>>20, served>>20)
	}
}

// percentile is the nearest rank, in milliseconds.
func percentile(all []time.Duration, p int) int64 {
	slices.Sort(all)
	return all[(len(all)*p+99)/100-1].Milliseconds()
}

// resident is the memory that a process holds, in bytes.
func resident(t *testing.T, pid int) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := strconv.ParseInt(strings.Fields(string(text))[1], 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	return pages * int64(os.Getpagesize())
}

// containers runs the images that func's builder wrote, by podman, without a
// registry.
type containers struct {
	b      *bench
	images map[string]string
	begun  int
}

// containers takes the images into podman's store. Where podman cannot run them,
// the test is skipped with what podman says.
func (b *bench) containers() *containers {
	b.t.Helper()
	c := &containers{b: b, images: map[string]string{}}
	for _, name := range staged {
		cmd := exec.Command("podman", "pull", "--quiet", "oci:oci") // podman takes no path with a dot
		cmd.Dir = filepath.Join(stage, name, ".func/build")
		id, err := cmd.Output()
		if err != nil {
			b.t.Skipf("SKIPPED: no function was started as a container: podman cannot take the image of %s: %s", name, said(err))
		}
		image := strings.TrimSpace(string(id))
		b.t.Cleanup(func() {
			if out, err := exec.Command("podman", "rmi", "--force", image).CombinedOutput(); err != nil {
				b.t.Errorf("podman rmi: %v\n%s", err, out)
			}
		})
		c.images[name] = image
	}
	// Without settings a function ends by itself. 125 and 126 are podman's own.
	_, err := exec.Command("podman", c.command("aggregate")...).Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) && (exit.ExitCode() == 125 || exit.ExitCode() == 126) {
		b.t.Skipf("SKIPPED: no function was started as a container: podman cannot run one here: %s", said(err))
	}
	return c
}

func said(err error) string {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Sprintf("%v: %s", err, exit.Stderr)
	}
	return err.Error()
}

// command is podman's for a function within the limits of its func.yaml. The
// servers are on this machine, so it shares the machine's network.
func (c *containers) command(name string, more ...string) []string {
	c.b.t.Helper()
	args := []string{"run", "--rm", "--name", c.name(), "--network", "host",
		// podman asks for more than a machine may allow.
		"--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"}
	if _, err := exec.LookPath("runc"); err == nil { // crun refuses a machine that has both versions of cgroups
		args = append([]string{"--runtime", "runc"}, args...)
	}
	limits := described(c.b.t, name).Deploy.Options.Resources.Limits
	cpus, memory := resource.MustParse(*limits.CPU), resource.MustParse(*limits.Memory)
	args = append(args, "--cpus", cpus.AsDec().String(), "--memory", fmt.Sprintf("%db", memory.Value()))
	return append(append(args, more...), c.images[name])
}

// name is that of the present container.
func (c *containers) name() string { return fmt.Sprintf("m7pulse-%d-%d", os.Getpid(), c.begun) }

func (c *containers) start(name string) *hosted {
	c.b.t.Helper()
	c.begun++
	// Of the embedded stack the cold store is files, and the image's user is
	// another than the one who runs the stack.
	cold := filepath.Join(c.b.dir, "home/iceberg")
	if err := os.MkdirAll(cold, 0o755); err != nil {
		c.b.t.Fatal(err)
	}
	if err := filepath.WalkDir(cold, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.Chmod(path, 0o777)
		}
		return os.Chmod(path, 0o666)
	}); err != nil {
		c.b.t.Fatal(err)
	}
	box := c.name()
	c.b.t.Cleanup(func() { _ = exec.Command("podman", "rm", "--force", "--time", "0", "--ignore", box).Run() })
	return c.b.host(name, func(settings []string) *exec.Cmd {
		more := []string{"--volume", cold + ":" + cold}
		for _, s := range settings {
			more = append(more, "--env", s)
		}
		return exec.Command("podman", c.command(name, more...)...)
	})
}

// pid is that of the function in its container.
func (c *containers) pid(*hosted) int {
	c.b.t.Helper()
	out, err := exec.Command("podman", "inspect", "--format", "{{.State.Pid}}", c.name()).Output()
	if err != nil {
		c.b.t.Fatalf("podman inspect: %s", said(err))
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(out)))
	if err != nil {
		c.b.t.Fatal(err)
	}
	return pid
}
