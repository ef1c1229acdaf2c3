//go:build integration

package main

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// exchange is a request that is sent to a function on both sides.
type exchange struct {
	name, function string
	method, path   string // POST and / unless given
	header         map[string]string
	body           func() io.Reader
	atOnce         int // how many are sent at the same time; 1 unless given
}

func text(s string) func() io.Reader { return func() io.Reader { return strings.NewReader(s) } }

// slowly gives a body in five parts, over five seconds.
func slowly(s string) func() io.Reader {
	return func() io.Reader {
		r, w := io.Pipe()
		go func() {
			for part := range slices.Chunk([]byte(s), len(s)/4) {
				time.Sleep(time.Second)
				_, _ = w.Write(part)
			}
			_ = w.Close()
		}()
		return r
	}
}

// script is what a source, a person and a scanner may send.
var script = []exchange{
	{name: "64 wakes at once, from zero", function: "aggregate", body: text(`{"do":"wake"}`), atOnce: 64},
	{name: "64 reads at once, from zero", function: "api", method: http.MethodGet, path: "/api/v1/owners?limit=1", atOnce: 64},
	{name: "a wake", function: "sink-clickhouse", body: text(`{"do":"wake"}`)},
	{name: "a wake whose body comes in five seconds", function: "sink-clickhouse", body: slowly(`{"do":"wake"}`)},
	{name: "an unknown order", function: "fetch-org", body: text(`{"do":"dance"}`)},
	{name: "no JSON", function: "fetch-org", body: text(`{"do":`)},
	{name: "an event of an unknown type", function: "sink-iceberg", header: map[string]string{"Ce-Type": "com.example.unknown"}, body: text(`{}`)},
	{name: "an attribute that an event must have is missing", function: "aggregate", header: map[string]string{"Ce-Id": ""}, body: text(`{}`)},
	{name: "no event", function: "aggregate", header: map[string]string{"Ce-Specversion": ""}, body: text(`{}`)},
	{name: "a body of 1 MiB and a byte", function: "aggregate", body: text(strings.Repeat(" ", 1<<20+1))},
	{name: "a body of 40 MiB", function: "aggregate", body: func() io.Reader { return bytes.NewReader(make([]byte, 40<<20)) }},
	{name: "an attribute of 64 KiB", function: "aggregate", header: map[string]string{"Ce-Large": strings.Repeat("x", 64<<10)}, body: text(`{"do":"wake"}`)},
	{name: "an attribute of 2 MiB", function: "aggregate", header: map[string]string{"Ce-Large": strings.Repeat("x", 2<<20)}, body: text(`{"do":"wake"}`)},
	{name: "GET of a function that takes events", function: "aggregate", method: http.MethodGet},
	{name: "OPTIONS", function: "aggregate", method: http.MethodOptions},
	{name: "a path that is not there", function: "aggregate", path: "/nowhere", body: text(`{"do":"wake"}`)},
	{name: "its liveness, from outside", function: "aggregate", method: http.MethodGet, path: "/health/liveness"},
	{name: "its figures, from outside", function: "aggregate", method: http.MethodGet, path: "/metrics"},
	{name: "a page that is not there", function: "api", method: http.MethodGet, path: "/nowhere"},
}

// changing is what differs between any two answers.
var changing = regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}|\d{4}-\d\d-\d\dT[0-9:.]+Z|\b127\.0\.0\.1:\d+\b`)

// ask sends an exchange to an address, and returns its answers: each different one
// once, as its status and the begin of its text.
func (x exchange) ask(t *testing.T, base, host string) string {
	t.Helper()
	answers := make([]string, max(x.atOnce, 1))
	var all sync.WaitGroup
	for i := range answers {
		all.Go(func() { answers[i] = x.once(t, base, host) })
	}
	all.Wait()
	slices.Sort(answers)
	return strings.Join(slices.Compact(answers), "; ")
}

func (x exchange) once(t *testing.T, base, host string) string {
	var body io.Reader
	if x.body != nil {
		body = x.body()
	}
	method := x.method
	if method == "" {
		method = http.MethodPost
	}
	req, err := http.NewRequestWithContext(t.Context(), method, base+"/"+strings.TrimPrefix(x.path, "/"), body)
	if err != nil {
		t.Error(err)
		return ""
	}
	req.Host = host
	if x.body != nil {
		for name, value := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": "test", "Ce-Source": "/test", "Ce-Type": "dev.knative.sources.ping", "Content-Type": "application/json"} {
			req.Header.Set(name, value)
		}
	}
	for name, value := range x.header {
		if req.Header.Set(name, value); value == "" {
			req.Header.Del(name)
		}
	}
	answer, err := (&http.Client{Timeout: 2 * time.Minute}).Do(req)
	if err != nil {
		return "no answer"
	}
	defer answer.Body.Close()
	got, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err != nil {
		return fmt.Sprintf("%d, cut off", answer.StatusCode)
	}
	if answer.StatusCode/100 == 2 { // its text is what it has stored
		return fmt.Sprint(answer.StatusCode)
	}
	line, _, _ := strings.Cut(changing.ReplaceAllString(strings.TrimSpace(string(got)), "…"), "\n")
	return strings.TrimSpace(fmt.Sprintf("%d %.160s", answer.StatusCode, line))
}

// wantEmulated sends the script to the cluster and to the local runner, and wants the
// same answers.
func (b *bench) wantEmulated() {
	home := b.TempDir()
	pulse := func(args ...string) {
		b.Helper()
		cmd := exec.CommandContext(b.Context(), filepath.Join(b.root, "bin", "pulse"), args...)
		cmd.Dir, cmd.Env = b.root, []string{"PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "PULSE_HOME=" + home}
		if out, err := cmd.CombinedOutput(); err != nil {
			b.Fatalf("pulse %v: %v\n%s", args, err, out)
		}
	}
	pulse("up", "--detach", "--empty")
	defer pulse("down")
	text, err := os.ReadFile(filepath.Join(home, "env"))
	if err != nil {
		b.Fatal(err)
	}
	local := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		local[name] = strings.Trim(value, `'"`)
	}
	b.wantZero()
	for _, x := range script {
		variable := strings.ToUpper(strings.ReplaceAll(x.function, "-", "_")) + "_URL"
		here := x.ask(b.T, strings.TrimSuffix(local[variable], "/"), "")
		there := x.ask(b.T, "http://"+b.env["INGRESS"], x.function+".m7pulse.svc.cluster.local")
		if here != there {
			b.Errorf("%s: the cluster answers %q, the local runner %q", x.name, there, here)
		}
		b.Logf("%-50s %s", x.name, there)
	}
}
