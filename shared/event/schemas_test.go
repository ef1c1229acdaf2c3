package event_test

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/signal"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

var update = flag.Bool("update", false, "write what the definitions say instead of comparing with it")

// processedFields are the definitions of all fields of RepoProcessed.
func processedFields() []field.Definition {
	velocities := velocity.Definitions()
	return slices.Concat(field.Definitions(repo.Fields()), field.Definitions(event.StatementFields()), velocities[:])
}

// avroTypes are the types of the kinds in the schemas.
func avroType(k field.Kind) string {
	switch k {
	case field.Int:
		return `"long"`
	case field.Float:
		return `"double"`
	case field.Bool:
		return `"boolean"`
	case field.Time:
		return `{"type": "long", "logicalType": "timestamp-millis"}`
	case field.Texts:
		return `{"type": "array", "items": "string"}`
	case field.Languages:
		return `{"type": "array", "items": {"type": "record", "name": "Language", "fields": [{"name": "name", "type": "string"}, {"name": "bytes", "type": "long"}]}}`
	}
	return `"string"`
}

func quote(text string) string {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	_ = e.Encode(text) // a string always can be
	return strings.TrimSpace(b.String())
}

// schemaOf writes the schema of some fields. documented are those whose
// definition is in it: another doc is another version in the registry, so those
// that were registered without one stay without.
func schemaOf(name, doc string, fields []field.Definition, documented ...string) string {
	lines := make([]string, len(fields))
	for i, f := range fields {
		typ, more := avroType(f.Kind), ""
		if f.Null {
			typ, more = `["null", `+typ+`]`, `, "default": null`
		}
		if slices.Contains(documented, f.Name) {
			more += `, "doc": ` + quote(f.Text)
		}
		lines[i] = fmt.Sprintf(`    {"name": %q, "type": %s%s}`, f.Name, typ, more)
	}
	if doc != "" {
		doc = "\n  \"doc\": " + quote(doc) + ","
	}
	return fmt.Sprintf("{\n  \"type\": \"record\",\n  \"name\": %q,\n  \"namespace\": \"dev.m7pulse\",%s\n  \"fields\": [\n%s\n  ]\n}\n", name, doc, strings.Join(lines, ",\n"))
}

// The schemas in use are made of the definitions of their fields. One that has
// changed is another version, which is added to the history:
//
//	make fields
func TestSchemasAreMadeOfTheDefinitions(t *testing.T) {
	observed := []string{"repo_id", "node_id", "owner_type", "company", "commits_total", "source"}
	for _, s := range []struct{ file, subject, text string }{
		{"repo_observed.avsc", event.TopicBaseRepos + "-value", schemaOf("RepoObserved", "One reading of one repository's counters. null = not observed, never zero.",
			field.Definitions(repo.Fields()), observed...)},
		{"repo_processed.avsc", event.TopicProcessedRepos + "-value", schemaOf("RepoProcessed",
			"An observation with what follows from its past, over 1 h, 24 h, 7 d and 30 d; null where that is not known. Each field is defined in docs/metrics.md.",
			processedFields(), append(observed, "revision", "late")...)},
		{"owner_swept.avsc", event.TopicSweeps + "-value", schemaOf("OwnerSwept", "The ledger line of one owner in one sweep.", field.Definitions(event.SweptFields()),
			"status", "expected", "seen", "new", "renamed", "gone", "unanswered", "pages", "killed_pages", "points", "seconds", "reason")},
		{"github_event.avsc", event.TopicEvents + "-value", schemaOf("GitHubEvent", "One event of a repository's feed on GitHub. null = the payload does not say. Each field is defined in docs/events.md.", field.Definitions(feed.Fields()))},
		{"signal.avsc", event.TopicSignals + "-value", schemaOf("Signal", "Something out of the usual. null = does not apply, or is not known. The kinds are defined in docs/signals.md.", field.Definitions(signal.Fields()))},
		{"feed_read.avsc", event.TopicFeedReads + "-value", schemaOf("FeedRead", "The ledger line of one reading of a repository's feed.", field.Definitions(feed.ReadingFields()))},
	} {
		golden(t, filepath.Join("schemas", s.file), s.text)
		history := filepath.Join("schemas", "history", s.subject)
		if *update {
			if err := os.MkdirAll(history, 0o755); err != nil { // of a new subject
				t.Fatal(err)
			}
		}
		versions, err := os.ReadDir(history)
		if err != nil {
			t.Fatal(err)
		}
		newest, err := os.ReadFile(filepath.Join(history, fmt.Sprint(len(versions), ".avsc")))
		if err != nil && len(versions) > 0 {
			t.Fatal(err)
		}
		if *update && string(newest) != s.text {
			golden(t, filepath.Join(history, fmt.Sprint(len(versions)+1, ".avsc")), s.text)
		}
	}
}

// The lists of fields in docs/events.md are made of the definitions:
//
//	make fields
func TestDocumentOfTheEventsIsUpToDate(t *testing.T) {
	const path = "../../docs/events.md"
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	want := string(have)
	for record, fields := range map[string][]field.Definition{
		"RepoObserved":  field.Definitions(repo.Fields()),
		"RepoProcessed": field.Definitions(event.StatementFields()),
		"OwnerSwept":    field.Definitions(event.SweptFields()),
		"GitHubEvent":   field.Definitions(feed.Fields()),
		"FeedRead":      field.Definitions(feed.ReadingFields()),
		"Signal":        field.Definitions(signal.Fields()),
	} {
		begin, end := "<!-- fields of "+record+" -->\n", "<!-- end -->"
		head, rest, ok := strings.Cut(want, begin)
		_, tail, closed := strings.Cut(rest, end)
		if !ok || !closed {
			t.Fatalf("%s has no place for the fields of %s", path, record)
		}
		table := "| field | unit | may be null | definition |\n|---|---|---|---|\n"
		for _, f := range fields {
			null := ""
			if f.Null {
				null = "yes"
			}
			table += fmt.Sprintf("| `%s` | %s | %s | %s |\n", f.Name, f.Unit, null, f.Text)
		}
		want = head + begin + table + end + tail
	}
	golden(t, path, want)
}

// golden compares a file with what it should hold, or writes it.
func golden(t *testing.T, path, want string) {
	t.Helper()
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Errorf("%s is not what the definitions say: make fields writes it", path)
	}
}
