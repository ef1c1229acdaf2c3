package superset_test

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

var update = flag.Bool("update", false, "write what the definitions say instead of comparing with it")

// A column of a dataset that is a field as it is stored has the field's
// definition as its text:
//
//	make fields
func TestTextsOfColumnsAreTheDefinitionsOfTheirFields(t *testing.T) {
	definitions := map[string]string{}
	velocities := velocity.Definitions()
	for _, d := range slices.Concat(field.Definitions(repo.Fields()), field.Definitions(event.StatementFields()), velocities[:]) {
		definitions[d.Name] = d.Text
	}
	for _, r := range velocity.Rates() {
		definitions[r.Name] = r.Text
	}
	files, err := filepath.Glob("../../superset/*/datasets/*/*.yaml")
	if err != nil || len(files) < 10 {
		t.Fatalf("%v: %d datasets", err, len(files))
	}
	column := regexp.MustCompile(`(?ms)^- column_name: (\S+)$.*?^  description: (.*?)\n(?:  \S|- |\S)`)
	described := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		have := string(text)
		want := have
		for _, m := range column.FindAllStringSubmatch(have, -1) {
			definition, ok := definitions[fieldOf(m[1], have, definitions)]
			if !ok {
				continue
			}
			described++
			was := "- column_name: " + m[1] + "\n"
			from := strings.Index(want, was)
			at := from + strings.Index(want[from:], "  description: "+m[2]+"\n")
			want = want[:at] + "  description: " + scalar(definition) + want[at+len("  description: "+m[2]):]
		}
		if *update {
			if err := os.WriteFile(file, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
		} else if want != have {
			t.Errorf("%s: texts of columns are not what the definitions say: make fields writes it", file)
		}
	}
	if described < 40 {
		t.Errorf("%d columns are fields", described)
	}
}

// fieldOf is the field that a column of a dataset shows: that of its name where
// the dataset is a table, else the one that its query takes as it is.
func fieldOf(column, dataset string, fields map[string]string) string {
	if strings.Contains(dataset, "\nsql: null\n") {
		return column
	}
	for _, m := range regexp.MustCompile(`(?:if\(is_gap, NULL, |\b\w+\.|[\s,])(\w+)\)? AS `+column+`\b`).FindAllStringSubmatch(dataset, -1) {
		if _, ok := fields[m[1]]; ok {
			return m[1]
		}
	}
	return ""
}

// scalar is a text in YAML.
func scalar(text string) string {
	if strings.Contains(text, ": ") || strings.Contains(text, " #") || strings.ContainsAny(text[:1], "\"'&*!|>%@`[]{}?-") {
		return "'" + strings.ReplaceAll(text, "'", "''") + "'"
	}
	return text
}
