//go:build integration

// Package page opens the page of the API in a real browser, as people do.
package page

import (
	"cmp"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/m7pulse/m7pulse/shared/download"
)

type view struct {
	name, query string
	charts      int
}

func views() []view {
	return []view{
		{"now", "?view=now", 1},
		{"companies", "?view=companies", 0},
		{"company", "?view=company&name=microsoft", 1},
		{"owner", "?view=owner&name=facebook&window=30d", 1},
		{"repositories", "?view=repositories", 0},
		{"repository", "?view=repository&name=facebook/react&days=365", 3},
		{"compare", "?view=compare&names=facebook/react,microsoft/vscode,flutter/flutter,google-gemini/gemini-cli&mode=indexed&days=365", 1},
		{"compare companies", "?view=compare&kind=company&names=meta,alphabet,nvidia&field=forks", 1},
		{"health", "?view=health", 0},
	}
}

// TestPage needs chromium on PATH and a stack with the recording: API_URL,
// CLICKHOUSE_READER_URL and AGGREGATE_URL (`make page-test` starts one). With SCREENSHOTS
// it leaves pictures there.
func TestPage(t *testing.T) {
	base, reader := strings.TrimSuffix(must(t, "API_URL"), "/"), must(t, "CLICKHOUSE_READER_URL")
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Fatal("chromium is needed: apt-get install chromium")
	}
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(chromium), chromedp.NoSandbox)
	allocated, stop := chromedp.NewExecAllocator(t.Context(), options...)
	t.Cleanup(stop)
	b := newTab(t, allocated, base)

	t.Run("first chart", b.firstChart)
	for _, theme := range []string{"light", "dark"} {
		for _, width := range []int64{390, 1024, 1440, 1920} {
			for _, v := range views() {
				t.Run(fmt.Sprintf("%s at %d, %s", v.name, width, theme), func(t *testing.T) {
					calls := b.open(t, v, width, theme)
					if calls > 2 {
						t.Errorf("%d calls of the API", calls)
					}
					var cut []string
					b.run(t, chromedp.Evaluate(`document.documentElement.scrollWidth <= document.documentElement.clientWidth ? [] :
						[...document.querySelectorAll("body *")].filter(e => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest(".scroll")).map(e => e.tagName + "." + e.className).slice(0, 5)`, &cut))
					if len(cut) != 0 {
						t.Errorf("wider than the window: %q", cut)
					}
					b.picture(t, fmt.Sprintf("%s-%d-%s.png", strings.ReplaceAll(v.name, " ", "-"), width, theme), width)
				})
			}
		}
	}
	t.Run("numbers are those of SQL", func(t *testing.T) { b.numbers(t, reader) })
	t.Run("signals are those of SQL", func(t *testing.T) { b.signals(t, reader) })
	t.Run("a badge can be taken along", b.badge)
	t.Run("page, API, command line and dashboards agree", func(t *testing.T) { b.agreement(t, reader) })
	t.Run("the address keeps what was chosen", b.address)
	t.Run("keyboard", b.keyboard)
	t.Run("a definition is shown on focus", b.definition)
	t.Run("what is shown can be downloaded", b.downloads)
	t.Run("what GitHub says is text", func(t *testing.T) { b.isText(t, reader) })
	b.quiet(t)

	t.Run("accessible", func(t *testing.T) { accessible(t, allocated, base) })
}

// firstChart opens Now ten times as a browser does that was never here, then ten times as
// one that has its files, and logs where the time goes. What it takes depends on what else
// runs on the machine; what is sent, and that the answer is asked for ahead, do not.
// openings is how often the page is opened for the times of its first chart; more than
// two are to measure them.
var openings = flag.Int("openings", 2, "how often the first chart is timed, an even number")

