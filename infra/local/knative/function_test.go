package knative

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// running is a function of the given kind with an address.
type running struct {
	*function
	t       testing.TB
	address string
	logs    string
}

func run(t testing.TB, mode string, change func(*Config, *Function)) running {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cfg := Config{
		Topology:    &Topology{Config: map[string]string{"GREETING": "from the ConfigMap", "PLACE": "cluster"}},
		Command:     func(string) []string { return []string{self} },
		FunctionEnv: map[string]map[string]string{"fn": {childMode: mode}},
		LogDir:      t.TempDir(),
		IdleAfter:   time.Minute, StartTimeout: 10 * time.Second,
	}
	spec := Function{Name: "fn"}
	if change != nil {
		change(&cfg, &spec)
	}
	f := newFunction(spec, cfg.withDefaults(), newTransport())
	server := httptest.NewServer(f)
	t.Cleanup(func() {
		server.Close()
		if err := f.stop(context.Background()); err != nil {
			t.Error(err)
		}
	})
	f.start()
	return running{function: f, t: t, address: server.URL, logs: filepath.Join(cfg.LogDir, "fn.log")}
}

func (r running) get(path string) (status int, body string) {
	r.t.Helper()
	resp, err := http.Get(r.address + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func (r running) eventually(what string, done func(FunctionStatus) bool) {
	r.t.Helper()
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		s := r.status()
		if done(s) {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("never %s: %+v", what, s)
		}
	}
}

func TestALongAnswerToALongRequestIsPassedOnWhole(t *testing.T) {
	f := run(t, "plain", nil)
	long := strings.Repeat("long ", 3000)
	for range 1000 { // one in two hundred was cut
		resp, err := http.Post(f.address+"/echo", "text/plain", strings.NewReader(long))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != long {
			t.Fatalf("%d of %d bytes, %v", len(body), len(long), err)
		}
	}
}

func TestFunctionStartsAtItsFirstRequest(t *testing.T) {
	f := run(t, "plain", nil)
	if s := f.status(); s.Replicas != 0 || s.Starts != 0 {
		t.Fatalf("it runs before a request: %+v", s)
	}
	status, body := f.get("/")
	s := f.status()
	if status != 200 || body != strconv.Itoa(s.PID) {
		t.Errorf("answer %d %q from pid %d", status, body, s.PID)
	}
	f.eventually("idle", func(s FunctionStatus) bool { return s.IdleSince != nil })
	if s = f.status(); s.Replicas != 1 || s.Starts != 1 || s.Requests != 1 || s.Ready.Last <= 0 || s.FirstOK.Last < s.Ready.Last {
		t.Errorf("status %+v", s)
	}
	t.Logf("cold start: ready after %v ms, answer after %v ms", s.Ready.Last, s.FirstOK.Last)
}

func TestRequestsWaitForASlowStartInOneProcess(t *testing.T) {
	f := run(t, "slow", nil)
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			if status, _ := f.get("/"); status != 200 {
				t.Errorf("answer %d", status)
			}
		})
	}
	wg.Wait()
	if s := f.status(); s.Starts != 1 || s.Ready.Last < 300 {
		t.Errorf("status %+v, want one start of at least 300 ms", s)
	}
}

func TestMoreRequestsThanTheLimitAreRefusedWhileItStarts(t *testing.T) {
	f := run(t, "slow", nil)
	f.mu.Lock()
	f.waiting = maxWaiting
	f.mu.Unlock()
	if status, body := f.get("/"); status != 503 || !strings.Contains(body, errBusy.Error()) {
		t.Errorf("answer %d %q", status, body)
	}
	f.mu.Lock()
	f.waiting = 0
	f.mu.Unlock()
}

func TestFunctionStopsWhenIdleAndStartsAgain(t *testing.T) {
	f := run(t, "plain", func(c *Config, _ *Function) { c.IdleAfter = 150 * time.Millisecond })
	_, first := f.get("/")
	f.eventually("at zero", func(s FunctionStatus) bool { return s.Phase == "zero" })
	if s := f.status(); s.Crashes != 0 || s.PID != 0 {
		t.Errorf("status %+v", s)
	}
	if _, second := f.get("/"); second == first {
		t.Errorf("both answers are from pid %s", first)
	}
	if s := f.status(); s.Starts != 2 {
		t.Errorf("%d starts, want 2", s.Starts)
	}
}

func TestFunctionIsNotIdleWhileARequestIsInFlight(t *testing.T) {
	f := run(t, "plain", func(c *Config, _ *Function) { c.IdleAfter = 50 * time.Millisecond })
	if status, _ := f.get("/sleep"); status != 200 {
		t.Errorf("answer %d", status)
	}
}

