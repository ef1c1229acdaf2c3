//go:build integration

package superset_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
)

// TestDashboards opens every dashboard of a stack in a real browser, as a person would. It needs chromium on PATH and a stack with Superset and the
// recording: SUPERSET_URL, SUPERSET_PASSWORD and CLICKHOUSE_READER_URL (`make integration` starts one). With SCREENSHOTS it leaves pictures there.
func TestDashboards(t *testing.T) {
	base, password, reader := must(t, "SUPERSET_URL"), must(t, "SUPERSET_PASSWORD"), must(t, "CLICKHOUSE_READER_URL")
	browser := logIn(t, base, password)
	var outside []string
	asked := &queries{}
	chromedp.ListenTarget(browser, func(event any) {
		asked.listen(event)
		if e, ok := event.(*network.EventResponseReceived); ok && strings.HasPrefix(e.Response.URL, "http") && !strings.HasPrefix(e.Response.URL, base) {
			outside = append(outside, e.Response.URL)
		}
	})

	for _, d := range dashboards() {
		for _, width := range []int64{1440, 1920} {
			t.Run(fmt.Sprintf("%s at %d", d.slug, width), func(t *testing.T) {
				for i := range d.tabs {
					var took time.Duration
					if i == 0 {
						took = d.open(t, browser, base, "", width)
					} else {
						took = d.turn(t, browser, i)
					}
					t.Logf("%s complete in %s", d.tabs[i].name, took.Round(time.Millisecond))
					asked.collect(t, browser, d.slug)
					var cut []string
					run(t, browser, chromedp.Evaluate(`[...document.querySelectorAll("[data-test=chart-grid-component]")].filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.innerText.slice(0, 40))`, &cut))
					if len(cut) != 0 {
						t.Errorf("cut at the right: %q", cut)
					}
					if dir := os.Getenv("SCREENSHOTS"); dir != "" {
						var picture []byte
						run(t, browser, chromedp.EmulateViewport(width, height(t, browser)), chromedp.Sleep(time.Second), chromedp.CaptureScreenshot(&picture), chromedp.EmulateViewport(width, 900))
						if err := os.MkdirAll(dir, 0o755); err != nil {
							t.Fatal(err)
						}
						if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%s-%d-%d.png", d.slug, i+1, width)), picture, 0o644); err != nil {
							t.Error(err)
						}
					}
				}
			})
		}
	}

	t.Run("the queries are those that are measured", asked.compare)

	t.Run("the values on screen are those of a query", func(t *testing.T) {
		d := dashboards()[organization]
		d.open(t, browser, base, "", 1440)
		if repos := ask(t, reader, "SELECT count() FROM pulse.github_processed_repos FINAL WHERE company = 'meta'"); !strings.Contains(text(t, browser, "Repositories"), repos) {
			t.Errorf("%s repositories are not in %q", repos, text(t, browser, "Repositories"))
		}
		d.turn(t, browser, 1)
		table := text(t, browser, "Totals and change")
		for _, counter := range []string{"stars", "forks", "open_issues"} {
			want := "+" + ask(t, reader, "SELECT sum("+counter+"_delta_7d) FROM pulse.github_processed_repos FINAL WHERE company = 'meta' AND observed_at > (SELECT max(observed_at) FROM pulse.github_processed_repos) - INTERVAL 3 DAY")
			if !strings.Contains(table, want) {
				t.Errorf("%s over 7 days: %s is not in %q", counter, want, table)
			}
		}
	})

	t.Run("a filter changes the charts", func(t *testing.T) {
		before := text(t, browser, "Top movers")
		filter := `(NATIVE_FILTER-company:(extraFormData:(filters:!((col:company,op:IN,val:!(Apple)))),filterState:(label:Apple,value:!(Apple)),id:NATIVE_FILTER-company,ownState:()))`
		dashboards()[organization].open(t, browser, base, "?native_filters="+url.QueryEscape(filter), 1440)
		after := text(t, browser, "Top movers")
		if before == after || !strings.Contains(after, "apple/container") || strings.Contains(after, "facebook/react") {
			t.Errorf("with Apple chosen: %q", after)
		}
	})

	t.Run("a click in a chart filters the others", func(t *testing.T) {
		d := dashboards()[market]
		d.open(t, browser, base, "", 1440)
		before := text(t, browser, "Breaking out")
		run(t, browser, chromedp.Click(`//*[@data-test="chart-grid-component"][.//*[text()="Breaking out"]]//td[text()="Alphabet"]`, chromedp.BySearch),
			chromedp.Sleep(2*time.Second))
		drawn(t, browser, d.tabs[0].charts)
		after := text(t, browser, "Most viral now")
		if strings.Contains(after, "microsoft/") || !strings.Contains(after, "flutter/flutter") {
			t.Errorf("after a click on Alphabet: %q (breaking out, before: %q)", after, before)
		}
	})

	t.Run("a name opens the repository", func(t *testing.T) {
		var href string
		dashboards()[market].open(t, browser, base, "", 1440)
		run(t, browser, chromedp.Evaluate(`[...document.querySelectorAll("td a")].find(a => a.innerText == "github/spec-kit").href`, &href))
		d := dashboards()[repository]
		open(t, browser, href, 1440, d.tabs[0].charts)
		d.turn(t, browser, 1)
		if got := text(t, browser, "Readings"); !strings.Contains(got, "58,729") {
			t.Errorf("the readings of github/spec-kit: %q", got)
		}
	})
	t.Run("what a repository is called is text", func(t *testing.T) { isText(t, browser, base, reader) })
	if len(outside) != 0 {
		t.Errorf("the browser was answered by others: %q", outside)
	}
}

