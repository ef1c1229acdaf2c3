//go:build integration

// The functions on a real node with a real Knative, as `cluster up` left them. Counts
// and conditions are held to, never seconds: the limits are only how long to wait.
package main

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

const (
	swept     = 1000                    // repositories of the emulator
	recording = "data/m7-2025.jsonl.gz" // of 2025, from January to December
)

// bench is the cluster under test.
type bench struct {
	*testing.T
	node
	env   map[string]string
	names []string // of the functions
}

func TestProductOnACluster(t *testing.T) {
	c, err := locate()
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{T: t, node: node{cluster: c}}
	if b.env, err = c.readEnv(); err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if b.kubernetes, err = c.buildKubernetes(ctx); err != nil { // all three are there already
		t.Fatal(err)
	}
	if b.debian, err = c.unpackDebian(ctx); err != nil {
		t.Fatal(err)
	}
	if b.knative, err = c.buildKnative(ctx); err != nil {
		t.Fatal(err)
	}
	if b.names, err = c.functions(); err != nil {
		t.Fatal(err)
	}
	watch, used := b.watchPods(), measure(append(slices.Clone(b.names), "queue")...)
	for _, part := range []struct {
		name string
		run  func(*bench)
	}{
		{"every Service is ready, and its pods run as the manifests say", (*bench).wantServices},
		{"a tick sweeps every repository into both stores", (*bench).wantSweep},
		{"each function starts from zero and goes back to it", (*bench).wantStarts},
		{"without a token fetch-org is ready and says what is missing", (*bench).wantReason},
		{"four replicas of fetch-org sweep each owner once", (*bench).wantReplicas},
		{"pods killed by force lose nothing", (*bench).wantKilled},
		{"a rolling update loses nothing", (*bench).wantRolled},
		{"Jobs store a backlog that nobody rang for", (*bench).wantJobs},
		{"a new password of Redis loses nothing", (*bench).wantRotated},
		{"more than a Service takes is refused and lost nowhere", (*bench).wantRefused},
		{"the local runner answers as the cluster does", (*bench).wantEmulated},
		{"at rest all functions are at zero", (*bench).wantZero},
		{"no container was restarted", watch}, // those of a node that is restarted are
		{"a node drained and restarted loses nothing", (*bench).wantRestarted},
	} {
		before := used.soFar()
		ok := t.Run(part.name, func(t *testing.T) {
			part.run(&bench{t, b.node, b.env, b.names})
			used.log(t, before)
		})
		if !ok {
			b.explain()
			break
		}
	}
	used.stop()
}

// kube runs kubectl in the functions' namespace.
func (b *bench) kube(args ...string) string {
	b.Helper()
	out, err := b.kubectl(b.Context(), "", append([]string{"--namespace", "m7pulse"}, args...)...)
	if err != nil {
		b.Fatal(err)
	}
	return out
}

// pulse runs bin/pulse against the cluster's servers.
func (b *bench) pulse(args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(b.Context(), 12*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(b.root, "bin", "pulse"), args...)
	cmd.Dir, cmd.Env = b.root, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME")}
	for name, value := range b.env {
		cmd.Env = append(cmd.Env, name+"="+value)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		err = fmt.Errorf("pulse %s: %w\n%s%s", strings.Join(args, " "), err, out, stderr.Bytes())
	}
	return out, err
}

func (b *bench) until(limit time.Duration, what string, ask func() error) {
	b.Helper()
	if err := until(b.Context(), limit, what, func(context.Context) error { return ask() }); err != nil {
		b.Fatal(err)
	}
}

// pod is what the tests need of one.
type pod struct {
	Metadata struct {
		Name              string
		UID               string
		DeletionTimestamp *time.Time
		Labels            map[string]string
	}
	Status struct {
		Phase             string
		ContainerStatuses []struct {
			Name         string
			Ready        bool
			RestartCount int
		}
	}
}

func (p pod) function() string { return p.Metadata.Labels["serving.knative.dev/service"] }

func (p pod) ready() bool {
	for _, c := range p.Status.ContainerStatuses {
		if !c.Ready {
			return false
		}
	}
	return len(p.Status.ContainerStatuses) > 0 && p.Metadata.DeletionTimestamp == nil
}

