package sinkclickhouse

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

var rewrite = flag.Bool("update", false, "write what the definitions say instead of comparing with it")

// defined is a column as the schema says it.
type defined struct{ name, typ string }

// tablesOf applies the statements of all versions to no tables, and returns the
// columns of each table.
func tablesOf(versions [][]string) map[string][]defined {
	table := regexp.MustCompile(`(?:CREATE TABLE IF NOT EXISTS|ALTER TABLE) (\S+)`)
	change := regexp.MustCompile(`(?m)^  (ADD COLUMN IF NOT EXISTS |DROP COLUMN IF EXISTS |)([a-z0-9_]+)(?: ([A-Z].*?))?,?$`)
	tables := map[string][]defined{}
	for _, statement := range slices.Concat(versions...) {
		m := table.FindStringSubmatch(statement)
		if m == nil {
			continue
		}
		for _, c := range change.FindAllStringSubmatch(statement, -1) {
			if strings.HasPrefix(c[1], "DROP") {
				tables[m[1]] = slices.DeleteFunc(tables[m[1]], func(d defined) bool { return d.name == c[2] })
				continue
			}
			tables[m[1]] = append(tables[m[1]], defined{c[2], c[3]})
		}
	}
	return tables
}

// fewTexts are the texts with few values: one for many rows.
func fewTexts(table string) []string {
	few := []string{"owner", "owner_type", "company", "primary_language", "license", "source"}
	if table == series {
		few = append(few, "name_with_owner", "sweep_id")
	}
	return few
}

// typeOf is the type of the column of a field.
func typeOf(table string, d field.Definition) string {
	typ := map[field.Kind]string{
		field.Int: "Int64", field.Float: "Float64", field.Bool: "Bool", field.Time: "DateTime64(3)", field.Text: "String",
		field.Texts: "Array(LowCardinality(String))", field.Languages: "Array(Tuple(name String, bytes Int64))",
	}[d.Kind]
	if d.Null {
		typ = "Nullable(" + typ + ")"
	}
	if slices.Contains(fewTexts(table), d.Name) {
		typ = "LowCardinality(" + typ + ")"
	}
	return typ
}

// aliases are the columns that ClickHouse computes when they are read: the rates,
// each a delta over the days between the two readings.
func aliases() (all []defined) {
	definitions := velocity.Definitions()
	for _, r := range velocity.Rates() {
		all = append(all, defined{r.Name, fmt.Sprintf("Nullable(Float64) ALIAS %s / (dateDiff('millisecond', %s, observed_at) / 86400000)",
			definitions[r.Delta].Name, definitions[r.Base].Name)})
	}
	return all
}

// columnsOfDefinitions are the columns that the definitions give a table of
// repositories.
func columnsOfDefinitions(table string) (want []defined) {
	fields := repo.Fields()
	if table == series {
		fields = slices.DeleteFunc(fields, func(f field.Field[repo.Observation]) bool { return f.Detail })
	}
	velocities := velocity.Definitions()
	for _, d := range slices.Concat(field.Definitions(fields), field.Definitions(event.StatementFields()), velocities[:]) {
		want = append(want, defined{d.Name, typeOf(table, d)})
	}
	want = append(want, aliases()...)
	if table == series {
		return append(want, defined{"origin_topic_id", "LowCardinality(String)"}, defined{"origin_partition", "Int32"}, defined{"origin_offset", "Int64"},
			defined{"insert_before", "DateTime64(3) EPHEMERAL '2299-12-31 00:00:00'"},
			defined{"in_time", "Bool MATERIALIZED NOT throwIf(nowInBlock() >= insert_before, 'the insert arrived after insert_before')"})
	}
	return append(want, defined{"version", "UInt64"})
}

// The tables of repositories have the columns of the definitions. A version of
// the schema that has been released stays as it is: what has been defined since
// is added, and what is defined no longer is dropped, by the next one.
//
//	make fields
func TestSchemaHasTheColumnsOfTheDefinitions(t *testing.T) {
	have := tablesOf(versions(schema))
	var next strings.Builder
	differs := t.Errorf
	if *rewrite {
		differs = t.Logf
	}
	for _, table := range []string{"pulse.github_processed_repos", series} {
		want := columnsOfDefinitions(table)
		var dropped, added []string
		for _, c := range have[table] {
			if !slices.Contains(want, c) {
				differs("%s has a column %s %s, which is not defined so", table, c.name, c.typ)
				dropped = append(dropped, "  DROP COLUMN IF EXISTS "+c.name)
			}
		}
		for _, c := range want {
			if !slices.Contains(have[table], c) {
				differs("%s has no column %s %s", table, c.name, c.typ)
				added = append(added, "  ADD COLUMN IF NOT EXISTS "+c.name+" "+c.typ)
			}
		}
		for _, changes := range [][]string{dropped, added} {
			if len(changes) > 0 {
				fmt.Fprintf(&next, "\nALTER TABLE %s\n%s\n;\n", table, strings.Join(changes, ",\n"))
			}
		}
	}
	if *rewrite && next.Len() > 0 {
		text := fmt.Sprintf("%s\n-- version %d\n%s", schema, len(versions(schema))+1, next.String())
		if err := os.WriteFile("schema.sql", []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEveryColumnOfTheSchemaIsFilled(t *testing.T) {
	tables := tablesOf(versions(schema))
	check := func(table string, filled []string) {
		t.Helper()
		var have []string
		for _, c := range tables[table] {
			if !strings.Contains(c.typ, " ALIAS ") && !strings.Contains(c.typ, " MATERIALIZED ") {
				have = append(have, c.name)
			}
		}
		for _, name := range filled {
			if !slices.Contains(have, name) {
				t.Errorf("%s has no column %s", table, name)
			}
		}
		for _, name := range have {
			if !slices.Contains(filled, name) {
				t.Errorf("%s.%s is never filled", table, name)
			}
		}
	}
	check("pulse.github_processed_repos", namesOf(stateColumns()))
	check(series, namesOf(append(seriesColumns(), (&store{}).arrival())))
	check("pulse.github_daily", namesOf(dailyColumns()))
	check("pulse.github_events", namesOf(append(eventColumns(), arrival[event.GitHubEvent](&store{}))))
	check("pulse.github_feed_reads", namesOf(feedReadColumns()))
	check("pulse.github_signals", namesOf(signalColumns()))
	check("pulse.github_pushes", namesOf(pushColumns()))
	check("pulse.sweeps", namesOf(sweepColumns()))
}