func (b *tab) firstChart(t *testing.T) {
	type moment struct {
		Drawn, HTML, Files, Asked, Answered, Bytes float64 // ms after the navigation began; bytes of files
		Server                                     float64 // ms that the API took, by the browser
	}
	for _, cold := range []bool{true, false} {
		var all []moment
		for range *openings {
			var m moment
			b.run(t, network.SetCacheDisabled(cold))
			b.open(t, view{query: "", charts: 1}, 1440, "light")
			b.run(t, chromedp.Evaluate(`(() => {
				const [page] = performance.getEntriesByType("navigation"), files = performance.getEntriesByType("resource"), own = files.filter((e) => !e.name.includes("/api/"));
				const [answer] = files.filter((e) => e.name.includes("/overview"));
				return { Drawn: performance.getEntriesByName("chart drawn")[0].startTime, HTML: page.responseEnd, Files: Math.max(...own.filter((e) => !e.name.includes("icon")).map((e) => e.responseEnd)),
					Asked: answer.startTime, Answered: answer.responseEnd, Server: answer.responseStart - answer.requestStart, Bytes: own.reduce((sum, e) => sum + e.transferSize, page.transferSize) };
			})()`, &m))
			all = append(all, m)
		}
		median := func(of func(moment) float64) float64 {
			values := make([]float64, len(all))
			for i, m := range all {
				values[i] = of(m)
			}
			slices.Sort(values)
			return (values[len(values)/2-1] + values[len(values)/2]) / 2
		}
		drawn, html, files := median(func(m moment) float64 { return m.Drawn }), median(func(m moment) float64 { return m.HTML }), median(func(m moment) float64 { return m.Files })
		asked, answered, server := median(func(m moment) float64 { return m.Asked }), median(func(m moment) float64 { return m.Answered }), median(func(m moment) float64 { return m.Server })
		bytes := median(func(m moment) float64 { return m.Bytes })
		t.Logf("first chart, medians of %d, files in the cache: %v; ms after the navigation began: HTML there %.0f, API asked %.0f, answered %.0f (%.0f of them its own), all files there %.0f, drawn %.0f; %.1f KiB of files were sent",
			*openings, !cold, html, asked, answered, server, files, drawn, bytes/1024)
		if cold && bytes > 160<<10 { // 150 KiB and the headers
			t.Errorf("%.0f bytes were sent", bytes)
		}
		if first := slices.MinFunc(all, func(a, b moment) int { return cmp.Compare(a.Asked, b.Asked) }); first.Asked > first.Files {
			t.Errorf("the API is asked at %.0f ms, when all files are there: it is not asked ahead", first.Asked)
		}
	}
}

// accessible lets axe-core look at each view. It has to get past the page's policy,
// which lets no foreign script in.
func accessible(t *testing.T, allocated context.Context, base string) {
	axe := download.File{
		Folder: "axe-core", Package: "axe-core", Version: "4.14.1", Member: "package/axe.min.js",
		SHA256: "29348999450cdf2849a8e70b7912fc2da85a849da39c0d0d5394f51d4a9ed95c", Size: 653780,
	}
	file, err := axe.Fetch(t.Context(), nil)
	if err != nil {
		t.Fatal(err)
	}
	script, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	b := newTab(t, allocated, base)
	b.run(t, page.SetBypassCSP(true))
	for _, at := range []struct { // the colours do not depend on the width
		width int64
		theme string
	}{{390, "light"}, {1440, "light"}, {1440, "dark"}} {
		for _, v := range views() {
			b.open(t, v, at.width, at.theme)
			var found []string
			b.run(t, chromedp.Evaluate(`for (const d of document.querySelectorAll("details")) d.open = true`, nil), chromedp.Sleep(300*time.Millisecond),
				chromedp.Evaluate(string(script)+";0", nil),
				chromedp.Evaluate(`axe.run(document, { resultTypes: ["violations"] }).then(r => r.violations.map(v => v.id + ": " + v.nodes.slice(0, 3).map(n => n.html.slice(0, 200)).join(" | ")))`, &found,
					func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }))
			if len(found) != 0 {
				t.Errorf("%s at %d, %s: %s", v.name, at.width, at.theme, strings.Join(found, "\n"))
			}
		}
	}
}

// tab is one tab, and what it did that a page must not.
type tab struct {
	ctx  context.Context
	base string

	mu    sync.Mutex
	wrong []string
	calls int // of the API, definitions and searches left out
}