func (b *bench) pods() (pods []pod, err error) {
	out, err := b.kubectl(b.Context(), "", "--namespace", "m7pulse", "get", "pods", "--output", "json")
	if err != nil {
		return nil, err
	}
	var list struct{ Items []pod }
	err = json.Unmarshal([]byte(out), &list)
	return slices.DeleteFunc(list.Items, func(p pod) bool { return p.function() == "" }), err // those of Jobs
}

// wantReady waits until some functions' pods are ready.
func (b *bench) wantReady(n int, names ...string) {
	b.Helper()
	b.until(5*time.Minute, fmt.Sprintf("%d pods of %v", n, names), func() error {
		pods, err := b.pods()
		ready := 0
		for _, p := range pods {
			if p.ready() && slices.Contains(names, p.function()) {
				ready++
			}
		}
		if err == nil && ready < n {
			err = fmt.Errorf("%d are ready", ready)
		}
		return err
	})
}

// processes are those on this machine that run a program of an image.
func processes(name string) (dirs []string) {
	commands, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range commands {
		command, err := os.ReadFile(path) // it may have ended
		if program, _, _ := bytes.Cut(command, []byte{0}); err == nil && string(program) == "/ko-app/"+name {
			dirs = append(dirs, filepath.Dir(path))
		}
	}
	return dirs
}

// spent is what the processes of a program have used so far.
type spent struct {
	cpu float64 // seconds, of all together
	mib int     // the most that one had in memory
}

// meter follows the processes of images on this machine.
type meter struct {
	mu   sync.Mutex
	used map[string]map[string]spent // by program, then by process
	stop func()
}

var (
	residentMost = regexp.MustCompile(`VmHWM:\s+(\d+) kB`)
	ticks        = regexp.MustCompile(`\) \S+(?: \S+){10} (\d+) (\d+) `) // in user and system mode
)

// measure begins to follow the programs.
func measure(names ...string) *meter {
	m := &meter{used: map[string]map[string]spent{}}
	done := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		for {
			for _, name := range names {
				m.look(name)
			}
			select {
			case <-done:
				return
			case <-time.After(time.Second):
			}
		}
	})
	m.stop = func() {
		close(done)
		watching.Wait()
	}
	return m
}

func (m *meter) look(name string) {
	for _, dir := range processes(name) {
		status, _ := os.ReadFile(filepath.Join(dir, "status")) // it may have ended
		stat, _ := os.ReadFile(filepath.Join(dir, "stat"))
		memory, cpu := residentMost.FindSubmatch(status), ticks.FindSubmatch(stat)
		if memory == nil || cpu == nil {
			continue
		}
		kib, _ := strconv.Atoi(string(memory[1]))
		user, _ := strconv.Atoi(string(cpu[1]))
		system, _ := strconv.Atoi(string(cpu[2]))
		m.mu.Lock()
		if m.used[name] == nil {
			m.used[name] = map[string]spent{}
		}
		m.used[name][dir] = spent{float64(user+system) / 100, kib / 1024}
		m.mu.Unlock()
	}
}

// soFar is what each program has used.
func (m *meter) soFar() map[string]spent {
	m.mu.Lock()
	defer m.mu.Unlock()
	sum := map[string]spent{}
	for name, processes := range m.used {
		for _, u := range processes {
			sum[name] = spent{sum[name].cpu + u.cpu, max(sum[name].mib, u.mib)}
		}
	}
	return sum
}

// log says what has been used since an earlier moment.
func (m *meter) log(t *testing.T, since map[string]spent) {
	now := m.soFar()
	for _, name := range slices.Sorted(maps.Keys(now)) {
		t.Logf("%-16s %6.1f s of CPU, %4d MiB at most so far", name, now[name].cpu-since[name].cpu, now[name].mib)
	}
}

