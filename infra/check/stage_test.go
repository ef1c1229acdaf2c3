//go:build stage

// What `make stage` lays out is built by func's own builder and run as func's
// host runs it, against the servers of an embedded stack. `make stage-test`.
package check

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/crane"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	fn "knative.dev/func/pkg/functions"
	"knative.dev/func/pkg/oci"
)

var staged = []string{"fetch-org", "fetch-events", "aggregate", "sink-clickhouse", "sink-iceberg", "api", "notify", "m7pulse"}

const stage = root + "/.build/stage"

// program is what func's builder made of a staged folder.
func program(t *testing.T, name string) string {
	t.Helper()
	path, err := filepath.Abs(filepath.Join(stage, name, ".func/build/result/f.linux.amd64"))
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// described is what the func.yaml of a staged folder says.
func described(t *testing.T, name string) fn.Function {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join(stage, name))
	if err != nil {
		t.Fatal(err)
	}
	f, err := fn.NewFunction(dir)
	if err != nil || !f.Initialized() {
		t.Fatalf("%s: %v; initialized %v", name, err, f.Initialized())
	}
	return f
}

func TestFuncBuildsWhatIsStaged(t *testing.T) {
	t.Setenv("GOWORK", "off")
	t.Setenv("GOFLAGS", `-mod=mod -trimpath -tags=grpcnotrace "-ldflags=-s -w"`) // as make deploy
	for _, name := range staged {
		dir, err := filepath.Abs(filepath.Join(stage, name))
		if err != nil {
			t.Fatal(err)
		}
		f := described(t, name)
		f.Build.Image = "example.com/m7pulse/" + name
		began := time.Now()
		if err := oci.NewBuilder("host", false).Build(t.Context(), f, []fn.Platform{{OS: "linux", Architecture: "amd64"}}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		took := time.Since(began)
		image := amd64(t, filepath.Join(dir, ".func/build/oci"))
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if user := config.Config.User; user == "" || strings.HasPrefix(user, "0") || strings.HasPrefix(user, "root") {
			t.Errorf("%s: the image runs as %q", name, user)
		}
		info, err := os.Stat(program(t, name))
		if err != nil {
			t.Fatal(err)
		}
		// The sources come along; a shell, or anything else that runs, does not.
		if got := executables(t, image); !slices.Equal(got, []string{"/func/f"}) {
			t.Errorf("%s: the image can run %v, want the function alone", name, got)
		}
		t.Logf("%-16s program %5.1f MB, image %5.1f MB compressed, built in %s", name, float64(info.Size())/1e6, compressed(t, image), took.Round(time.Second))
	}
}

// compressed is the size of an image's layers, in MB.
func compressed(t *testing.T, image v1.Image) (mb float64) {
	t.Helper()
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	for _, l := range layers {
		n, err := l.Size()
		if err != nil {
			t.Fatal(err)
		}
		mb += float64(n) / 1e6
	}
	return mb
}

// amd64 is the image of the platform in a layout on disk.
func amd64(t *testing.T, dir string) v1.Image {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range manifest.Manifests {
		if m.MediaType.IsIndex() {
			if index, err = index.ImageIndex(m.Digest); err != nil {
				t.Fatal(err)
			}
			if manifest, err = index.IndexManifest(); err != nil {
				t.Fatal(err)
			}
		}
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

// Ko builds what cmd/functions has, here against a registry and a base of the
// test's own: the base that .ko.yaml names is not asked for.
func TestKoBuildsImages(t *testing.T) {
	server := httptest.NewServer(registry.New(registry.Logger(log.New(io.Discard, "", 0))))
	defer server.Close()
	at := strings.TrimPrefix(server.URL, "http://")
	base, err := mutate.ConfigFile(empty.Image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", RootFS: v1.RootFS{Type: "layers"}, Config: v1.Config{User: "65532"}})
	if err != nil {
		t.Fatal(err)
	}
	if err := crane.Push(base, at+"/base:1"); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("go", "run", "github.com/google/ko@v0.18.0", "build", "--base-import-paths", "--tags", "dev", "--platform", "linux/amd64", "--sbom", "none", "./cmd/functions/fetch-org", "./cmd/functions/fetch-events", "./cmd/functions/aggregate", "./cmd/functions/sink-clickhouse", "./cmd/functions/sink-iceberg", "./cmd/functions/api", "./cmd/functions/notify", "./cmd/all-in-one")
	cmd.Dir = root
	cmd.Env = append(slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "GOWORK=") }), "KO_DOCKER_REPO="+at, "KO_DEFAULTBASEIMAGE="+at+"/base:1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("ko: %v\n%s", err, out)
	}
	for _, name := range []string{"fetch-org", "fetch-events", "aggregate", "sink-clickhouse", "sink-iceberg", "api", "notify", "all-in-one"} {
		image, err := crane.Pull(at + "/" + name + ":dev")
		if err != nil {
			t.Fatal(err)
		}
		config, err := image.ConfigFile()
		if err != nil {
			t.Fatal(err)
		}
		if config.Config.User != "65532" {
			t.Errorf("%s runs as %q", name, config.Config.User)
		}
		if got := executables(t, image); !slices.Equal(got, []string{"/ko-app/" + name}) {
			t.Errorf("%s: the image can run %v, want the function alone", name, got)
		}
		t.Logf("%-16s image %5.1f MB compressed, without its base", name, compressed(t, image))
	}
}

// bench is a stack whose servers are up and whose sources are not, so that
// nobody but the test rings its functions.
type bench struct {
	t    *testing.T
	dir  string   // manifests without sources and ticks
	env  []string // of pulse
	told []string // where the servers are
	self string
}

func newBench(t *testing.T) *bench {
	t.Helper()
	b := &bench{t: t, dir: t.TempDir()}
	for _, name := range []string{"infra/knative/config.yaml", "infra/knative/namespace.yaml", "infra/knative/topics.yaml", "functions/fetch-org/func.yaml", "functions/fetch-events/func.yaml", "functions/aggregate/func.yaml", "functions/sink-clickhouse/func.yaml", "functions/sink-iceberg/func.yaml", "functions/api/func.yaml", "functions/notify/func.yaml", "owners.yaml"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		b.write(name, text)
	}
	b.write("infra/knative/kustomization.yaml", []byte("apiVersion: kustomize.config.k8s.io/v1beta1\nkind: Kustomization\nresources: [config.yaml, namespace.yaml, topics.yaml]\n"))
	b.write("infra/knative/sources.yaml", []byte("# None: the test rings.\n"))
	var err error
	if b.self, err = filepath.Abs(root + "/bin/pulse"); err != nil {
		t.Fatal(err)
	}
	for _, v := range os.Environ() {
		if name, _, _ := strings.Cut(v, "="); name != "GOWORK" && name != "GITHUB_TOKEN" && !strings.HasPrefix(name, "KAFKA_") && !strings.HasSuffix(name, "_URL") {
			b.env = append(b.env, v)
		}
	}
	b.env = append(b.env, "PULSE_HOME="+filepath.Join(b.dir, "home"))
	t.Cleanup(func() { b.pulse("down") })
	b.pulse("up", "--detach", "--empty", "--idle-after", "1s")
	text, err := os.ReadFile(filepath.Join(b.dir, "home/env"))
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Fields(string(text)) {
		b.told = append(b.told, strings.ReplaceAll(line, "'", ""))
	}
	b.env = append(b.env, b.told...)
	// Its own sinks were woken once and hold a lease until they are idle.
	b.until(time.Minute, "the stack's own functions are stopped", func() bool {
		var status struct {
			Functions []struct{ PID int } `json:"functions"`
		}
		if err := json.Unmarshal(b.pulse("status", "--json"), &status); err != nil {
			t.Fatal(err)
		}
		for _, f := range status.Functions {
			if f.PID != 0 {
				return false
			}
		}
		return len(status.Functions) == len(staged)-1 // all but the all-in-one
	})
	return b
}

func (b *bench) write(name string, text []byte) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, text, 0o644); err != nil {
		b.t.Fatal(err)
	}
}

