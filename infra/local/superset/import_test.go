//go:build integration

package superset_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/infra/local/superset"
	"github.com/m7pulse/m7pulse/shared/download"
	"github.com/m7pulse/m7pulse/shared/freeport"
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

// names are those of all charts, datasets, databases or dashboards.
func (p *person) names(kind, field string) (names []string) {
	p.t.Helper()
	var list struct{ Result []map[string]any }
	p.call("GET", "/api/v1/"+kind+"/?q=(page_size:500)", nil, &list)
	for _, item := range list.Result {
		names = append(names, fmt.Sprint(item[field]))
	}
	return names
}

// serve runs Superset with the dashboards of a folder until stop is called.
func serve(t *testing.T, source, dir, trino string) (p *person, stop func()) {
	t.Helper()
	cache, err := download.Dir()
	if err != nil {
		t.Fatal(err)
	}
	port, err := freeport.Find()
	if err != nil {
		t.Fatal(err)
	}
	cfg := superset.Config{Source: source, Dir: dir, Cache: cache, ClickHouse: must(t, "CLICKHOUSE_READER_URL"), Trino: trino, Port: port, Say: func(string, ...any) {}}
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

// standIn answers each question with one name, as Trino does: an import asks for
// no more than which catalogs, schemas and tables there are.
func standIn(t *testing.T) *httptest.Server {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprint(w, `{"id": "1", "infoUri": "", "stats": {"state": "FINISHED"}, "data": [["iceberg"]],
			"columns": [{"name": "name", "type": "varchar", "typeSignature": {"rawType": "varchar", "arguments": [{"kind": "LONG", "value": 99}]}}]}`)
	}))
	t.Cleanup(s.Close)
	return s
}

func TestAnImportReplacesWhatIsOursAndLeavesWhatPeopleMade(t *testing.T) {
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

	repository := filepath.Join(source, "bundle/dashboards/repository.yaml")
	shown := func(p *person) string {
		var dashboard struct {
			Result struct {
				Metadata string `json:"json_metadata"`
			}
		}
		p.call("GET", "/api/v1/dashboard/pulse-repository", nil, &dashboard)
		var metadata struct {
			Filters []struct {
				ID   string
				Mask struct{ FilterState struct{ Value []string } } `json:"defaultDataMask"`
			} `json:"native_filter_configuration"`
		}
		if err := json.Unmarshal([]byte(dashboard.Result.Metadata), &metadata); err != nil {
			t.Fatal(err)
		}
		for _, f := range metadata.Filters {
			if f.ID == "NATIVE_FILTER-repository" {
				return strings.Join(f.Mask.FilterState.Value, ", ")
			}
		}
		return ""
	}

	trino := standIn(t)
	address := strings.Replace(trino.URL, "http://", "http://reader@", 1)
	p, stop := serve(t, source, dir, address)
	before := p.names("chart", "slice_name")
	if !slices.Contains(before, "Gone tomorrow") || !slices.Contains(before, "Where the stores differ") {
		t.Fatalf("charts: %q", before)
	}
	if got := shown(p); got != "google-gemini/gemini-cli" {
		t.Errorf("the dashboard of a repository opens with %q", got)
	}
	var datasets struct{ IDs []int }
	p.call("GET", "/api/v1/dataset/?q=(filters:!((col:table_name,opr:eq,value:daily)))", nil, &datasets)
	p.call("POST", "/api/v1/chart/", map[string]any{"slice_name": "Made by a person", "viz_type": "table", "datasource_id": datasets.IDs[0], "datasource_type": "table"}, &struct{}{})
	stop()

	// Trino is away: all else is replaced, and what it has stays.
	trino.Close()
	if err := os.Remove(gone); err != nil {
		t.Fatal(err)
	}
	p, stop = serve(t, source, dir, address)
	after := p.names("chart", "slice_name")
	if slices.Contains(after, "Gone tomorrow") || !slices.Contains(after, "Made by a person") || !slices.Contains(after, "Where the stores differ") || len(after) != len(before) {
		t.Errorf("%d charts before, after: %d, %q", len(before), len(after), after)
	}
	stop()

	// There is no Trino any more, and the data lacks the repository that is chosen.
	if text, err := os.ReadFile(repository); err != nil {
		t.Fatal(err)
	} else if err := os.WriteFile(repository, bytes.ReplaceAll(text, []byte("google-gemini/gemini-cli"), []byte("nobody/nothing")), 0o600); err != nil {
		t.Fatal(err)
	}
	p, stop = serve(t, source, dir, "")
	defer stop()
	if got := shown(p); got != "facebook/react" {
		t.Errorf("the dashboard of a repository opens with %q, want the one with the most stars", got)
	}
	charts, datasetNames := p.names("chart", "slice_name"), p.names("dataset", "table_name")
	if slices.Contains(charts, "Where the stores differ") || !slices.Contains(charts, "Made by a person") || slices.Contains(datasetNames, "differences") || !slices.Contains(datasetNames, "daily") {
		t.Errorf("charts %q, datasets %q", charts, datasetNames)
	}
	if got := p.names("database", "database_name"); !slices.Equal(got, []string{"M7 Pulse ClickHouse"}) {
		t.Errorf("databases: %q", got)
	}
	if got := p.names("dashboard", "dashboard_title"); len(got) != 4 {
		t.Errorf("dashboards: %q", got)
	}

	// The recording has no pull requests, and nothing will read them. A live reading brings their chart, while Superset runs.
	const chart = "Pull requests a day"
	charted := func() bool {
		var list struct {
			Result []struct {
				Name string `json:"slice_name"`
			}
		}
		p.call("GET", "/api/v1/dashboard/pulse-repository/charts", nil, &list)
		if len(list.Result) < 10 {
			t.Fatalf("charts: %v", list.Result)
		}
		for _, c := range list.Result {
			if c.Name == chart {
				return true
			}
		}
		return false
	}
	if charted() {
		t.Errorf("%s is shown, though nothing has read any", chart)
	}
	observe(t, "live", map[string]any{"repo_id": 667, "name_with_owner": "live/first", "company": "", "stars": 1, "open_prs": 1, "merged_prs": 1, "closed_prs": 1, "observed_at": time.Now().UTC(), "source": "github"})
	for deadline := time.Now().Add(4 * time.Minute); !charted(); time.Sleep(time.Second) {
		if time.Now().After(deadline) {
			t.Fatalf("%s is not shown, though a sweep has read some", chart)
		}
	}
}
