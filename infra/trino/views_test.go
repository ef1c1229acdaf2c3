package trino

import (
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
	"text/template"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

var update = flag.Bool("update", false, "write what the definitions say instead of comparing with it")

// lines writes expressions side by side, indented, in lines of readable length.
func lines(indent string, expressions []string) string {
	var b strings.Builder
	length := 0
	for i, e := range expressions {
		switch {
		case i == 0:
			b.WriteString(indent)
		case length+len(e) > 130:
			b.WriteString(",\n" + indent)
			length = 0
		default:
			b.WriteString(", ")
		}
		b.WriteString(e)
		length += len(e) + len(", ")
	}
	return b.String()
}

// cast names columns, the times among them as timestamps of a precision; alias
// says whether they keep their names.
func cast(fields []field.Definition, precision string, alias bool) []string {
	out := make([]string, len(fields))
	for i, d := range fields {
		out[i] = d.Name
		if d.Kind == field.Time && precision != "" {
			out[i] = "CAST(" + d.Name + " AS timestamp(" + precision + "))"
			if alias {
				out[i] += " AS " + d.Name
			}
		}
	}
	return out
}

// computed are the rates, each a delta over the days between the two readings.
func computed() (all []string) {
	definitions := velocity.Definitions()
	for _, r := range velocity.Rates() {
		all = append(all, fmt.Sprintf("CAST(%s AS double) / (date_diff('millisecond', %s, observed_at) / 86400000e0) AS %s",
			definitions[r.Delta].Name, definitions[r.Base].Name, r.Name))
	}
	return all
}

// views.sql is made of views.sql.tmpl and of the definitions of the fields:
//
//	make fields
func TestViewsAreMadeOfTheDefinitions(t *testing.T) {
	kept := field.Definitions(slices.DeleteFunc(repo.Fields(), func(f field.Field[repo.Observation]) bool { return f.Detail }))
	statement, velocities := field.Definitions(event.StatementFields()), velocity.Definitions()
	key := slices.DeleteFunc(slices.Clone(kept), func(d field.Definition) bool { return d.Name != "repo_id" && d.Name != "observed_at" })
	// Of a row that was computed twice each store keeps the copy that it saw first.
	stated := slices.DeleteFunc(slices.Clone(statement), func(d field.Definition) bool { return d.Name == "processed_at" })

	views, err := template.New("views.sql.tmpl").Funcs(template.FuncMap{
		"columns": func(f []field.Definition) string { return lines("  ", append(cast(f, "6", true), computed()...)) },
		"plain":   func(f []field.Definition) string { return lines("  ", cast(f, "6", true)) },
		"hot":     func(f []field.Definition) string { return lines("      ", cast(f, "", false)) },
		"cold":    func(f []field.Definition) string { return lines("      ", cast(f, "3", false)) },
	}).ParseFiles("views.sql.tmpl")
	if err != nil {
		t.Fatal(err)
	}
	var want strings.Builder
	if err := views.Execute(&want, map[string][]field.Definition{
		"Observations": slices.Concat(kept, statement, velocities[:]),
		"Observed":     kept,
		"Events":       field.Definitions(feed.Fields()),
		"Computed":     slices.Concat(key, stated, velocities[:]),
	}); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile("views.sql", []byte(want.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile("views.sql")
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want.String() {
		t.Error("views.sql is not what the definitions say: make fields writes it")
	}
}