func (b *bench) pulse(args ...string) []byte {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.self, args...)
	cmd.Dir, cmd.Env = b.dir, b.env
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.t.Errorf("pulse %v: %v\n%s%s", args, err, out, stderr.Bytes())
	}
	return out
}

// period is short, because it is a part of every cold start.
const period = 3 * time.Millisecond

func (b *bench) until(limit time.Duration, what string, ok func() bool) {
	b.t.Helper()
	for end := time.Now().Add(limit); !ok(); time.Sleep(period) {
		if time.Now().After(end) {
			b.t.Fatalf("not within %s: %s", limit, what)
		}
	}
}

// hosted is a function in func's own main.
type hosted struct {
	b     *bench
	name  string
	url   string
	cmd   *exec.Cmd
	began time.Time
	ready time.Duration
	log   bytes.Buffer
}

// start runs a function as a process.
func (b *bench) start(name string) *hosted {
	b.t.Helper()
	return b.host(name, func(settings []string) *exec.Cmd {
		cmd := exec.Command(program(b.t, name))
		cmd.Env = settings
		return cmd
	})
}

// host runs the command that is made of a function's settings, and waits until
// the function is ready.
func (b *bench) host(name string, command func(settings []string) *exec.Cmd) *hosted {
	b.t.Helper()
	address := net.JoinHostPort("127.0.0.1", freePort(b.t))
	// What func.yaml leaves to a ConfigMap or Secret stands in the image as it is
	// written there, until somebody fills it in.
	var settings []string
	for _, e := range described(b.t, name).Run.Envs {
		value := *e.Value
		if strings.Contains(value, "{{") {
			value = ""
		}
		settings = append(settings, *e.Name+"="+value)
	}
	settings = append(append(settings, b.told...), "LISTEN_ADDRESS="+address, "TZ=UTC", "KAFKA_TLS=false", "GITHUB_TOKEN=ghp_of_nobody", "OWNERS=acme", "GITHUB_GRAPHQL_URL=http://127.0.0.1:1/graphql",
		"SINK_ICEBERG_INTERVAL=1s", "SINK_ICEBERG_QUIET=100ms")
	h := &hosted{b: b, name: name, url: "http://" + address, cmd: command(settings)}
	h.cmd.Stdout, h.cmd.Stderr = &h.log, &h.log
	h.began = time.Now()
	if err := h.cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = h.cmd.Process.Kill()
		_ = h.cmd.Wait()
		if b.t.Failed() {
			b.t.Logf("%s:\n%s", name, head(h.log.String()))
		}
	})
	for _, probe := range []string{"/health/liveness", "/health/readiness"} {
		b.until(20*time.Second, name+" answers "+probe, func() bool {
			r, err := http.Get(h.url + probe)
			if err != nil {
				return false
			}
			defer r.Body.Close()
			return r.StatusCode == 200
		})
	}
	h.ready = time.Since(h.began)
	return h
}