func newTab(t *testing.T, allocated context.Context, base string) *tab {
	t.Helper()
	ctx, closeTab := chromedp.NewContext(allocated)
	t.Cleanup(closeTab)
	ctx, end := context.WithTimeout(ctx, 35*time.Minute)
	t.Cleanup(end)
	b := &tab{ctx: ctx, base: base}
	chromedp.ListenTarget(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch e := event.(type) {
		case *network.EventRequestWillBeSent:
			if strings.HasPrefix(e.Request.URL, "http") && !strings.HasPrefix(e.Request.URL, base+"/") {
				b.wrong = append(b.wrong, "it asks "+e.Request.URL)
			}
			if strings.Contains(e.Request.URL, "/api/v1/") && !strings.Contains(e.Request.URL, "/definitions") {
				b.calls++
			}
		case *runtime.EventConsoleAPICalled:
			if e.Type == runtime.APITypeError || e.Type == runtime.APITypeWarning {
				b.wrong = append(b.wrong, fmt.Sprintf("console %s: %s", e.Type, e.Args[0].Value))
			}
		case *runtime.EventExceptionThrown:
			b.wrong = append(b.wrong, "thrown: "+e.ExceptionDetails.Error())
		case *log.EventEntryAdded:
			if e.Entry.Level == log.LevelError || e.Entry.Level == log.LevelWarning {
				b.wrong = append(b.wrong, "log: "+e.Entry.Text+" "+e.Entry.URL)
			}
		}
	})
	b.run(t, network.Enable(), log.Enable(), runtime.Enable())
	return b
}

func (b *tab) run(t *testing.T, actions ...chromedp.Action) {
	t.Helper()
	if err := chromedp.Run(b.ctx, actions...); err != nil {
		t.Fatal(err)
	}
}

// quiet fails the test if the tab did what it must not.
func (b *tab) quiet(t *testing.T) {
	t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, w := range b.wrong {
		t.Error(w)
	}
	b.wrong = nil
}

// open opens a view, waits until its charts are drawn, and says how often the API was asked.
func (b *tab) open(t *testing.T, v view, width int64, theme string) (calls int) {
	t.Helper()
	b.mu.Lock()
	b.calls = 0
	b.mu.Unlock()
	b.run(t, emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: theme}}),
		chromedp.EmulateViewport(width, 900), chromedp.Navigate(b.base+"/"+v.query))
	b.drawn(t, v.charts)
	b.quiet(t)
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.calls
}

// drawn waits until a view is there with so many charts, all drawn.
func (b *tab) drawn(t *testing.T, charts int) {
	t.Helper()
	b.until(t, fmt.Sprintf(`document.querySelector("main h1") && !document.querySelector("main[aria-busy]") &&
		document.querySelectorAll(".plot").length == %[1]d && document.querySelectorAll(".plot[data-drawn] canvas").length == %[1]d`, charts))
}

// until waits for a condition. A page that is just leaving cannot be asked, and is
// asked again.
func (b *tab) until(t *testing.T, condition string) {
	t.Helper()
	var met bool
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		if err = chromedp.Run(b.ctx, chromedp.Evaluate("Boolean("+condition+")", &met)); met {
			return
		}
	}
	t.Fatalf("%s: %v; %s", condition, err, b.text(t, "body"))
}

func (b *tab) text(t *testing.T, selector string) (text string) {
	t.Helper()
	quoted, err := json.Marshal(selector)
	if err != nil {
		t.Fatal(err)
	}
	b.run(t, chromedp.Evaluate(`document.querySelector(`+string(quoted)+`)?.innerText ?? ""`, &text))
	return text
}

func (b *tab) picture(t *testing.T, name string, width int64) {
	t.Helper()
	dir := os.Getenv("SCREENSHOTS")
	if dir == "" {
		return
	}
	var height int64
	var picture []byte
	b.run(t, chromedp.Evaluate(`Math.min(2400, document.documentElement.scrollHeight)`, &height), chromedp.EmulateViewport(width, height), chromedp.Sleep(300*time.Millisecond), chromedp.CaptureScreenshot(&picture))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name), picture, 0o644); err != nil {
		t.Error(err)
	}
}