// TestDashboardsOpenFast prints the medians of OPENINGS openings of each tab: the first of a dashboard from its address, the others by a click. It needs what
// TestDashboards does, and a machine that does nothing else, so it is not run unless it is asked for.
func TestDashboardsOpenFast(t *testing.T) {
	times, _ := strconv.Atoi(os.Getenv("OPENINGS"))
	if times < 1 {
		t.Skip("a measurement: OPENINGS=10 make dashboards-test makes it")
	}
	base := must(t, "SUPERSET_URL")
	browser := logIn(t, base, must(t, "SUPERSET_PASSWORD"))
	for _, d := range dashboards() {
		took := make([][]time.Duration, len(d.tabs))
		for range times {
			took[0] = append(took[0], d.open(t, browser, base, "", 1440))
			for i := 1; i < len(d.tabs); i++ {
				took[i] = append(took[i], d.turn(t, browser, i))
			}
		}
		for i, tab := range d.tabs {
			slices.Sort(took[i])
			t.Logf("%s, %s: median %s, from %s to %s", d.slug, tab.name, took[i][times/2].Round(10*time.Millisecond), took[i][0].Round(10*time.Millisecond), took[i][times-1].Round(10*time.Millisecond))
		}
	}
}

// logIn opens a browser, and is the admin.
func logIn(t *testing.T, base, password string) context.Context {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is needed: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox, chromedp.WindowSize(1440, 900))
	allocated, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	browser, closeTab := chromedp.NewContext(allocated)
	t.Cleanup(closeTab)
	browser, end := context.WithTimeout(browser, 20*time.Minute)
	t.Cleanup(end)
	run(t, browser, network.Enable(),
		chromedp.Navigate(base+"/login/"), chromedp.WaitVisible("#username"), chromedp.SendKeys("#username", "admin"),
		chromedp.SendKeys("#password", password+"\r"), chromedp.WaitNotPresent("#password"), chromedp.WaitVisible("#main-menu, .ant-menu"), quiet())
	return browser
}