// watchPods follows the functions' pods. What it returns is called at the end, and
// fails for each container that was restarted: a pod that is deleted is not one.
func (b *bench) watchPods() func(*bench) {
	ctx, stop := context.WithCancel(b.Context())
	var mu sync.Mutex
	restarts, seen := map[string]int{}, map[string]map[string]bool{}
	var watching sync.WaitGroup
	watching.Go(func() {
		for ctx.Err() == nil {
			cmd := exec.CommandContext(ctx, b.program("kubectl"), "--kubeconfig", b.kubeconfig(), "--namespace", "m7pulse", "get", "pods", "--watch", "--output", "json")
			out, err := cmd.StdoutPipe()
			if err == nil {
				err = cmd.Start()
			}
			if err != nil {
				b.Errorf("watch the pods: %v", err)
				return
			}
			for events := json.NewDecoder(out); ; {
				var p pod
				if events.Decode(&p) != nil {
					break
				}
				mu.Lock()
				if seen[p.function()] == nil {
					seen[p.function()] = map[string]bool{}
				}
				seen[p.function()][p.Metadata.UID] = true
				for _, c := range p.Status.ContainerStatuses {
					key := p.Metadata.Name + "/" + c.Name
					restarts[key] = max(restarts[key], c.RestartCount)
				}
				mu.Unlock()
			}
			_ = cmd.Wait()
		}
	})
	b.Cleanup(func() {
		stop()
		watching.Wait()
	})
	return func(b *bench) {
		mu.Lock()
		defer mu.Unlock()
		for container, n := range restarts {
			if n > 0 {
				b.Errorf("%s was restarted %d times", container, n)
			}
		}
		for _, name := range b.names {
			if len(seen[name]) == 0 {
				b.Errorf("no pod of %s was ever seen", name)
			}
			b.Logf("%-16s %d pods", name, len(seen[name]))
		}
	}
}

// event posts an event to a function through the ingress, as a source does, and
// returns the answer. attributes are names and values.
func (b *bench) event(function, data string, attributes ...string) (status int, text string) {
	b.Helper()
	status, text, err := b.post(function, data, attributes...)
	if err != nil {
		b.Fatal(err)
	}
	return status, text
}

func (b *bench) post(function, data string, attributes ...string) (status int, text string, err error) {
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+b.env["INGRESS"]+"/", strings.NewReader(data))
	if err != nil {
		return 0, "", err
	}
	for pair := range slices.Chunk(append([]string{"Specversion", "1.0", "Id", "test", "Source", "/test", "Type", "dev.knative.sources.ping"}, attributes...), 2) {
		req.Header.Set("Ce-"+pair[0], pair[1])
	}
	req.Header.Set("Content-Type", "application/json")
	return b.send(function, req)
}

func (b *bench) send(function string, req *http.Request) (status int, text string, err error) {
	req.Host = function + ".m7pulse.svc.cluster.local"
	answer, err := (&http.Client{Timeout: 2 * time.Minute}).Do(req)
	if err != nil {
		return 0, "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	return answer.StatusCode, string(body), err
}

// wake has a function do what is left, which starts it, and returns its answer. Like a
// source it asks again where Knative answers in a function's place: on a crowded machine
// a pod may take longer to start than the activator lets a request wait.
func (b *bench) wake(function string) (status int, text string) {
	b.Helper()
	ask := func() (int, string, error) { return b.post(function, `{"do":"wake"}`) }
	if function == "api" {
		ask = func() (int, string, error) {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+b.env["INGRESS"]+"/openapi.json", nil)
			if err != nil {
				return 0, "", err
			}
			return b.send(function, req)
		}
	}
	b.until(5*time.Minute, function+" to answer", func() (err error) {
		status, text, err = ask()
		if err == nil && status == http.StatusGatewayTimeout {
			err = fmt.Errorf("%d: %s", status, text)
		}
		return err
	})
	return status, text
}

// wantServices wakes each function and looks at the process that the kernel runs.
func (b *bench) wantServices() {
	b.kube("wait", "--for=condition=Ready", "services.serving.knative.dev", "--all", "--timeout=300s")
	if got := strings.Fields(b.kube("get", "services.serving.knative.dev", "--output", "jsonpath={.items[*].metadata.name}")); !slices.Equal(got, b.names) {
		b.Fatalf("the Services are %v, want %v", got, b.names)
	}
	b.wantZero()
	for _, name := range b.names {
		began := time.Now()
		if status, text := b.wake(name); status/100 != 2 {
			b.Errorf("%s answers %d: %s", name, status, text)
			continue
		}
		took := time.Since(began)
		var running pod
		b.until(time.Minute, "a pod of "+name, func() error {
			pods, err := b.pods()
			for _, p := range pods {
				if p.function() == name && p.ready() {
					running = p
					return nil
				}
			}
			return fmt.Errorf("none of %d pods is ready: %v", len(pods), err)
		})
		b.wantConfined(name)
		b.Logf("%-16s %.1f s to its answer: %s", name, took.Seconds(), running.Metadata.Name)
	}
}