// numbers compares ten repositories, and the companies, with queries of its own.
func (b *tab) numbers(t *testing.T, reader string) {
	const upToDate = "observed_at > (SELECT max(observed_at) FROM pulse.github_processed_repos) - INTERVAL 3 DAY"
	rows := strings.Split(ask(t, reader, `SELECT name_with_owner, stars, ifNull(toString(stars_delta_7d), ''), ifNull(toString(forks), ''), ifNull(toString(open_issues), ''), toString(toDate(observed_at))
		FROM pulse.github_processed_repos FINAL WHERE `+upToDate+` ORDER BY cityHash64(repo_id) LIMIT 10 FORMAT TSV`), "\n")
	if len(rows) != 10 {
		t.Fatalf("%d repositories", len(rows))
	}
	for _, row := range rows {
		cells := strings.Split(row, "\t")
		b.open(t, view{query: "?view=repository&name=" + cells[0], charts: 3}, 1440, "light")
		tiles := strings.Split(b.text(t, ".tiles.pick"), "\n")
		at := func(label string) []string {
			for i, line := range tiles {
				if line == label {
					return tiles[i:]
				}
			}
			t.Fatalf("%s: no tile %s in %q", cells[0], label, tiles)
			return nil
		}
		for label, want := range map[string]string{"Stars": cells[1], "Forks": cells[3], "Open issues": cells[4]} {
			if got := at(label)[1]; got != grouped(want, false) {
				t.Errorf("%s: %s are %q, want %q", cells[0], label, got, grouped(want, false))
			}
		}
		if got, want := at("Stars")[2], grouped(cells[2], true)+" in 7d"; got != want {
			t.Errorf("%s: net stars are %q, want %q", cells[0], got, want)
		}
		var days [][]string
		b.run(t, chromedp.Evaluate(`document.querySelector(".chart details").open = true`, nil), chromedp.Sleep(200*time.Millisecond),
			chromedp.Evaluate(`[...document.querySelectorAll(".chart details tbody tr")].map(tr => [...tr.children].map(c => c.innerText))`, &days))
		want := strings.Split(ask(t, reader, `SELECT ifNull(toString(max(stars)), '') FROM numbers(90) AS n LEFT JOIN (
			SELECT toDate(observed_at) AS day, toNullable(argMax(stars, (observed_at, revision))) AS stars FROM pulse.github_metrics_timeseries WHERE name_with_owner = '`+cells[0]+`' GROUP BY day) AS d
			ON d.day = toDate('`+cells[5]+`') - n.number GROUP BY n.number ORDER BY n.number FORMAT TSV`), "\n")
		if len(days) != 90 {
			t.Fatalf("%s: %d days in the table of the chart", cells[0], len(days))
		}
		for i, day := range days {
			shown := "not read"
			if i < len(want) && want[i] != "" {
				shown = grouped(want[i], false)
			}
			if day[1] != shown {
				t.Errorf("%s on %s: %q, want %q", cells[0], day[0], day[1], shown)
			}
		}
	}
	b.open(t, views()[0], 1440, "light")
	var companies [][]string
	b.run(t, chromedp.Evaluate(`[...document.querySelectorAll("#companies tbody tr")].map(tr => [...tr.children].map(c => c.innerText))`, &companies))
	want := ask(t, reader, `SELECT company, sum(stars), sum(stars_delta_7d), count() FROM pulse.github_processed_repos FINAL WHERE company IS NOT NULL AND `+upToDate+` GROUP BY company ORDER BY sum(stars_per_day_7d) DESC FORMAT TSV`)
	for i, row := range strings.Split(want, "\n") {
		cells := strings.Split(row, "\t")
		if i >= len(companies) {
			t.Fatalf("%d companies are shown", len(companies))
		}
		shown := []string{strings.ToLower(companies[i][0]), companies[i][1], companies[i][2], companies[i][7]}
		if w := []string{cells[0], grouped(cells[1], false), grouped(cells[2], true), grouped(cells[3], false)}; strings.Join(shown, " ") != strings.Join(w, " ") {
			t.Errorf("line %d is %q, want %q", i+1, shown, w)
		}
	}
}

