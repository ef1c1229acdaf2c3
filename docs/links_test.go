package docs_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	fenced  = regexp.MustCompile("(?ms)^```.*?^```")
	link    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	heading = regexp.MustCompile(`(?m)^#+ (.*)$`)
	dropped = regexp.MustCompile(`[^\p{L}\p{N}\- _]`)
)

// anchors are the names by which the headings of a document can be linked to, as
// GitHub makes them.
func anchors(document string) map[string]bool {
	names := map[string]bool{}
	for _, h := range heading.FindAllStringSubmatch(fenced.ReplaceAllString(document, ""), -1) {
		names[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(h[1]), ""), " ", "-")] = true
	}
	return names
}

func TestLinksBetweenDocumentsLeadSomewhere(t *testing.T) {
	links := 0
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && path != ".." && strings.HasPrefix(d.Name(), ".") && d.Name() != ".github" {
			return fs.SkipDir // homes of stacks, staged functions
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, l := range link.FindAllStringSubmatch(fenced.ReplaceAllString(string(text), ""), -1) {
			target, anchor, _ := strings.Cut(l[1], "#")
			if strings.Contains(target, ":") {
				continue // elsewhere
			}
			links++
			to := path
			if target != "" {
				to = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s: %v", path, l[1], err)
				continue
			}
			if anchor == "" || filepath.Ext(to) != ".md" {
				continue
			}
			document, err := os.ReadFile(to)
			if err != nil {
				return err
			}
			if !anchors(string(document))[anchor] {
				t.Errorf("%s links to %s, which has no heading %q", path, to, anchor)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if links < 100 {
		t.Errorf("found %d links only: the search is broken", links)
	}
}

// A step of follow-one-snapshot.md names a file and a function of it.
func TestFollowOneSnapshotNamesFunctionsThatAreThere(t *testing.T) {
	guide, err := os.ReadFile("follow-one-snapshot.md")
	if err != nil {
		t.Fatal(err)
	}
	steps := regexp.MustCompile("(?m)^## .*\\]\\(([^)]+\\.go)\\),? `(\\w+)`").FindAllStringSubmatch(string(guide), -1)
	if len(steps) < 8 {
		t.Errorf("found %d steps with a function: the search is broken", len(steps))
	}
	for _, s := range steps {
		code, err := os.ReadFile(s[1])
		if err != nil {
			t.Error(err)
			continue
		}
		if !regexp.MustCompile(`(?m)^func (\([^)]*\) )?` + s[2] + `[\[(]`).Match(code) {
			t.Errorf("%s has no function %s", s[1], s[2])
		}
	}
}
