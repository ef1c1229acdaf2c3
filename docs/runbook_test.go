// Package docs_test holds the documents to the code.
package docs_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// message is a text that the code logs or stops with.
type message struct {
	text string
	at   token.Position
}

// messages finds, in the code of the functions and of the local stack, the
// constant text of each warning and error that is logged, and of each error that
// stops a drain. Tests are left out.
func messages(t *testing.T) (logged, stops []message) {
	t.Helper()
	for _, root := range []string{"../functions", "../shared", "../infra/local", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			set := token.NewFileSet()
			file, err := parser.ParseFile(set, path, nil, 0)
			if err != nil {
				return err
			}
			ast.Inspect(file, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				text, ok := constant(call.Args)
				if !ok {
					return true
				}
				m := message{text, set.Position(call.Pos())}
				switch {
				case logs(call):
					logged = append(logged, m)
				case slices.ContainsFunc(call.Args, isErrFatal):
					stops = append(stops, m)
				}
				return true
			})
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return logged, stops
}

// logs says whether a call logs a warning or an error: slog.Warn, or Warn of a
// field or variable that is named for a log.
func logs(call *ast.CallExpr) bool {
	f, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || !slices.Contains([]string{"Warn", "WarnContext", "Error", "ErrorContext"}, f.Sel.Name) {
		return false
	}
	name := ""
	switch on := f.X.(type) {
	case *ast.Ident:
		name = on.Name
	case *ast.SelectorExpr:
		name = on.Sel.Name
	}
	return strings.HasSuffix(strings.ToLower(name), "log")
}

// constant is the first text literal among the arguments, of the first two.
func constant(args []ast.Expr) (string, bool) {
	for _, a := range args[:min(2, len(args))] {
		if lit, ok := a.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			text, err := strconv.Unquote(lit.Value)
			return text, err == nil
		}
	}
	return "", false
}

func isErrFatal(e ast.Expr) bool {
	switch e := e.(type) {
	case *ast.Ident:
		return e.Name == "ErrFatal"
	case *ast.SelectorExpr:
		return e.Sel.Name == "ErrFatal"
	}
	return false
}

func runbook(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// headings are the texts between backticks in the runbook's headings.
func headings(text string) (quoted []string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			continue
		}
		for _, q := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(line, -1) {
			quoted = append(quoted, q[1])
		}
	}
	return quoted
}

func TestEachWarningAndErrorHasAHeadingInTheRunbook(t *testing.T) {
	logged, _ := messages(t)
	if len(logged) < 30 {
		t.Fatalf("found %d messages only: the search is broken", len(logged))
	}
	known := headings(runbook(t))
	for _, m := range logged {
		if !slices.Contains(known, m.text) {
			t.Errorf("%s: no heading in runbook.md for `%s`", m.at, m.text)
		}
	}
}

var verb = regexp.MustCompile(`%[a-z]`)

func TestEachReasonForAStopIsQuotedInTheRunbook(t *testing.T) {
	_, stops := messages(t)
	if len(stops) < 8 {
		t.Fatalf("found %d reasons only: the search is broken", len(stops))
	}
	book := runbook(t)
	for _, m := range stops {
		text := verb.ReplaceAllString(strings.TrimPrefix(m.text, "%w: "), "…")
		if strings.Trim(text, "…/: ") == "" {
			continue // it says nothing of its own: its cause does
		}
		if !strings.Contains(book, "\n> stopped: "+text+"\n") {
			t.Errorf("%s: runbook.md does not quote\n> stopped: %s", m.at, text)
		}
	}
}

// A heading that names a line must be of a line that some code still has.
func TestEachLineInTheRunbookIsInTheCode(t *testing.T) {
	var code strings.Builder
	for _, root := range []string{"../functions", "../shared", "../infra/local", "../cmd"} {
		err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			code.Write(text)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, q := range headings(runbook(t)) {
		for part := range strings.SplitSeq(q, "…") {
			if part = strings.Trim(part, ": "); part != "" && !strings.Contains(code.String(), part) {
				t.Errorf("runbook.md has a heading for `%s`, and no code says %q", q, part)
			}
		}
	}
}
