package quality

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"html/template"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

//go:embed page.html
var pageText string

// keptPages is how many runs have a page: of a month, hourly.
const keptPages = 24 * 31

// pageSuite is a suite as it is shown.
type pageSuite struct {
	Name, Store string
	Results     []Result
	Failed      int
}

// pageData is what a page shows.
type pageData struct {
	*Report
	Read            string
	Failed, Passed  int
	Suites          []pageSuite
	Earlier         []string // pages of runs before, the newest first
	CheckedAt, Load string
}

// WritePage writes the report into a folder: as index.html, as a page of its own time,
// which stays for a month, and as JSON. A page has no scripts and loads nothing.
func WritePage(dir string, report *Report) (path string, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", fmt.Errorf("make the folder of the quality's pages: %w", err)
	}
	earlier, err := pages(dir)
	if err != nil {
		return "", err
	}
	for _, old := range earlier[min(len(earlier), keptPages-1):] {
		if err := os.Remove(filepath.Join(dir, old)); err != nil {
			return "", fmt.Errorf("remove an old page of the quality: %w", err)
		}
	}
	text, err := render(report, earlier[:min(len(earlier), 48)])
	if err != nil {
		return "", err
	}
	raw, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return "", fmt.Errorf("write the quality as JSON: %w", err)
	}
	path = filepath.Join(dir, "index.html")
	for name, content := range map[string][]byte{path: text, filepath.Join(dir, report.At.Format("2006-01-02T150405")+".html"): text, filepath.Join(dir, "latest.json"): raw} {
		if err := os.WriteFile(name+".new", content, 0o644); err != nil {
			return "", fmt.Errorf("write a page of the quality: %w", err)
		}
		if err := os.Rename(name+".new", name); err != nil {
			return "", fmt.Errorf("write a page of the quality: %w", err)
		}
	}
	return path, nil
}

// pages are those of earlier runs, the newest first.
func pages(dir string) (names []string, err error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("list the pages of the quality: %w", err)
	}
	for _, e := range entries {
		if name := e.Name(); strings.HasPrefix(name, "2") && strings.HasSuffix(name, ".html") {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	slices.Reverse(names)
	return names, nil
}

func render(report *Report, earlier []string) ([]byte, error) {
	t, err := template.New("page").Funcs(template.FuncMap{"number": humanize.Comma}).Parse(pageText)
	if err != nil {
		return nil, fmt.Errorf("read the form of the quality's page: %w", err)
	}
	failed := len(report.Failed(""))
	data := pageData{Report: report, Read: humanize.Bytes(uint64(report.ReadBytes)), Failed: failed, Passed: len(report.Results) - failed, Earlier: earlier,
		CheckedAt: report.At.UTC().Format(time.DateTime), Load: fmt.Sprintf("%.1f", report.LoadSeconds)}
	for _, r := range report.Results {
		last := len(data.Suites) - 1
		if last < 0 || data.Suites[last].Name != r.Suite {
			data.Suites = append(data.Suites, pageSuite{Name: r.Suite, Store: r.Store})
			last++
		}
		s := &data.Suites[last]
		s.Results = append(s.Results, r)
		if !r.Passed {
			s.Failed++
		}
	}
	var out bytes.Buffer
	if err := t.Execute(&out, data); err != nil {
		return nil, fmt.Errorf("write the quality's page: %w", err)
	}
	return out.Bytes(), nil
}
