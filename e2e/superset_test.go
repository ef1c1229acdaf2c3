//go:build integration

package e2e

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// superset is one that is up, and who is logged in there.
type superset struct{ base, token string }

// withSuperset brings the stack up again, now with dashboards and their Trino.
func (p *pulse) withSuperset(t *testing.T, addresses []string) *superset {
	t.Helper()
	p.run("down")
	env := p.env
	p.env = slices.Concat(env, addresses, []string{"TRINO_URL=http://reader@127.0.0.1:" + port("TRINO_PORT", "18080")})
	p.run("up", "--detach", "--empty", "--superset")
	p.env = env
	s := &superset{}
	for began := time.Now(); s.base == ""; time.Sleep(200 * time.Millisecond) {
		text, err := os.ReadFile(filepath.Join(p.home, "log", "up.log"))
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte("No dashboards")) || bytes.Contains(text, []byte("Trino does not answer")) || time.Since(began) > 15*time.Minute {
			t.Fatalf("%s", text)
		}
		if up := regexp.MustCompile(`Superset is up: (\S+)`).FindSubmatch(text); up != nil {
			s.base = string(up[1])
		}
	}
	password, err := os.ReadFile(filepath.Join(p.home, "superset", "admin-password"))
	if err != nil {
		t.Fatal(err)
	}
	var login struct {
		Token string `json:"access_token"`
	}
	s.call(t, http.MethodPost, "/api/v1/security/login", map[string]any{"username": "admin", "password": strings.TrimSpace(string(password)), "provider": "db"}, &login)
	s.token = login.Token
	return s
}

func (s *superset) call(t *testing.T, method, path string, body, answer any) {
	t.Helper()
	send, err := json.Marshal(body)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(t.Context(), method, s.base+path, bytes.NewReader(send))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/json")
	if s.token != "" {
		req.Header.Set("Authorization", "Bearer "+s.token)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: %v %s %s", method, path, err, resp.Status, text)
	}
	if err := json.Unmarshal(text, answer); err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
}

// rows asks for what each chart of a dashboard shows, by the chart's name, and
// not for what is cached.
func (s *superset) rows(t *testing.T, dashboard string) map[string][]map[string]any {
	t.Helper()
	var charts struct {
		Result []struct {
			Name string `json:"slice_name"`
			Form struct {
				Datasource string   `json:"datasource"` // such as 12__table
				Metrics    []string `json:"metrics"`
				GroupBy    []string `json:"groupby"`
				AllColumns []string `json:"all_columns"`
				XAxis      string   `json:"x_axis"`
				Grain      string   `json:"time_grain_sqla"`
			} `json:"form_data"`
		}
	}
	s.call(t, http.MethodGet, "/api/v1/dashboard/"+dashboard+"/charts", nil, &charts)
	rows := map[string][]map[string]any{}
	for _, c := range charts.Result {
		columns := []any{}
		for _, name := range slices.Concat(c.Form.GroupBy, c.Form.AllColumns) {
			columns = append(columns, name)
		}
		if c.Form.XAxis != "" {
			columns = append(columns, map[string]any{"columnType": "BASE_AXIS", "expressionType": "SQL", "sqlExpression": c.Form.XAxis, "label": c.Form.XAxis, "timeGrain": c.Form.Grain})
		}
		id, _, _ := strings.Cut(c.Form.Datasource, "__")
		number, err := strconv.Atoi(id)
		if err != nil {
			t.Fatalf("%s: datasource %q", c.Name, c.Form.Datasource)
		}
		query := map[string]any{"columns": columns, "row_limit": 10_000}
		if len(c.Form.Metrics) != 0 {
			query["metrics"] = c.Form.Metrics
		}
		var answer struct {
			Result []struct{ Data []map[string]any }
		}
		s.call(t, http.MethodPost, "/api/v1/chart/data", map[string]any{
			"datasource": map[string]any{"id": number, "type": "table"}, "force": true, "queries": []any{query},
		}, &answer)
		if len(answer.Result) != 1 {
			t.Fatalf("%s: %d answers", c.Name, len(answer.Result))
		}
		rows[c.Name] = answer.Result[0].Data
	}
	return rows
}