// signals compares the newest signals, and those of the repository with the most, with
// queries of its own; and looks for their marks on the chart, above the lines.
func (b *tab) signals(t *testing.T, reader string) {
	const columns = "severity, replaceAll(toString(kind), '_', ' '), words, formatDateTime(observed_at, '%e %b %Y, %H:%i UTC', 'UTC') FROM pulse.github_signals FINAL"
	listed := func() (out string) {
		b.run(t, chromedp.Evaluate(`[...document.querySelectorAll(".signals li")].map(li => [...li.children].map(c => c.innerText).join("\t")).join("\n")`, &out))
		return out
	}
	b.open(t, views()[0], 1440, "light")
	if got, want := listed(), strings.ReplaceAll(ask(t, reader, "SELECT "+columns+" ORDER BY observed_at DESC, signal_id DESC LIMIT 8 FORMAT TSVRaw"), "\t ", "\t"); got != want || want == "" {
		t.Errorf("Now shows\n%s\nwant\n%s", got, want)
	}
	var leads string
	b.run(t, chromedp.Evaluate(`document.querySelector(".signals li a").getAttribute("href")`, &leads))
	if want := "?view=repository&name=" + ask(t, reader, "SELECT name_with_owner FROM pulse.github_signals FINAL ORDER BY observed_at DESC, signal_id DESC LIMIT 1 FORMAT TSVRaw"); leads != want {
		t.Errorf("the first signal leads to %q, want %q", leads, want)
	}

	most := ask(t, reader, "SELECT name_with_owner FROM pulse.github_signals FINAL WHERE observed_at > (SELECT max(observed_at) FROM pulse.github_processed_repos) - INTERVAL 364 DAY GROUP BY ALL ORDER BY count() DESC, 1 LIMIT 1 FORMAT TSVRaw")
	of := " WHERE name_with_owner = '" + most + "'"
	b.open(t, view{query: "?view=repository&days=365&name=" + most, charts: 3}, 1440, "light")
	if got, want := listed(), strings.ReplaceAll(ask(t, reader, "SELECT "+columns+of+" ORDER BY observed_at DESC, signal_id DESC FORMAT TSVRaw"), "\t ", "\t"); got != want {
		t.Errorf("%s shows\n%s\nwant\n%s", most, got, want)
	}
	var days string
	b.run(t, chromedp.Evaluate(`document.querySelector(".chart details").open = true`, nil), chromedp.Sleep(200*time.Millisecond),
		chromedp.Evaluate(`[...document.querySelectorAll(".chart details tbody tr")].filter(tr => tr.children[2].innerText).map(tr => tr.children[0].innerText + " " + tr.children[2].innerText).join("\n")`, &days))
	if want := ask(t, reader, "SELECT trimLeft(formatDateTime(toDate(observed_at), '%e %b %Y')) || ' ' || arrayStringConcat(groupArray(replaceAll(toString(kind), '_', ' ')), ', ') FROM (SELECT * FROM pulse.github_signals FINAL"+of+
		" ORDER BY observed_at DESC, signal_id DESC) GROUP BY toDate(observed_at) ORDER BY toDate(observed_at) DESC FORMAT TSVRaw"); days != want {
		t.Errorf("the table of the chart has on its days\n%s\nwant\n%s", days, want)
	}
	// What is drawn above the lines, right of the labels of the axis. It is read from a
	// copy: the browser warns of a canvas that is read.
	marked := func() (pixels int) {
		b.run(t, chromedp.Evaluate(`{ const c = document.querySelector(".plot canvas"), r = devicePixelRatio, copy = new OffscreenCanvas(c.width, c.height).getContext("2d", { willReadFrequently: true });
			copy.drawImage(c, 0, 0);
			const d = copy.getImageData(60 * r, 8 * r, c.width - 70 * r, 3 * r).data;
			let n = 0; for (let i = 3; i < d.length; i += 4) n += d[i] > 0; n }`, &pixels))
		return pixels
	}
	if marked() == 0 {
		t.Errorf("no signal of %s is marked on its chart", most)
	}
	var spoken string
	newest := strings.Split(strings.SplitN(days, "\n", 2)[0], " ") // day month year kind
	b.run(t, chromedp.Focus(".plot"), chromedp.KeyEvent(kb.End))
	for range 366 {
		if b.run(t, chromedp.Evaluate(`document.querySelector(".chart [aria-live]").innerText`, &spoken)); strings.HasPrefix(spoken, strings.Join(newest[:3], " ")+":") {
			break
		}
		b.run(t, chromedp.KeyEvent(kb.ArrowLeft))
	}
	if kind := strings.Join(newest[3:], " "); !strings.HasSuffix(spoken, ", "+kind) || !strings.HasSuffix(b.text(t, ".legend"), kind) {
		t.Errorf("the arrow keys say %q and show %q on the day of a %s", spoken, b.text(t, ".legend"), kind)
	}
	silent := ask(t, reader, "SELECT name_with_owner FROM pulse.github_processed_repos FINAL WHERE repo_id NOT IN (SELECT assumeNotNull(repo_id) FROM pulse.github_signals) ORDER BY stars DESC LIMIT 1 FORMAT TSVRaw")
	b.open(t, view{query: "?view=repository&name=" + silent, charts: 3}, 1440, "light")
	if listed() != "" || marked() != 0 || !strings.Contains(b.text(t, "main"), "Nothing was out of the usual in these 90 days.") {
		t.Errorf("%s has no signal, and has %q, %d marked pixels", silent, listed(), marked())
	}
	b.quiet(t)
}