// wantConfined holds the process of a function to its security context.
func (b *bench) wantConfined(name string) {
	b.Helper()
	dirs := processes(name)
	if len(dirs) == 0 {
		b.Errorf("no process runs /ko-app/%s", name)
		return
	}
	status, err := os.ReadFile(filepath.Join(dirs[0], "status"))
	if err != nil {
		b.Fatal(err)
	}
	for _, want := range []string{`Uid:\t65532\t65532\t65532\t65532`, `CapEff:\t0+\n`, `CapBnd:\t0+\n`, `NoNewPrivs:\t1`, `Seccomp:\t2`} {
		if !regexp.MustCompile(want).Match(status) {
			b.Errorf("%s does not run as its security context says, %q:\n%s", name, want, status)
		}
	}
	mounts, err := os.ReadFile(filepath.Join(dirs[0], "mountinfo"))
	if err != nil {
		b.Fatal(err)
	}
	if !regexp.MustCompile(`(?m)^\d+ \d+ \S+ / / ro,`).Match(mounts) {
		b.Errorf("the root of %s can be written:\n%s", name, mounts)
	}
}

// report is what `pulse audit --json` says.
type report struct {
	Observations, Kafka, ClickHouse, Repos, Duplicates int64
	KafkaRecords                                       int64 `json:"kafka_records"`
	IcebergRaw                                         int64 `json:"iceberg_raw"`
	IcebergProcessed                                   int64 `json:"iceberg_processed"`
	DeadLetters                                        int64 `json:"dead_letters"`
	Clean                                              bool
	Differences                                        []string
	Sweeps                                             []struct {
		Sweep, Status  string
		Expected, Seen *int64
	}
}

// audit compares the stores once no stage has work left.
func (b *bench) audit() (r report, err error) {
	out, err := b.pulse("audit", "--wait", "--json")
	if err == nil {
		err = json.Unmarshal(out, &r)
	}
	if err == nil && (!r.Clean || r.Duplicates != 0 || r.DeadLetters != 0 || r.ClickHouse != r.Observations || r.IcebergRaw != r.Observations || r.IcebergProcessed != r.Observations) {
		err = fmt.Errorf("the stores differ: %+v", r)
	}
	return r, err
}

// wantSweep has the real PingSource tick once.
func (b *bench) wantSweep() {
	at := time.Now().UTC().Add(90 * time.Second) // the schedule is known in time
	b.schedule(fmt.Sprintf("%d %d * * *", at.Minute(), at.Hour()))
	b.until(10*time.Minute, "the sweep to be in both stores", func() error {
		r, err := b.audit()
		if err == nil && r.Repos < swept {
			err = fmt.Errorf("%d repositories so far", r.Repos)
		}
		return err
	})
	b.schedule("0 0 29 2 *")
	r, err := b.audit()
	if err != nil {
		b.Fatal(err)
	}
	b.Logf("%+v", r)
}

func (b *bench) schedule(cron string) {
	b.Helper()
	b.reschedule("pingsource/sweep-hourly", cron)
}

func (b *bench) reschedule(tick, cron string) {
	b.Helper()
	b.kube("patch", tick, "--type", "merge", "--patch", `{"spec":{"schedule":"`+cron+`"}}`)
	b.kube("wait", "--for=condition=Ready", tick, "--timeout=120s")
}

// wantZero waits until no function has a pod.
func (b *bench) wantZero() {
	b.until(10*time.Minute, "all functions at zero", func() error {
		pods, err := b.pods()
		if err == nil && len(pods) > 0 {
			var names []string
			for _, p := range pods {
				names = append(names, p.Metadata.Name)
			}
			err = fmt.Errorf("pods %s", strings.Join(names, ", "))
		}
		return err
	})
}

