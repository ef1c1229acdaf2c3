//go:build integration

package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// superset is one that is up, and who is logged in there.
type superset struct{ base, token, password string }

// withSuperset brings the stack up again, now with dashboards.
func (p *pulse) withSuperset(t *testing.T, env ...string) *superset {
	t.Helper()
	p.run("down")
	before := p.env
	p.env = slices.Concat(before, env)
	p.run("up", "--detach", "--empty", "--superset")
	p.env = before
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
	s.password = strings.TrimSpace(string(password))
	s.call(t, http.MethodPost, "/api/v1/security/login", map[string]any{"username": "admin", "password": s.password, "provider": "db"}, &login)
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

// look opens a dashboard in a browser, or a tab of one, dashboard#tab: so many charts
// are drawn, with these texts on screen and no error. With SCREENSHOTS it leaves a
// picture there.
func (s *superset) look(t *testing.T, dashboard string, charts int, texts ...string) {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Logf("SKIPPED: %s in a browser: %v", dashboard, err)
		return
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.WindowSize(1440, 1200))
	allocated, stop := chromedp.NewExecAllocator(t.Context(), options...)
	defer stop()
	browser, closeTab := chromedp.NewContext(allocated)
	defer closeTab()
	browser, end := context.WithTimeout(browser, 5*time.Minute)
	defer end()
	var shown string
	var boxes int
	var found bool
	slug, tab, _ := strings.Cut(dashboard, "#")
	var picture []byte
	err = chromedp.Run(browser,
		chromedp.Navigate(s.base+"/login/"), chromedp.WaitVisible("#username"), chromedp.SendKeys("#username", "admin"),
		chromedp.SendKeys("#password", s.password+"\r"), chromedp.WaitNotPresent("#password"), chromedp.WaitVisible("#main-menu, .ant-menu"),
		chromedp.Navigate(s.base+"/superset/dashboard/"+slug+"/"),
		chromedp.WaitVisible("[data-test=grid-content], .slice_container"),
		chromedp.Poll(fmt.Sprintf(`(wanted => { const tab = [...document.querySelectorAll("[role=tab]")].find(e => e.innerText.includes(wanted)); tab?.click(); return tab !== undefined || wanted == "" })(%q)`, tab),
			&found, chromedp.WithPollingTimeout(time.Minute), chromedp.WithPollingInterval(time.Second)),
		chromedp.Poll(fmt.Sprintf(`document.querySelectorAll(".slice_container").length == %d && document.querySelectorAll(".loading, [data-test=loading-indicator]").length == 0`, charts),
			nil, chromedp.WithPollingTimeout(3*time.Minute), chromedp.WithPollingInterval(100*time.Millisecond)),
		chromedp.Sleep(time.Second), // a chart grows into its place
		chromedp.Evaluate(`document.querySelectorAll(".ant-alert-error, [data-test=ErrorAlert]").length`, &boxes),
		chromedp.Evaluate(`document.body.innerText`, &shown), chromedp.EmulateViewport(1440, 2600), chromedp.Sleep(2*time.Second), chromedp.CaptureScreenshot(&picture))
	if err != nil || boxes != 0 {
		t.Errorf("%s in a browser: %v, %d errors; it shows %.2000q", dashboard, err, boxes, shown)
		return
	}
	for _, text := range texts {
		if !strings.Contains(shown, text) {
			t.Errorf("%s does not show %q: %.2000q", dashboard, text, shown)
		}
	}
	if dir := os.Getenv("SCREENSHOTS"); dir != "" {
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, dashboard+".png"), picture, 0o644)); err != nil {
			t.Error(err)
		}
	}
}

// names are those of columns or metrics: kinds of charts that take one write no list.
type names []string

// UnmarshalJSON reads a list, or one name.
func (n *names) UnmarshalJSON(b []byte) error {
	var one string
	if json.Unmarshal(b, &one) == nil {
		*n = names{one}
		return nil
	}
	return json.Unmarshal(b, (*[]string)(n))
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
				Metrics    names    `json:"metrics"`
				Metric     names    `json:"metric"`
				GroupBy    names    `json:"groupby"`
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
		if metrics := slices.Concat(c.Form.Metrics, c.Form.Metric); len(metrics) != 0 {
			query["metrics"] = metrics
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