// stop ends it as Knative does, and fails if it does not take its leave.
func (h *hosted) stop() {
	h.b.t.Helper()
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		h.b.t.Fatal(err)
	}
	gone := make(chan error, 1)
	go func() { gone <- h.cmd.Wait() }()
	select {
	case err := <-gone:
		if err != nil {
			h.b.t.Errorf("%s: %v after SIGTERM\n%s", h.name, err, h.log.String())
		}
	case <-time.After(35 * time.Second):
		h.b.t.Fatalf("%s is still there 35 s after SIGTERM", h.name)
	}
}

// request is one POST.
type request struct {
	typ, contentType, body string
	extensions             map[string]string
}

func tick(do string) request {
	return request{typ: "dev.knative.sources.ping", contentType: "application/json", body: `{"do":"` + do + `"}`}
}

func observation(id int) request {
	at := time.Date(2026, 11, 1, 0, 0, 0, 0, time.UTC).Add(time.Duration(id) * time.Second).Format(time.RFC3339)
	return request{typ: "dev.m7pulse.repo.observed.v1", contentType: "application/json", body: fmt.Sprintf(
		`{"repo_id":%d,"name_with_owner":"acme/r%d","owner":"acme","owner_type":"Organization","name":"r%d","languages":[],"topics":[],"is_fork":false,"is_archived":false,"stars":%d,"observed_at":%q,"sweep_id":"2026-11-01T00:00:00Z","source":"hand"}`,
		id, id, id, id, at)}
}

// post sends all requests over 64 connections and counts the answers by status;
// 0 counts what was never answered.
func (h *hosted) post(requests []request) map[int]int {
	client := &http.Client{Timeout: 40 * time.Second, Transport: &http.Transport{MaxConnsPerHost: 64, MaxIdleConnsPerHost: 64}}
	defer client.CloseIdleConnections()
	next := make(chan request)
	var mu sync.Mutex
	answers := map[int]int{}
	var group sync.WaitGroup
	for range 64 {
		group.Go(func() {
			for q := range next {
				status := 0
				r, err := http.NewRequest(http.MethodPost, h.url, strings.NewReader(q.body))
				if err == nil {
					for k, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "1", "Ce-Source": "/test", "Ce-Type": q.typ, "Content-Type": q.contentType} {
						r.Header.Set(k, v)
					}
					for k, v := range q.extensions {
						r.Header.Set("Ce-"+k, v)
					}
					var answer *http.Response
					if answer, err = client.Do(r); err == nil {
						if _, err = io.Copy(io.Discard, answer.Body); err == nil {
							status = answer.StatusCode
						}
						answer.Body.Close()
					}
				}
				mu.Lock()
				answers[status]++
				mu.Unlock()
			}
		})
	}
	for _, q := range requests {
		next <- q
	}
	close(next)
	group.Wait()
	return answers
}