// wantReason takes the token away and gives it back.
func (b *bench) wantReason() {
	b.giveSecret("")
	b.roll("fetch-org")
	status, text := b.event("fetch-org", `{"do":"sweep"}`)
	if status != http.StatusServiceUnavailable || !strings.Contains(text, "GITHUB_TOKEN") {
		b.Errorf("without a token a tick is answered %d: %s", status, text)
	}
	b.giveSecret(b.env["GITHUB_TOKEN"])
	b.roll("fetch-org")
	if status, text := b.wake("fetch-org"); status/100 != 2 {
		b.Errorf("with its token again fetch-org answers %d: %s", status, text)
	}
}

// giveSecret writes the Secret of the functions, which their next pods read.
func (b *bench) giveSecret(token string) {
	b.Helper()
	secret, err := b.secret(token)
	if err != nil {
		b.Fatal(err)
	}
	if err := b.apply(b.Context(), secret); err != nil {
		b.Fatal(err)
	}
}

// roll replaces revisions, and waits until the new ones take the requests.
func (b *bench) roll(names ...string) {
	b.Helper()
	for _, name := range names {
		b.change(name, fmt.Sprintf(`{"metadata":{"annotations":{"test":"%d"}}}`, time.Now().UnixNano()))
	}
	b.settle(names...)
}

// change changes the template of a Service: there is a new revision.
func (b *bench) change(name, template string) {
	b.Helper()
	b.kube("patch", "services.serving.knative.dev", name, "--type", "merge", "--patch", `{"spec":{"template":`+template+`}}`)
}

// settle waits until the newest revisions take the requests.
func (b *bench) settle(names ...string) {
	b.Helper()
	for _, name := range names {
		b.until(5*time.Minute, "the new revision of "+name, func() error {
			var service struct {
				Metadata struct{ Generation int64 }
				Status   struct {
					ObservedGeneration                                 int64
					LatestCreatedRevisionName, LatestReadyRevisionName string
					Conditions                                         []struct{ Type, Status string }
				}
			}
			out, err := b.kubectl(b.Context(), "", "--namespace", "m7pulse", "get", "services.serving.knative.dev", name, "--output", "json")
			if err == nil {
				err = json.Unmarshal([]byte(out), &service)
			}
			if err != nil {
				return err
			}
			s := service.Status
			ready := slices.ContainsFunc(s.Conditions, func(c struct{ Type, Status string }) bool { return c.Type == "Ready" && c.Status == "True" })
			if !ready || s.ObservedGeneration != service.Metadata.Generation || s.LatestReadyRevisionName != s.LatestCreatedRevisionName {
				return fmt.Errorf("%+v", s)
			}
			return nil
		})
	}
}

// wantReplicas has four replicas of fetch-org ready before a tick.
func (b *bench) wantReplicas() {
	const scale = `{"metadata":{"annotations":{"autoscaling.knative.dev/min-scale":"%d"}}}`
	b.change("fetch-org", fmt.Sprintf(scale, 4))
	b.settle("fetch-org")
	b.wantReady(4, "fetch-org")
	at := time.Now().UTC().Add(time.Hour) // the sweep of an hour that no other part sweeps
	if status, text := b.event("fetch-org", `{"do":"sweep"}`, "Time", at.Format(time.RFC3339)); status/100 != 2 {
		b.Fatalf("the tick is answered %d: %s", status, text)
	}
	id := at.Truncate(time.Hour).Format(time.RFC3339)
	times := map[string]int{}
	b.until(10*time.Minute, "every owner in the ledger", func() (err error) {
		if times, err = b.ledger(id); err == nil && len(times) < len(emulatorOwners) {
			err = fmt.Errorf("%d owners so far", len(times))
		}
		return err
	})
	r := b.wantClean()
	for owner, n := range times {
		if n != 1 {
			b.Errorf("%s was swept %d times", owner, n)
		}
	}
	if r.KafkaRecords != r.Kafka {
		b.Errorf("%d of %d observations were read more than once", r.KafkaRecords-r.Kafka, r.Kafka)
	}
	b.change("fetch-org", fmt.Sprintf(scale, 0))
	b.settle("fetch-org")
}

// ledger is how often each owner ended a sweep completely.
func (b *bench) ledger(sweep string) (times map[string]int, err error) {
	path := filepath.Join(b.TempDir(), "sweeps.jsonl")
	if _, err := b.pulse("record", "github.sweeps", "--out", path); err != nil {
		return nil, err
	}
	text, err := os.ReadFile(path)
	times = map[string]int{}
	for line := range bytes.Lines(text) {
		var e struct {
			Data struct {
				SweepID       string `json:"sweep_id"`
				Owner, Status string
			}
		}
		if err := json.Unmarshal(line, &e); err != nil {
			return nil, err
		}
		if e.Data.SweepID == sweep && e.Data.Status == "complete" {
			times[e.Data.Owner]++
		}
	}
	return times, err
}