// badge opens the picture of each kind of view and reads its Markdown.
func (b *tab) badge(t *testing.T) {
	for _, of := range []struct{ query, alt, picture string }{
		{"?view=repository&name=facebook/react", "facebook/react: stars in 7 days", "/api/v1/repositories/facebook/react/badge.svg?field=stars_delta_7d"},
		{"?view=owner&name=facebook", "facebook: stars in 7 days", "/api/v1/owners/facebook/badge.svg?field=stars_delta_7d"},
		{"?view=company&name=meta", "Meta: stars in 7 days", "/api/v1/companies/meta/badge.svg?field=stars_delta_7d"},
	} {
		b.run(t, chromedp.EmulateViewport(1440, 900), chromedp.Navigate(b.base+"/"+of.query))
		b.until(t, `document.querySelector("main h1") && !document.querySelector("main[aria-busy]") && document.querySelector("details:has(.badge)")`)
		b.run(t, chromedp.Evaluate(`document.querySelector("details:has(.badge)").open = true`, nil))
		b.until(t, `document.querySelector(".badge img")?.naturalWidth`)
		var markdown string
		read := chromedp.Evaluate(`document.querySelector(".badge input").value`, &markdown)
		b.run(t, read)
		if want := "[![" + of.alt + "](" + b.base + of.picture + ")](" + b.base + "/" + of.query + ")"; markdown != want {
			t.Errorf("the Markdown is %s, want %s", markdown, want)
		}
		b.run(t, chromedp.Click(`.badge button`))
		b.until(t, `document.querySelector(".badge [role=status]").innerText`)
		var selected string
		b.run(t, chromedp.Evaluate(`getSelection().toString()`, &selected))
		if selected != markdown {
			t.Errorf("what is marked to be copied is %q", selected)
		}
		b.run(t, chromedp.SetValue(`.badge select`, "card"), chromedp.Evaluate(`document.querySelector(".badge select").dispatchEvent(new Event("change"))`, nil))
		b.until(t, `document.querySelector(".badge img").complete && document.querySelector(".badge img").naturalHeight > 60`)
		if b.run(t, read); !strings.Contains(markdown, "/card.svg") {
			t.Errorf("the Markdown of the card is %s", markdown)
		}
	}
	b.quiet(t)
}

// grouped writes a number as the page does; nothing is a dash.
func grouped(number string, signed bool) string {
	if number == "" {
		return "–"
	}
	digits, negative := strings.CutPrefix(number, "-")
	for i := len(digits) - 3; i > 0; i -= 3 {
		digits = digits[:i] + "," + digits[i:]
	}
	switch {
	case negative:
		return "−" + digits
	case signed && digits != "0":
		return "+" + digits
	}
	return digits
}

