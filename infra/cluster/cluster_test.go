//go:build integration

// The functions on a real node with a real Knative, as `cluster up` left them. Counts
// and conditions are held to, never seconds: the limits are only how long to wait.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const (
	recorded     = 42_664 // observations in data/m7-2025.jsonl.gz
	repositories = 154    // that they are of
	swept        = 1000   // repositories of the emulator
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
	b.kubernetes = filepath.Dir(b.env["KUBECTL"])
	if b.names, err = c.functions(); err != nil {
		t.Fatal(err)
	}
	watch, used := b.watchPods(), measure(append(b.names, "queue")...)
	for _, part := range []struct {
		name string
		run  func(*bench)
	}{
		{"every Service is ready, and its pods run as the manifests say", (*bench).wantServices},
		{"a tick sweeps every repository into both stores", (*bench).wantSweep},
		{"functions go from zero to one and back to zero", (*bench).wantZero},
		{"without a token fetch-org is ready and says what is missing", (*bench).wantReason},
		{"the recording with pods killed and revisions replaced is stored once", (*bench).wantRecording},
		{"at rest all functions are at zero", (*bench).wantZero},
	} {
		before := used.soFar()
		ok := t.Run(part.name, func(t *testing.T) {
			part.run(&bench{t, b.node, b.env, b.names})
			used.log(t, before)
		})
		if !ok {
			b.explain()
			return
		}
	}
	used.stop()
	watch(b)
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
	return list.Items, err
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
	return func(b *bench) {
		stop()
		watching.Wait()
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
// returns the answer.
func (b *bench) event(function, kind, data string) (status int, text string) {
	b.Helper()
	req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, "http://"+b.env["INGRESS"]+"/", strings.NewReader(data))
	if err != nil {
		b.Fatal(err)
	}
	for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "test", "Ce-Source": "/test", "Ce-Type": kind, "Content-Type": "application/json"} {
		req.Header.Set(name, value)
	}
	return b.send(function, req)
}

func (b *bench) send(function string, req *http.Request) (status int, text string) {
	b.Helper()
	req.Host = function + ".m7pulse.svc.cluster.local"
	answer, err := (&http.Client{Timeout: 2 * time.Minute}).Do(req)
	if err != nil {
		b.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		b.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// wake has a function do what is left, which starts it.
func (b *bench) wake(function string) (status int, text string) {
	b.Helper()
	if function != "api" {
		return b.event(function, "dev.knative.sources.ping", `{"do":"wake"}`)
	}
	req, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+b.env["INGRESS"]+"/openapi.json", nil)
	if err != nil {
		b.Fatal(err)
	}
	return b.send(function, req)
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
	for _, dir := range processes(name) {
		status, err := os.ReadFile(filepath.Join(dir, "status"))
		if err != nil {
			b.Fatal(err)
		}
		for _, want := range []string{`Uid:\t65532\t65532\t65532\t65532`, `CapEff:\t0+\n`, `CapBnd:\t0+\n`, `NoNewPrivs:\t1`, `Seccomp:\t2`} {
			if !regexp.MustCompile(want).Match(status) {
				b.Errorf("%s does not run as its security context says, %q:\n%s", name, want, status)
			}
		}
		mounts, err := os.ReadFile(filepath.Join(dir, "mountinfo"))
		if err != nil {
			b.Fatal(err)
		}
		if !regexp.MustCompile(`(?m)^\d+ \d+ \S+ / / ro,`).Match(mounts) {
			b.Errorf("the root of %s can be written:\n%s", name, mounts)
		}
		return
	}
	b.Errorf("no process runs /ko-app/%s", name)
}

// report is what `pulse audit --json` says.
type report struct {
	Observations, Kafka, ClickHouse, Repos, Duplicates int64
	IcebergRaw                                         int64 `json:"iceberg_raw"`
	IcebergProcessed                                   int64 `json:"iceberg_processed"`
	DeadLetters                                        int64 `json:"dead_letters"`
	Clean                                              bool
	Differences                                        []string
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
	b.kube("patch", "pingsource", "sweep-hourly", "--type", "merge", "--patch", `{"spec":{"schedule":"`+cron+`"}}`)
	b.kube("wait", "--for=condition=Ready", "pingsource/sweep-hourly", "--timeout=60s")
}

// wantZero waits until no function has a pod.
func (b *bench) wantZero() {
	b.until(5*time.Minute, "all functions at zero", func() error {
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
	token := func(value string) {
		secret, err := b.secret(value)
		if err != nil {
			b.Fatal(err)
		}
		if err := b.apply(b.Context(), secret); err != nil {
			b.Fatal(err)
		}
	}
	token("")
	b.roll("fetch-org")
	status, text := b.event("fetch-org", "dev.knative.sources.ping", `{"do":"sweep"}`)
	if status != http.StatusServiceUnavailable || !strings.Contains(text, "GITHUB_TOKEN") {
		b.Errorf("without a token a tick is answered %d: %s", status, text)
	}
	token(b.env["GITHUB_TOKEN"])
	b.roll("fetch-org")
	if status, text := b.wake("fetch-org"); status/100 != 2 {
		b.Errorf("with its token again fetch-org answers %d: %s", status, text)
	}
}

// roll replaces revisions, and waits until the new ones take the requests.
func (b *bench) roll(names ...string) {
	b.Helper()
	for _, name := range names {
		b.kube("patch", "services.serving.knative.dev", name, "--type", "merge", "--patch",
			fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"test":"%d"}}}}}`, time.Now().UnixNano()))
	}
	for _, name := range names {
		b.until(3*time.Minute, "the new revision of "+name, func() error {
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

// wantRecording replays the recording while all pods are deleted by force three times,
// and each revision is replaced.
func (b *bench) wantRecording() {
	before, err := b.audit()
	if err != nil {
		b.Fatal(err)
	}
	replayed := make(chan error, 1)
	go func() {
		_, err := b.pulse("replay", "data/m7-2025.jsonl.gz", "--rate", "800") // a minute
		replayed <- err
	}()
	killed := 0
	for range 3 {
		b.until(time.Minute, "pods to delete", func() error {
			pods, err := b.pods()
			ready := 0
			for _, p := range pods {
				if p.ready() {
					ready++
				}
			}
			if err == nil && ready < 3 {
				err = fmt.Errorf("%d are ready", ready)
			}
			return err
		})
		killed += len(strings.Fields(b.kube("delete", "pods", "--all", "--force", "--grace-period=0", "--output", "name")))
	}
	b.roll("aggregate", "sink-clickhouse", "sink-iceberg")
	if err := <-replayed; err != nil {
		b.Fatal(err)
	}
	after, err := b.audit()
	if err != nil {
		b.Fatal(err)
	}
	if after.Observations != before.Observations+recorded || after.Repos != before.Repos+repositories {
		b.Errorf("%d observations of %d repositories were stored, want %d of %d", after.Observations-before.Observations, after.Repos-before.Repos, recorded, repositories)
	}
	b.Logf("%d pods were deleted by force; %+v", killed, after)
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