func TestStagedFunctionsServeUnderFuncsHost(t *testing.T) {
	b := newBench(t)
	const each = 1920 // 30 for each connection
	var observations, wakes, broken []request
	for n := range each {
		observations = append(observations, observation(n+1))
		broken = append(broken, request{typ: "dev.m7pulse.repo.observed.v1", contentType: "application/json", body: `{"repo_id":`})
	}
	for range 128 {
		wakes = append(wakes, tick("wake"))
	}
	expect := func(h *hosted, requests []request, status int) {
		t.Helper()
		began := time.Now()
		got := h.post(requests)
		if got[status] != len(requests) {
			t.Errorf("%s: answers by status %v, want %d times %d\n%s", h.name, got, len(requests), status, head(h.log.String()))
		}
		t.Logf("%-16s %d requests of one kind over 64 connections: %v in %s", h.name, len(requests), got, time.Since(began).Round(time.Millisecond))
	}

	aggregate := b.start("aggregate")
	expect(aggregate, observations, 204)
	expect(aggregate, broken, 422)
	expect(aggregate, wakes, 204)

	fetch := b.start("fetch-org")
	expect(fetch, []request{tick("sweep"), tick("sweep")}, 204)
	expect(fetch, broken, 422)

	hot, cold := b.start("sink-clickhouse"), b.start("sink-iceberg")
	expect(hot, wakes, 204)
	expect(cold, wakes, 204)
	b.audited(each)

	// SIGTERM with 64 bells that wait for a record which is not there: each is
	// answered before the process ends.
	var bells []request
	for range 64 {
		bells = append(bells, request{typ: "dev.m7pulse.repo.observed.v1", contentType: "application/json", body: "{}",
			extensions: map[string]string{"kafkatopic": "github.base_repos", "knativekafkapartition": "0", "knativekafkaoffset": "1000000"}})
	}
	answered := make(chan map[int]int)
	go func() { answered <- aggregate.post(bells) }()
	time.Sleep(time.Second)
	began := time.Now()
	aggregate.stop()
	if got := <-answered; got[204]+got[503] != len(bells) {
		t.Errorf("aggregate on SIGTERM: answers by status %v, want %d of 204 or 503", got, len(bells))
	} else {
		t.Logf("%-16s gone %s after SIGTERM with 64 requests in flight: %v", "aggregate", time.Since(began).Round(time.Millisecond), got)
	}
	fetch.stop()
	hot.stop()
	cold.stop()

	// All four in one, on the same data.
	var more []request
	for n := range 640 {
		more = append(more, observation(each+n+1))
	}
	all := b.start("m7pulse")
	expect(all, more, 204)
	expect(all, broken, 422)
	expect(all, wakes[:64], 204)
	b.audited(each + len(more))
	all.stop()
}

// audited waits until both stores hold n observations, then asks the audit.
func (b *bench) audited(n int) {
	b.t.Helper()
	var account struct {
		Observations, Clickhouse, Duplicates int
		Processed                            int `json:"iceberg_processed"`
		Clean                                bool
	}
	if err := json.Unmarshal(b.pulse("audit", "--json"), &account); err != nil {
		b.t.Fatal(err)
	}
	if !account.Clean || account.Observations != n || account.Clickhouse != n || account.Processed != n || account.Duplicates != 0 {
		b.t.Errorf("audit: %+v, want %d of each, clean", account, n)
	}
}

// head is what a log begins with: the first faults explain the rest.
func head(text string) string {
	lines := strings.Split(text, "\n")
	return strings.Join(lines[:min(20, len(lines))], "\n")
}

// executables are the files of an image that can be run.
func executables(t *testing.T, image v1.Image) (out []string) {
	t.Helper()
	flat := mutate.Extract(image)
	defer flat.Close()
	for r := tar.NewReader(flat); ; {
		h, err := r.Next()
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag == tar.TypeReg && h.Mode&0o111 != 0 {
			out = append(out, h.Name)
		}
	}
}