// address presses a head and a choice, and loads the address anew.
func (b *tab) address(t *testing.T) {
	b.open(t, views()[0], 1440, "light")
	b.run(t, chromedp.Click(`#companies thead th:nth-child(2) button`), chromedp.Click(`//a[text()="30 days"]`, chromedp.BySearch))
	b.until(t, `location.search.includes("window=30d") && !document.querySelector("main[aria-busy]")`)
	var place string
	b.run(t, chromedp.Location(&place))
	before := b.text(t, "#companies")
	b.run(t, chromedp.Navigate(place))
	b.drawn(t, 1)
	if after := b.text(t, "#companies"); after != before || before == "" {
		t.Errorf("%s shows %q, showed %q", place, after, before)
	}
	var sorted string
	b.run(t, chromedp.Evaluate(`document.querySelector("#companies th[aria-sort]").innerText`, &sorted))
	if !strings.HasPrefix(sorted, "Stars") {
		t.Errorf("it is sorted by %q", sorted)
	}
	b.quiet(t)

	b.open(t, views()[0], 1440, "light")
	b.run(t, chromedp.Click(`nav a[href*="health"]`))
	b.until(t, `document.querySelector("h1")?.innerText == "Data health"`)
	b.run(t, chromedp.Evaluate(`history.back()`, nil))
	b.until(t, `document.querySelector("h1")?.innerText == "Now"`)
	b.quiet(t)
}

// keyboard goes through the page by keys alone.
func (b *tab) keyboard(t *testing.T) {
	b.open(t, views()[0], 1440, "light")
	var focused, sorted, before, after string
	var visible bool
	b.run(t, chromedp.KeyEvent("\t"), chromedp.Evaluate(`document.activeElement.innerText`, &focused), chromedp.Evaluate(`document.activeElement.getBoundingClientRect().top >= 0`, &visible))
	if focused != "Skip to the figures" || !visible {
		t.Errorf("the first thing with the focus is %q, visible: %v", focused, visible)
	}
	b.run(t, chromedp.KeyEvent("\r"), chromedp.Evaluate(`document.activeElement.id`, &focused))
	if focused != "main" {
		t.Errorf("the skip link leads to %q", focused)
	}
	b.run(t, chromedp.Focus(`#companies thead th:nth-child(1) button`), chromedp.KeyEvent("\r"),
		chromedp.Evaluate(`document.querySelector("#companies th:nth-child(1)").getAttribute("aria-sort")`, &sorted))
	if sorted != "ascending" {
		t.Errorf("the companies are sorted %q", sorted)
	}
	b.run(t, chromedp.Focus(`.plot`), chromedp.Evaluate(`document.querySelector(".legend").innerText`, &before), chromedp.KeyEvent(kb.ArrowLeft), chromedp.KeyEvent(kb.ArrowLeft),
		chromedp.Evaluate(`document.querySelector(".legend").innerText`, &after))
	if before == after || !strings.Contains(after, "2025") {
		t.Errorf("arrow keys show %q", after)
	}
	b.quiet(t)
}

func (b *tab) definition(t *testing.T) {
	b.open(t, views()[0], 1440, "light")
	b.run(t, chromedp.KeyEvent("\t"), chromedp.Focus(`#companies thead th:nth-child(3) button`))
	b.until(t, `!document.getElementById("tip").hidden`)
	if tip := b.text(t, "#tip"); !strings.HasPrefix(tip, "Net change of stars over 7d") || !strings.Contains(tip, "stars_delta_7d") {
		t.Errorf("the definition of the net stars is %q", tip)
	}
	b.run(t, chromedp.KeyEvent(kb.Escape))
	var hidden bool
	b.run(t, chromedp.Evaluate(`document.getElementById("tip").hidden`, &hidden))
	if !hidden {
		t.Error("Escape leaves it there")
	}
	b.quiet(t)
}

// downloads asks for every CSV of every view.
func (b *tab) downloads(t *testing.T) {
	for _, v := range views() {
		b.open(t, v, 1440, "light")
		var links []string
		b.run(t, chromedp.Evaluate(`[...document.querySelectorAll("a.csv")].map(a => a.href)`, &links))
		if len(links) == 0 {
			t.Errorf("%s has nothing to download", v.name)
		}
		for _, link := range links {
			resp, err := http.Get(link)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusOK || !strings.HasPrefix(resp.Header.Get("Content-Type"), "text/csv") {
				t.Errorf("%s: %s: %s", v.name, link, resp.Status)
			}
		}
	}
}

