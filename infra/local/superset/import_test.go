//go:build integration

package superset_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/superset"
)

// person is logged in to a Superset.
type person struct {
	t      *testing.T
	base   string
	client *http.Client
	token  string
	csrf   string
}

func (p *person) call(method, path string, body, answer any) {
	p.t.Helper()
	var send io.Reader
	if body != nil {
		b, err := json.Marshal(body)
		if err != nil {
			p.t.Fatal(err)
		}
		send = bytes.NewReader(b)
	}
	req, err := http.NewRequest(method, p.base+path, send)
	if err != nil {
		p.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Referer", p.base)
	if p.token != "" {
		req.Header.Set("Authorization", "Bearer "+p.token)
		req.Header.Set("X-CSRFToken", p.csrf)
	}
	resp, err := p.client.Do(req)
	if err != nil {
		p.t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode >= 300 {
		p.t.Fatalf("%s %s: %s %s", method, path, resp.Status, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		p.t.Fatalf("%s %s: %v", method, path, err)
	}
}

// charts are the names of all charts.
func (p *person) charts() (names []string) {
	p.t.Helper()
	var list struct {
		Result []struct {
			Name string `json:"slice_name"`
		}
	}
	p.call("GET", "/api/v1/chart/?q=(page_size:500)", nil, &list)
	for _, c := range list.Result {
		names = append(names, c.Name)
	}
	return names
}

// serve runs Superset with the dashboards of a folder until stop is called.
func serve(t *testing.T, source, dir string) (p *person, stop func()) {
	t.Helper()
	cache := os.Getenv("PULSE_CACHE")
	if cache == "" {
		home, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		cache = filepath.Join(home, "m7pulse")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := free.Addr().(*net.TCPAddr).Port
	free.Close()
	cfg := superset.Config{Source: source, Dir: dir, Cache: cache, ClickHouse: must(t, "CLICKHOUSE_READER_URL"), Port: port, Say: func(string, ...any) {}}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- superset.Run(ctx, cfg) }()
	stop = func() { cancel(); <-done }
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	p = &person{t: t, base: fmt.Sprintf("http://127.0.0.1:%d", port), client: &http.Client{Jar: jar, Timeout: time.Minute}}
	for began := time.Now(); ; time.Sleep(200 * time.Millisecond) {
		select {
		case err := <-done:
			t.Fatalf("superset: %v", err)
		default:
		}
		if resp, err := p.client.Get(p.base + "/health"); err == nil {
			resp.Body.Close()
			break
		}
		if time.Since(began) > 5*time.Minute {
			t.Fatal("superset does not come up")
		}
	}
	password, err := os.ReadFile(cfg.PasswordFile())
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(cfg.PasswordFile()); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the password's file is %v, %v", info.Mode(), err)
	}
	var login struct {
		Token string `json:"access_token"`
	}
	p.call("POST", "/api/v1/security/login", map[string]any{"username": superset.AdminUser, "password": strings.TrimSpace(string(password)), "provider": "db"}, &login)
	p.token = login.Token
	var csrf struct{ Result string }
	p.call("GET", "/api/v1/security/csrf_token/", nil, &csrf)
	p.csrf = csrf.Result
	return p, stop
}

func TestAnImportReplacesOurChartsAndLeavesThoseOfPeople(t *testing.T) {
	source, dir := filepath.Join(t.TempDir(), "superset"), t.TempDir()
	if err := os.CopyFS(source, os.DirFS("../../superset")); err != nil {
		t.Fatal(err)
	}
	freshness, err := os.ReadFile(filepath.Join(source, "bundle/charts/freshness.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	gone := filepath.Join(source, "bundle/charts/gone.yaml")
	text := strings.NewReplacer("Freshness and completeness", "Gone tomorrow", "9bc804f0-15fe-54d3-aa50-55cbf7b1a506", "9bc804f0-15fe-54d3-aa50-000000000001").Replace(string(freshness))
	if err := os.WriteFile(gone, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}

	p, stop := serve(t, source, dir)
	before := p.charts()
	if !slices.Contains(before, "Gone tomorrow") {
		t.Fatalf("charts: %q", before)
	}
	var datasets struct{ IDs []int }
	p.call("GET", "/api/v1/dataset/", nil, &datasets)
	p.call("POST", "/api/v1/chart/", map[string]any{"slice_name": "Made by a person", "viz_type": "table", "datasource_id": datasets.IDs[0], "datasource_type": "table"}, &struct{}{})
	stop()

	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	p, stop = serve(t, source, dir)
	defer stop()
	after := p.charts()
	if slices.Contains(after, "Gone tomorrow") || !slices.Contains(after, "Made by a person") || len(after) != len(before) {
		t.Errorf("%d charts before, after: %d, %q", len(before), len(after), after)
	}
}