// wantClean audits the stores once no stage has work left.
func (b *bench) wantClean() report {
	b.Helper()
	r, err := b.audit()
	if err != nil {
		b.Fatal(err)
	}
	return r
}

// inRecording counts the observations of the recording from a day until another.
func (b *bench) inRecording(from, until string) (n int64) {
	b.Helper()
	file, err := os.Open(filepath.Join(b.root, recording))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		b.Fatal(err)
	}
	for events := json.NewDecoder(unzipped); ; {
		var e struct{ Time string }
		if err := events.Decode(&e); err == io.EOF {
			return n
		} else if err != nil {
			b.Fatal(err)
		}
		if from <= e.Time && e.Time < until {
			n++
		}
	}
}

// during replays a part of the recording, and has something happen once functions
// are at work on it. Each of its observations must be in every store once.
func (b *bench) during(from, until string, happens func()) {
	b.Helper()
	before, want := b.wantClean(), b.inRecording(from, until)
	replayed := make(chan error, 1)
	go func() {
		_, err := b.pulse("replay", recording, "--from", from, "--until", until, "--rate", "150") // about a minute
		replayed <- err
	}()
	b.wantReady(3, "aggregate", "sink-clickhouse", "sink-iceberg")
	happens()
	if err := <-replayed; err != nil {
		b.Fatal(err)
	}
	after := b.wantClean()
	if got := after.Observations - before.Observations; got != want {
		b.Errorf("%d observations were stored, want %d", got, want)
	}
	b.Logf("%d observations more; %d, %d repositories in all", want, after.Observations, after.Repos)
}

func (b *bench) wantKilled() {
	b.during("2025-01-01", "2025-04-01", func() {
		killed := 0
		for range 3 {
			b.wantReady(3, "aggregate", "sink-clickhouse", "sink-iceberg")
			killed += len(strings.Fields(b.kube("delete", "pods", "--all", "--force", "--grace-period=0", "--output", "name")))
		}
		b.Logf("%d pods were deleted by force", killed)
	})
}

func (b *bench) wantRolled() {
	b.during("2025-04-01", "2025-06-01", func() { b.roll("sink-iceberg", "sink-clickhouse", "aggregate") })
}

// wantJobs has Jobs do what functions would: without a bell and without a tick.
func (b *bench) wantJobs() {
	ticks := map[string]string{}
	for line := range strings.Lines(b.kube("get", "pingsources", "--output", `jsonpath={range .items[*]}{.metadata.name}={.spec.schedule}{"\n"}{end}`)) {
		name, cron, _ := strings.Cut(strings.TrimSpace(line), "=")
		ticks["pingsource/"+name] = cron
	}
	before, want := b.wantClean(), b.inRecording("2025-06-01", "2025-09-01")
	for name := range ticks {
		b.reschedule(name, "0 0 29 2 *")
	}
	if err := b.stop(b.Context(), "sources", syscall.SIGTERM); err != nil {
		b.Fatal(err)
	}
	b.wantZero()
	if _, err := b.pulse("replay", recording, "--from", "2025-06-01", "--until", "2025-09-01"); err != nil {
		b.Fatal(err)
	}
	for _, stage := range []string{"aggregate", "sink-clickhouse", "sink-iceberg"} {
		job := "drain-" + stage
		b.kube("apply", "--kustomize", b.dir("drain"), "--selector", "app.kubernetes.io/name="+job)
		b.kube("wait", "--for=condition=Complete", "job/"+job, "--timeout=600s")
		if got := b.kube("get", "job", job, "--output", "jsonpath={.status.succeeded}"); got != "2" {
			b.Errorf("%s: %s pods have succeeded, want 2", job, got)
		}
	}
	if pods, err := b.pods(); err != nil || len(pods) > 0 {
		b.Errorf("a function was at work too: %+v, %v", pods, err)
	}
	after := b.wantClean()
	if got := after.Observations - before.Observations; got != want {
		b.Errorf("%d observations were stored, want %d", got, want)
	}
	b.kube("delete", "--kustomize", b.dir("drain"))
	if err := b.startSources(b.Context()); err != nil {
		b.Fatal(err)
	}
	for name, cron := range ticks {
		b.reschedule(name, cron)
	}
}

