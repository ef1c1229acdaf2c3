package signal_test

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/signal"
)

var update = flag.Bool("update", false, "write what the definitions say instead of comparing with it")

// The table of kinds in docs/signals.md is made of the definitions:
//
//	make fields
func TestDocumentOfTheSignalsIsUpToDate(t *testing.T) {
	const path, begin, end = "../../docs/signals.md", "<!-- kinds -->\n", "<!-- end -->"
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok := strings.Cut(string(have), begin)
	_, tail, closed := strings.Cut(rest, end)
	if !ok || !closed {
		t.Fatalf("%s has no place for the kinds", path)
	}
	table := "| kind | severity | from | raised when |\n|---|---|---|---|\n"
	for _, k := range signal.Kinds() {
		table += fmt.Sprintf("| `%s` | %s | %s | %s |\n", k.Kind, k.Severity, k.Function, k.Text)
	}
	want := head + begin + table + end + tail
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	} else if want != string(have) {
		t.Errorf("%s is not what the definitions say: make fields writes it", path)
	}
}

func TestEachKindIsDefinedOnce(t *testing.T) {
	seen := map[string]bool{}
	for _, k := range signal.Kinds() {
		if seen[k.Kind] || !slices.Contains(signal.Severities(), k.Severity) || k.Text == "" || k.Function == "" {
			t.Errorf("%+v", k)
		}
		seen[k.Kind] = true
	}
}