// isText has a repository observed whose every text wants to be markup, script,
// template or SQL, and looks at it in a table and on its own dashboard. Name and
// description are shown as they are. Company and language, which are filters too,
// are shown as Superset cleans them: markup may be left, nothing that acts. It
// needs AGGREGATE_URL, and stays in the stack: it comes last.
func isText(t *testing.T, browser context.Context, base, reader string) {
	const mark = `<img src=x onerror=window.owned=1>`
	const name = `evil/x"'!` + mark
	const description = mark + `<script>window.owned=1<` + "/script>{{ 7*7 }} [x](javascript:window.owned=1) <a href=https://elsewhere.example>here<" + "/a>"
	for day, stars := range []int{100, 90_000} {
		observe(t, fmt.Sprint("hostile", day), map[string]any{
			"repo_id": 666, "name_with_owner": name, "company": "<b>hostile", "description": description, "primary_language": mark, "topics": []string{mark}, "license": mark,
			"stars": stars, "forks": 1, "open_issues": 1, "observed_at": time.Date(2025, 12, 24+7*day, 0, 0, 0, 0, time.UTC), "source": "replay",
		})
	}
	for deadline := time.Now().Add(time.Minute); ask(t, reader, "SELECT count() FROM pulse.github_metrics_timeseries WHERE repo_id = 666") != "2"; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not stored")
		}
	}
	owned := func(where string) {
		t.Helper()
		var is bool
		var foreign int
		run(t, browser, chromedp.Evaluate(`window.owned !== undefined`, &is), chromedp.Evaluate(`document.querySelectorAll("td script, td [onerror], a[href*=elsewhere], a[href^=javascript]").length`, &foreign))
		if is || foreign != 0 {
			t.Errorf("%s: a text was taken for markup (%d elements) or run (%v)", where, foreign, is)
		}
	}
	// A minute has passed in Superset's cache only if it is told so.
	dashboards()[market].open(t, browser, base, "?force=true", 1440)
	run(t, browser, chromedp.Sleep(time.Second))
	movers := text(t, browser, "Most viral now")
	if !strings.Contains(movers, name) {
		t.Errorf("the movers do not show the name as it is: %q", movers)
	}
	owned("market")
	var href string
	run(t, browser, chromedp.Evaluate(`[...document.querySelectorAll("td a")].find(a => a.innerText.startsWith("evil/"))?.href ?? ""`, &href))
	if href == "" {
		t.Fatal("the name is no link")
	}
	d := dashboards()[repository]
	open(t, browser, href, 1440, d.tabs[0].charts)
	run(t, browser, chromedp.Sleep(time.Second))
	if about := text(t, browser, "Repository"); !strings.Contains(about, name) || !strings.Contains(about, "{{ 7*7 }}") || !strings.Contains(about, "<script>") {
		t.Errorf("the repository's own page shows %q", about)
	}
	d.turn(t, browser, 1)
	if got := text(t, browser, "Readings"); !strings.Contains(got, "90,000") {
		t.Errorf("its readings: %q", got)
	}
	owned("repository")
}

// observe has aggregate take an observation.
func observe(t *testing.T, id string, observation map[string]any) {
	t.Helper()
	data, err := json.Marshal(observation)
	if err != nil {
		t.Fatal(err)
	}
	req, err := http.NewRequest(http.MethodPost, must(t, "AGGREGATE_URL"), strings.NewReader(string(data)))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": id, "Ce-Source": "/browser", "Ce-Type": "dev.m7pulse.repo.observed.v1", "Content-Type": "application/json"} {
		req.Header.Set(k, v)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusNoContent {
		t.Fatal(resp.Status)
	}
}

// dashboard is one of ours, and how many charts each of its tabs has. Above all
// tabs stands the tile of freshness, which counts to the first.
type dashboard struct {
	slug string
	tabs []tab
}

type tab struct {
	name   string
	charts int
}

// Where a dashboard stands among ours.
const (
	organization = iota
	repository
	market
)

func dashboards() []dashboard {
	return []dashboard{
		organization: {"organization", []tab{{"Overview", 9}, {"Portfolio", 5}, {"Work", 2}}},
		repository:   {"repository", []tab{{"Overview", 8}, {"Momentum", 3}, {"Work", 2}}},
		market:       {"market", []tab{{"Now", 9}, {"Companies and languages", 4}, {"Marks", 2}}},
		3:            {"comparison", []tab{{"Repositories", 6}, {"Counters", 3}, {"Owners", 4}}},
	}
}

// open opens a dashboard at its first tab.
func (d dashboard) open(t *testing.T, browser context.Context, base, query string, width int64) time.Duration {
	t.Helper()
	return open(t, browser, base+"/superset/dashboard/pulse-"+d.slug+"/"+query, width, d.tabs[0].charts)
}

// turn turns to a tab, where those before it have been open: their charts stay.
func (d dashboard) turn(t *testing.T, browser context.Context, to int) time.Duration {
	t.Helper()
	charts := 0
	for _, tab := range d.tabs[:to+1] {
		charts += tab.charts
	}
	began := time.Now()
	run(t, browser, chromedp.Click(`//*[@role="tab"][contains(., "`+d.tabs[to].name+`")]`, chromedp.BySearch))
	drawn(t, browser, charts)
	took := time.Since(began)
	noErrors(t, browser)
	return took
}

