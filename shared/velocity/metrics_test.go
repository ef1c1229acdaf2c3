package velocity

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write what is found instead of comparing with it")

// parseReading parses "+day hh:mm name=value …"; moments are days.
func parseReading(t *testing.T, line string) Point {
	t.Helper()
	words := strings.Fields(line)
	days, err := strconv.Atoi(strings.TrimPrefix(words[0], "+"))
	if err != nil {
		t.Fatalf("%s: %v", line, err)
	}
	p := point("2025-01-01 "+words[1], nil)
	p.At += int64(days) * day
	names := map[string]Value{"pushed_at": PushedAt, "released_at": ReleasedAt, "name": Name, "branch": Branch}
	for c, name := range Counters() {
		names[name] = Value(c)
	}
	for _, w := range words[2:] {
		name, text, _ := strings.Cut(w, "=")
		v, known := names[name]
		n, err := strconv.ParseInt(text, 10, 64)
		if !known || err != nil {
			t.Fatalf("%s: %q", line, w)
		}
		if v == PushedAt || v == ReleasedAt {
			n = at("2025-01-01 00:00") + n*day
		}
		p.Values[v] = n
	}
	return p
}

func TestMetrics(t *testing.T) {
	text, err := os.ReadFile("testdata/metrics.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range strings.Split(string(text), "\n== ")[1:] {
		name, body, _ := strings.Cut(c, "\n")
		t.Run(name, func(t *testing.T) {
			var points []Point
			repeat := false
			var expected []string
			for line := range strings.Lines(body) {
				line = strings.TrimSpace(line)
				switch {
				case line == "" || strings.HasPrefix(line, "#"):
				case line == "...":
					repeat = true
				case strings.HasPrefix(line, "->"):
					expected = append(expected, strings.Fields(line)[1:]...)
				default:
					p := parseReading(t, line)
					for repeat && points[len(points)-1].At+day < p.At {
						again := points[len(points)-1]
						again.At += day
						points = append(points, again)
					}
					repeat = false
					points = append(points, p)
				}
			}
			var h History
			for _, p := range points {
				h = h.Insert(p)
			}
			v := h.Measure(points[len(points)-1])
			got := v.Values()
			for _, r := range Rates() {
				got[r.Name] = nil
				if rate := r.Of(&v, time.UnixMilli(points[len(points)-1].At)); rate != nil {
					got[r.Name] = *rate
				}
			}
			for _, e := range expected {
				name, want, _ := strings.Cut(e, "=")
				value, known := got[name]
				if !known {
					t.Fatalf("no field %s", name)
				}
				if !equals(value, want) {
					t.Errorf("%s is %v, want %s", name, value, want)
				}
			}
		})
	}
}

func equals(value any, want string) bool {
	switch v := value.(type) {
	case nil:
		return want == "null"
	case float64:
		x, err := strconv.ParseFloat(want, 64)
		return err == nil && math.Abs(v-x) < 1e-9
	}
	return fmt.Sprint(value) == want
}

func TestEveryFieldHasOneDefinition(t *testing.T) {
	seen := map[string]bool{}
	definitions := Definitions()
	all := definitions[:]
	for _, r := range Rates() {
		all = append(all, r.Definition)
	}
	for i, d := range all {
		if d.Name == "" || d.Unit == "" || len(d.Text) < 20 || seen[d.Name] {
			t.Errorf("field %d: %+v", i, d)
		}
		seen[d.Name] = true
	}
}

func TestFieldsReadBackFromTheirJSONForm(t *testing.T) {
	v := History{}.Insert(starred(at("2025-02-27 12:00"), 990)).Measure(starred(at("2025-02-28 12:00"), 1000))
	text, err := json.Marshal(v.Values())
	if err != nil {
		t.Fatal(err)
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(text, &raw); err != nil {
		t.Fatal(err)
	}
	raw["stars_per_day_24h"] = json.RawMessage("10") // as it was written before
	var back Velocities
	if err := back.Set(raw); err != nil || back != v || len(raw) != 0 {
		t.Errorf("%v, left %v, got %v", err, raw, back.Values())
	}
}

// docs/metrics.md is made of the definitions:
//
//	make fields
func TestDocumentOfTheMetricsIsUpToDate(t *testing.T) {
	var b strings.Builder
	b.WriteString("# Metrics\n\nWhat is computed of every observation, from the repository's own past. An unknown value is null, never zero.\n" +
		"Made of the definitions in `shared/velocity`; the dashboards and the terminal show the same words.\n\n| field | unit | definition |\n|---|---|---|\n")
	for _, d := range Definitions() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", d.Name, d.Unit, d.Text)
	}
	b.WriteString("\n## Rates\n\nA rate follows from two fields, so no record holds it, and neither store. ClickHouse has it as an `ALIAS` column, " +
		"which is not in `SELECT *`; Trino's views compute it. Its base is base_at of its window.\n\n| rate | unit | definition |\n|---|---|---|\n")
	for _, r := range Rates() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", r.Name, r.Unit, r.Text)
	}
	b.WriteString("\n## Across repositories\n\nWhat needs many repositories at once is a view in ClickHouse, `functions/sink-clickhouse/schema.sql`, from whose comments this is made.\n\n")
	schema, err := os.ReadFile("../../functions/sink-clickhouse/schema.sql")
	if err != nil {
		t.Fatal(err)
	}
	var views []string
	described := map[string]string{} // by a view's last definition
	for _, view := range regexp.MustCompile(`((?:-- .*\n)*)CREATE OR REPLACE VIEW (\S+)`).FindAllStringSubmatch(string(schema), -1) {
		text := strings.ReplaceAll(strings.TrimPrefix(strings.TrimSpace(view[1]), "-- "), "\n-- ", " ")
		if text == "" {
			t.Errorf("%s has no comment", view[2])
		}
		if described[view[2]] == "" {
			views = append(views, view[2])
		}
		described[view[2]] = text
	}
	for _, view := range views {
		fmt.Fprintf(&b, "- `%s`: %s\n", view, described[view])
	}
	const path = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(path)
	if err != nil || string(have) != b.String() {
		t.Errorf("%s is not what the definitions say (%v)", path, err)
	}
}