func TestFunctionWithMinScaleRunsAlways(t *testing.T) {
	f := run(t, "plain", func(c *Config, fn *Function) { c.IdleAfter, fn.MinScale = 20*time.Millisecond, 1 })
	f.eventually("ready", func(s FunctionStatus) bool { return s.Phase == "ready" })
	// As soon as one with the same patience but without a minimum is at zero, this one
	// would be.
	idle := run(t, "plain", func(c *Config, _ *Function) { c.IdleAfter = 20 * time.Millisecond })
	idle.get("/")
	idle.eventually("at zero", func(s FunctionStatus) bool { return s.Phase == "zero" })
	first := f.status()
	if first.Phase != "ready" || first.Starts != 1 {
		t.Fatalf("status %+v", first)
	}
	if err := syscall.Kill(first.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	f.eventually("back", func(s FunctionStatus) bool { return s.Phase == "ready" && s.Starts == 2 })
}

func TestFunctionThatDiesIsStartedByTheNextRequest(t *testing.T) {
	f := run(t, "plain", nil)
	_, first := f.get("/")
	if status, _ := f.get("/die"); status != 502 {
		t.Errorf("the request that it died of is answered %d, want 502", status)
	}
	f.eventually("noticed", func(s FunctionStatus) bool { return s.Crashes == 1 })
	if status, second := f.get("/"); status != 200 || second == first {
		t.Errorf("answer %d from pid %s after %s", status, second, first)
	}
	if s := f.status(); s.Failures["none"] != 1 {
		t.Errorf("failures %v", s.Failures)
	}
}

func TestFunctionThatCannotStartSaysSoAndBacksOff(t *testing.T) {
	f := run(t, "broken", nil)
	began := time.Now()
	for range 3 {
		if status, body := f.get("/"); status != 503 || !strings.Contains(body, "exit status 3") {
			t.Errorf("answer %d %q", status, body)
		}
	}
	// 0 + 100 + 200 ms
	if took := time.Since(began); took < 300*time.Millisecond {
		t.Errorf("three attempts took %s", took)
	}
	if log, err := os.ReadFile(f.logs); err != nil || !strings.Contains(string(log), "the configuration is bad") {
		t.Errorf("log %q, %v", log, err)
	}
}

func TestStopLetsARequestFinish(t *testing.T) {
	f := run(t, "plain", nil)
	f.get("/")
	answer := make(chan int)
	go func() {
		status, _ := f.get("/sleep")
		answer <- status
	}()
	f.eventually("in flight", func(s FunctionStatus) bool { return s.InFlight == 1 })
	if err := f.stop(t.Context()); err != nil {
		t.Error(err)
	}
	if status := <-answer; status != 200 {
		t.Errorf("answer %d", status)
	}
	log, err := os.ReadFile(f.logs)
	if err != nil || !strings.Contains(string(log), "drained") {
		t.Errorf("log %q, %v", log, err)
	}
	if _, err := f.acquire(t.Context()); err == nil {
		t.Error("a stopped function takes requests")
	}
}

func TestStopReachesAFunctionBehindAWrapper(t *testing.T) {
	f := run(t, "plain", func(c *Config, _ *Function) {
		c.Command = func(string) []string { return []string{"sh", "-c", `"$0" & wait`, os.Args[0]} }
	})
	_, body := f.get("/")
	pid, err := strconv.Atoi(body)
	if err != nil {
		t.Fatal(err)
	}
	if wrapper := f.status().PID; wrapper == pid {
		t.Fatalf("the wrapper and the function are both pid %d", pid)
	}
	t.Cleanup(func() {
		if t.Failed() {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	})
	if err := f.stop(t.Context()); err != nil {
		t.Error(err)
	}
	eventually(t, "drained", func() bool {
		log, err := os.ReadFile(f.logs)
		return err == nil && strings.Contains(string(log), "drained")
	})
}

func TestFunctionThatDoesNotStopIsKilledWhenTimeIsUp(t *testing.T) {
	f := run(t, "stubborn", nil)
	f.get("/")
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := f.stop(ctx); err == nil {
		t.Error("a kill is no error")
	}
	if s := f.status(); s.PID != 0 {
		t.Errorf("pid %d lives on", s.PID)
	}
}

func TestEnvironmentIsWhatTheManifestSays(t *testing.T) {
	t.Setenv("TOKEN", "secret of the runner")
	t.Setenv("UNRELATED", "not for functions")
	f := run(t, "plain", func(c *Config, fn *Function) {
		c.Env = map[string]string{"PLACE": "this machine", "PASSWORD": "local"}
		fn.Env = []EnvVar{
			{Name: "PLAIN", Value: "text"}, {Name: "GREETING", Config: "GREETING"}, {Name: "WHERE", Config: "PLACE"},
			{Name: "TOKEN", Secret: "github"}, {Name: "PASS", Secret: "PASSWORD"}, {Name: "ABSENT", Secret: "absent"},
		}
	})
	_, body := f.get("/env")
	env := strings.Split(strings.TrimSpace(body), "\n")
	for _, want := range []string{"TZ=UTC", "PLAIN=text", "GREETING=from the ConfigMap", "WHERE=this machine", "TOKEN=secret of the runner", "PASS=local"} {
		if !slices.Contains(env, want) {
			t.Errorf("%s is missing", want)
		}
	}
	if strings.Contains(body, "UNRELATED") || strings.Contains(body, "ABSENT") {
		t.Errorf("there is more than the manifest says:\n%s", body)
	}
}

func TestWaitingForAStartEndsWithTheRequest(t *testing.T) {
	f := run(t, "slow", nil)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := f.acquire(ctx); err == nil {
		t.Error("it was ready too soon")
	}
}
