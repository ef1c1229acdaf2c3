package quality

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	sinkclickhouse "github.com/m7pulse/m7pulse/functions/sink-clickhouse"
)

func reportAt(at time.Time) *Report {
	three := int64(3)
	return &Report{At: at, Seconds: 12.3, ReadRows: 42664, ReadBytes: 5 << 20, Results: []Result{
		{Says: "Stars are known.", QualityResult: sinkclickhouse.QualityResult{Suite: "cold_base", Store: "iceberg", Expectation: "cold_stars_known", Severity: "critical", Passed: true}},
		{Says: "A name is owner/name.", Examples: []string{`('<script src="https://evil.example/x.js"></script>',)`},
			QualityResult: sinkclickhouse.QualityResult{Suite: "timeseries", Store: "clickhouse", Expectation: "hot_names", Severity: "critical", Unexpected: &three, Checked: &three}},
	}}
}

// A page loads nothing from anywhere, and what a repository is called stays text.
func TestAPageLoadsNothing(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 5, 1, 10, 50, 0, 0, time.UTC)
	for i := range 3 {
		if _, err := WritePage(dir, reportAt(at.Add(time.Duration(i)*time.Hour))); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(filepath.Join(dir, "index.html"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(b)
	if found := regexp.MustCompile(`(?i)<(script|link|img|iframe|object)|src=["']|url\(|@import|href="https?:`).FindAllString(page, -1); len(found) != 0 {
		t.Errorf("the page loads something: %q", found)
	}
	for _, want := range []string{"Stars are known.", "✗ critical", "3 of 3", "&lt;script src=", "2026-05-01 12:50:00 UTC", `href="2026-05-01T105000.html"`, "42,664"} {
		if !strings.Contains(page, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestPagesOfAMonthAreKept(t *testing.T) {
	dir := t.TempDir()
	at := time.Date(2026, 5, 1, 10, 50, 0, 0, time.UTC)
	for i := range keptPages + 5 {
		name := at.Add(time.Duration(i)*time.Hour).Format("2006-01-02T150405") + ".html"
		if err := os.WriteFile(filepath.Join(dir, name), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := WritePage(dir, reportAt(at.AddDate(1, 0, 0))); err != nil {
		t.Fatal(err)
	}
	left, err := pages(dir)
	if err != nil || len(left) != keptPages || left[0] != fmt.Sprintf("%d-05-01T105000.html", at.Year()+1) {
		t.Errorf("%d pages are left, the newest %s: %v", len(left), left[0], err)
	}
}