// wantRotated gives Redis another password, and ends the connections that have the
// old one, before the functions get it.
func (b *bench) wantRotated() {
	b.during("2025-09-01", "2025-10-15", func() {
		at, err := url.Parse(b.env["REDIS_URL"])
		if err != nil {
			b.Fatal(err)
		}
		old, _ := at.User.Password()
		admin := redis.NewClient(&redis.Options{Addr: at.Host, Password: old})
		defer admin.Close()
		password := rand.Text()
		if err := admin.ConfigSet(b.Context(), "requirepass", password).Err(); err != nil {
			b.Fatal(err)
		}
		if err := admin.Do(b.Context(), "CLIENT", "KILL", "TYPE", "normal").Err(); err != nil {
			b.Fatal(err)
		}
		b.until(2*time.Minute, "aggregate to say that Redis does not take its password", func() error {
			if status, text := b.wake("aggregate"); status != http.StatusServiceUnavailable || !strings.Contains(text, "WRONGPASS") {
				return fmt.Errorf("it answers %d: %s", status, text)
			}
			return nil
		})
		at.User = url.UserPassword("", password)
		b.env["REDIS_URL"] = at.String()
		if err := b.writeEnv(b.env); err != nil {
			b.Fatal(err)
		}
		b.giveSecret(b.env["GITHUB_TOKEN"])
		b.roll("fetch-org", "fetch-events", "aggregate", "sink-clickhouse", "notify")
	})
}

// wantRefused lets one request into aggregate at a time: the queue-proxy keeps a few
// more waiting and refuses the others.
func (b *bench) wantRefused() {
	b.change("aggregate", `{"spec":{"containerConcurrency":1}}`)
	b.settle("aggregate")
	b.during("2025-10-15", "2025-11-15", func() {
		var mu sync.Mutex
		answers, refused := map[int]int{}, 0
		for round := 0; refused == 0 && round < 20; round++ {
			var all sync.WaitGroup
			for range 100 {
				all.Go(func() {
					status, text, err := b.post("aggregate", `{"do":"wake"}`)
					mu.Lock()
					defer mu.Unlock()
					if err != nil {
						b.Errorf("a wake: %v", err)
					}
					answers[status]++
					if status == http.StatusServiceUnavailable && strings.Contains(text, "queue full") {
						refused++
					}
				})
			}
			all.Wait()
		}
		if refused == 0 {
			b.Errorf("no request was refused: %v", answers)
		}
		b.Logf("answers %v, %d of them refused by the queue-proxy", answers, refused)
	})
	b.change("aggregate", `{"spec":{"containerConcurrency":0}}`)
	b.settle("aggregate")
}

// wantRestarted drains the node, ends it as a power cut would, and starts it again.
func (b *bench) wantRestarted() {
	b.during("2025-11-15", "2026-01-01", func() {
		b.kube("drain", "m7pulse", "--force", "--ignore-daemonsets", "--delete-emptydir-data", "--timeout=180s")
		if err := b.halt(b.Context()); err != nil {
			b.Fatal(err)
		}
		if err := b.boot(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.kube("uncordon", "m7pulse")
		if err := b.waitKnative(b.Context()); err != nil {
			b.Fatal(err)
		}
		b.kube("wait", "--for=condition=Ready", "services.serving.knative.dev", "--all", "--timeout=600s")
	})
}

// explain logs what may say why a part failed.
func (b *bench) explain() {
	for _, args := range [][]string{
		{"get", "services.serving.knative.dev,revisions,pods,pingsources", "--namespace", "m7pulse"},
		{"get", "events", "--namespace", "m7pulse", "--sort-by=.lastTimestamp"},
		{"logs", "--namespace", "m7pulse", "--selector", "app.kubernetes.io/part-of=m7pulse", "--container", "user-container", "--tail", "30", "--prefix"},
	} {
		out, err := b.kubectl(context.WithoutCancel(b.Context()), "", args...)
		b.Logf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out[max(0, len(out)-6000):])
	}
}