// open opens a page and waits until all its charts have drawn; an error box fails the test.
func open(t *testing.T, browser context.Context, address string, width int64, charts int) time.Duration {
	t.Helper()
	began := time.Now()
	run(t, browser, chromedp.EmulateViewport(width, 900), chromedp.Navigate(address))
	drawn(t, browser, charts)
	took := time.Since(began)
	noErrors(t, browser)
	return took
}

// noErrors fails the test if a chart shows an error, or that it has nothing to show.
func noErrors(t *testing.T, browser context.Context) {
	t.Helper()
	var errors []string
	run(t, browser, chromedp.Evaluate(`[...document.querySelectorAll(".ant-alert-error, [data-test=ErrorAlert], .ant-empty")].map(e => (e.closest("[data-test=chart-grid-component]") || e).innerText.slice(0, 200))`, &errors))
	if len(errors) != 0 {
		t.Errorf("error boxes: %q", errors)
	}
}

// drawn waits until so many charts are there and none is loading.
func drawn(t *testing.T, browser context.Context, charts int) {
	t.Helper()
	err := chromedp.Run(browser, chromedp.Poll(fmt.Sprintf(`document.querySelectorAll("[data-test=chart-grid-component]").length == %[1]d
		&& document.querySelectorAll(".slice_container").length == %[1]d && document.querySelectorAll(".loading, [data-test=loading-indicator]").length == 0`, charts),
		nil, chromedp.WithPollingTimeout(2*time.Minute), chromedp.WithPollingInterval(100*time.Millisecond)))
	if err == nil {
		return
	}
	var shown string
	run(t, browser, chromedp.Evaluate(`location.href + " has " + document.querySelectorAll("[data-test=chart-grid-component]").length + " charts, " +
		document.querySelectorAll(".slice_container").length + " drawn: " + document.body.innerText.slice(0, 1000)`, &shown))
	t.Fatalf("%d charts: %v; %s", charts, err, shown)
}

// quiet waits until a page has loaded nothing for a second.
func quiet() chromedp.Action {
	return chromedp.Poll(`performance.now() - Math.max(0, ...performance.getEntriesByType("resource").map(e => e.responseEnd)) > 1000`,
		nil, chromedp.WithPollingTimeout(time.Minute), chromedp.WithPollingInterval(100*time.Millisecond))
}

// text is all that a chart shows in letters.
func text(t *testing.T, browser context.Context, chart string) string {
	t.Helper()
	name, err := json.Marshal(chart)
	if err != nil {
		t.Fatal(err)
	}
	var out string
	run(t, browser, chromedp.Evaluate(`[...document.querySelectorAll("[data-test=chart-grid-component]")].find(e => e.innerText.startsWith(`+string(name)+`))?.innerText ?? ""`, &out))
	return out
}

func height(t *testing.T, browser context.Context) (h int64) {
	t.Helper()
	run(t, browser, chromedp.Evaluate(`Math.ceil(document.querySelector(".grid-container").getBoundingClientRect().bottom + scrollY) + 40`, &h))
	return h
}

func run(t *testing.T, browser context.Context, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(browser, actions...); err != nil {
		t.Fatal(err)
	}
}

// ask sends a query as the reader.
func ask(t *testing.T, reader, query string) string {
	t.Helper()
	resp, err := http.Post(reader, "text/plain", strings.NewReader(query))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v %s", query, err, b)
	}
	return strings.TrimSpace(string(b))
}

// TestReader proves what the dashboards' user may not do.
func TestReader(t *testing.T) {
	reader := must(t, "CLICKHOUSE_READER_URL")
	for _, query := range []string{
		"INSERT INTO pulse.sweeps (sweep_id) VALUES ('x')", "DROP TABLE pulse.sweeps", "SELECT * FROM file('/etc/hostname', 'LineAsString')",
		"SELECT * FROM url('http://127.0.0.1:1/', 'LineAsString')", "SELECT 1 INTO OUTFILE '/tmp/reader'", "SET readonly = 0",
	} {
		resp, err := http.Post(reader, "text/plain", strings.NewReader(query))
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode < 400 {
			t.Errorf("%s: %s", query, resp.Status)
		}
	}
}

func must(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run this by `make integration`", name)
	}
	return v
}