// isText has a repository observed whose every text wants to be markup or script, and
// looks at it in a table and by itself. It stays in the stack: it comes last.
func (b *tab) isText(t *testing.T, reader string) {
	const mark = `<img src=x onerror=window.owned=1>`
	const name = `evil/x"'!` + mark
	for day, stars := range []int{100, 900_000} {
		data, err := json.Marshal(map[string]any{
			"repo_id": 667, "name_with_owner": name, "company": "<b>hostile", "description": mark + `<script>window.owned=1<` + "/script>", "primary_language": mark, "topics": []string{mark}, "license": mark,
			"stars": stars, "forks": 1, "open_issues": 1, "observed_at": time.Date(2025, 12, 24+7*day, 0, 0, 0, 0, time.UTC), "source": "replay",
		})
		if err != nil {
			t.Fatal(err)
		}
		req, err := http.NewRequest(http.MethodPost, must(t, "AGGREGATE_URL"), strings.NewReader(string(data)))
		if err != nil {
			t.Fatal(err)
		}
		for k, v := range map[string]string{"Ce-Specversion": "1.0", "Ce-Id": fmt.Sprint("hostile-page", day), "Ce-Source": "/browser", "Ce-Type": "dev.m7pulse.repo.observed.v1", "Content-Type": "application/json"} {
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
	for deadline := time.Now().Add(time.Minute); ask(t, reader, "SELECT (SELECT count() FROM pulse.github_daily FINAL WHERE repo_id = 667) + (SELECT count() FROM pulse.github_processed_repos FINAL WHERE repo_id = 667 AND stars = 900000)") != "3"; time.Sleep(100 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it is not stored")
		}
	}
	// An answer may be taken for new for half a minute by the browser, and for 10 s by the
	// function; this one must be new.
	b.run(t, network.SetCacheDisabled(true))
	repositories := view{query: "?view=repositories&by=stars", charts: 0}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		if b.open(t, repositories, 1440, "light"); strings.Contains(b.text(t, "#repositories"), mark) {
			break
		}
	}
	for where, v := range map[string]view{
		"#repositories": repositories,
		"main h1":       {query: "?view=repository&name=" + url.QueryEscape(name), charts: 2},
		".chips":        {query: "?view=compare&names=667,facebook/react", charts: 1},
	} {
		b.open(t, v, 1440, "light")
		var is bool
		var foreign int
		b.run(t, chromedp.Evaluate(`window.owned !== undefined`, &is), chromedp.Evaluate(`document.querySelectorAll("main img, main script, main b, [onerror], a[href^=javascript]").length`, &foreign))
		if shown := b.text(t, where); !strings.Contains(shown, mark) || is || foreign != 0 {
			t.Errorf("%s: %q; %d elements of a text, run: %v", v.query, shown, foreign, is)
		}
		if where != "main h1" {
			continue
		}
		// Of its badge no character that Markdown reads is left as it is.
		var markdown string
		b.run(t, chromedp.Evaluate(`document.querySelector("details:has(.badge)").open = true`, nil))
		b.until(t, `document.querySelector(".badge img")?.naturalWidth`)
		b.run(t, chromedp.Evaluate(`document.querySelector(".badge input").value`, &markdown))
		if !strings.HasPrefix(markdown, `[![evil/x"'\!\<img src=x onerror=window.owned=1\>: stars in 7 days](`+b.base+"/") || strings.ContainsAny(markdown[strings.Index(markdown, "](")+2:], "<> ") || strings.Count(markdown, "(") != 2 {
			t.Errorf("the Markdown of its badge is %s", markdown)
		}
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
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v %s", query, err, body)
	}
	return strings.TrimRight(string(body), "\n")
}

func must(t *testing.T, name string) string {
	t.Helper()
	v := os.Getenv(name)
	if v == "" {
		t.Fatalf("%s is not set: run this by `make page-test`", name)
	}
	return v
}
