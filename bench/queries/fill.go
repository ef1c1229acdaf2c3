package main

import (
	"context"
	"fmt"
	"log"
	"slices"
	"strings"
	"time"
)

// last is the newest day. The data go back from it, so that a larger size only
// adds what is older.
var last = time.Date(2026, 10, 31, 0, 0, 0, 0, time.UTC) //nolint:gochecknoglobals // a date

// wideDays have rows with every counter and velocity. Older ones have the columns
// that a query of a dashboard reads.
const wideDays = 36

// A repository r of company r % 7 has the owner company-(r % 280), and grows
// between nothing and some hundred stars a day.
const (
	companies = "['meta', 'alphabet', 'microsoft', 'apple', 'amazon', 'nvidia', 'tesla']"
	languages = "['Python', 'TypeScript', 'C++', 'Go', 'Rust', 'Java', 'Swift', 'JavaScript', 'C#', 'Kotlin', 'Dart', NULL]"
)

func (b *bench) name(r int) string {
	company := []string{"meta", "alphabet", "microsoft", "apple", "amazon", "nvidia", "tesla"}[r%7]
	return fmt.Sprintf("%s-%d/repository-%d", company, r%280, r)
}

// counter is the value of a counter of repository r in hour h since 1970: it
// begins somewhere, grows at a rate of its own, faster at some times of the week,
// and some of it is taken back.
func counter(seed int, base, slope string, at string) string {
	return fmt.Sprintf("toInt64(%[2]s + %[3]s * (%[4]s - 480000) / 24 + 0.3 * %[3]s * sin(%[4]s / 26.7 + r + %[1]d) - if(cityHash64(r, intDiv(%[4]s, 200), %[1]d) %% 50 = 0, 3, 0))", seed, base, slope, at)
}

// fill makes the readings of so many days, those that are not there.
func (b *bench) fill(ctx context.Context, days int) error {
	began := time.Now()
	answer, err := b.ask(ctx, "SELECT toString(min(observed_at)) FROM pulse.github_metrics_timeseries HAVING count() > 0 FORMAT TSV", forever, nil)
	if err != nil {
		return err
	}
	oldest := last.AddDate(0, 0, 1)
	if answer = strings.TrimSpace(answer); answer != "" {
		if oldest, err = time.Parse("2006-01-02 15:04:05.000", answer); err != nil {
			return err
		}
		oldest = oldest.Truncate(24 * time.Hour)
	}
	for day := oldest.AddDate(0, 0, -1); !day.Before(last.AddDate(0, 0, 1-days)); day = day.AddDate(0, 0, -1) {
		for _, statement := range b.day(day) {
			if _, err := b.ask(ctx, statement, forever, nil); err != nil {
				return fmt.Errorf("fill %s: %w", day.Format(time.DateOnly), err)
			}
		}
		if day.Day() == 1 {
			log.Printf("filled back to %s after %s", day.Format(time.DateOnly), time.Since(began).Round(time.Second))
		}
	}
	return nil
}

// day are the statements that make one day in all tables.
func (b *bench) day(day time.Time) (out []string) {
	type column struct{ name, value string }
	counters := []struct{ name, base, slope string }{
		{"stars", "exp(12 * u)", "exp(7 * pow(v, 3)) - 1"}, {"forks", "exp(9 * u)", "exp(4 * pow(v, 3)) - 1"}, {"watchers", "exp(6 * u)", "pow(v, 4)"},
		{"open_issues", "exp(6 * u)", "2 * pow(v, 6)"}, {"closed_issues", "exp(8 * u)", "4 * pow(v, 3)"}, {"open_prs", "exp(4 * u)", "pow(v, 8)"},
		{"merged_prs", "exp(8 * u)", "6 * pow(v, 3)"}, {"closed_prs", "exp(6 * u)", "2 * pow(v, 3)"}, {"releases", "exp(4 * u)", "0.2 * v"}, {"commits_total", "exp(10 * u)", "12 * pow(v, 2)"},
	}
	windows := []struct {
		name  string
		hours int
	}{{"1h", 1}, {"24h", 24}, {"7d", 168}, {"30d", 720}}
	cols := []column{
		{"repo_id", "toInt64(1000000 + r)"}, {"name_with_owner", "concat(company, '-', toString(r % 280), '/repository-', toString(r))"},
		{"owner", "concat(assumeNotNull(company), '-', toString(r % 280))"}, {"owner_type", "'Organization'"}, {"company", companies + "[r % 7 + 1]"},
		{"primary_language", languages + "[r % 12 + 1]"}, {"is_fork", "false"}, {"is_archived", "r % 40 = 0"},
		{"created_at", "toDateTime64('2015-01-01 00:00:00', 3) + INTERVAL r % 3000 DAY"},
		{"pushed_at", "toDateTime64(intDiv(h, 1 + r % 60) * (1 + r % 60) * 3600 + cityHash64(r, intDiv(h, 1 + r % 60)) % 3600, 3)"},
		{"disk_kb", "toInt64(exp(12 * u))"}, {"observed_at", "toDateTime64(h * 3600, 3) + toIntervalMillisecond(cityHash64(r, h) % 3000000)"},
		{"sweep_id", "formatDateTime(toDateTime(h * 3600), '%Y-%m-%dT%H:00:00Z')"}, {"source", "'github'"},
		{"processed_at", "observed_at + INTERVAL 20 SECOND"}, {"revision", "1"}, {"late", "false"}, {"origin_topic_id", "'0123456789abcdef0123456789abcdef'"},
		{"origin_partition", "toInt32(r % 12)"}, {"origin_offset", "toInt64(h - 400000) * 2500 + intDiv(r, 12)"},
	}
	for i, c := range counters {
		now := counter(i, c.base, c.slope, "h")
		cols = append(cols, column{c.name, now})
		for _, w := range windows {
			cols = append(cols, column{c.name + "_delta_" + w.name, now + " - " + counter(i, c.base, c.slope, fmt.Sprintf("(h - %d)", w.hours))})
		}
	}
	for _, w := range windows {
		cols = append(cols, column{"base_at_" + w.name, fmt.Sprintf("observed_at - INTERVAL %d HOUR", w.hours)})
	}
	const dailyNames = `repo_id, stars, forks, watchers, open_issues, closed_issues, open_prs, merged_prs, closed_prs, releases, commits_total,
		stars_delta_24h, forks_delta_24h, open_issues_delta_24h, stars_per_day_24h, stars_per_day_7d, stars_per_day_30d, open_issues_per_day_7d, pushed_at, observed_at`
	ratesOf := []string{"base_at_24h", "base_at_7d", "base_at_30d", "stars_delta_7d", "stars_delta_30d", "open_issues_delta_7d"} // what dailyNames' rates follow from
	if day.Before(last.AddDate(0, 0, 1-wideDays)) {
		cols = slices.DeleteFunc(cols, func(c column) bool {
			return !strings.Contains(dailyNames, c.name) && !slices.Contains([]string{"name_with_owner", "owner", "company"}, c.name) && !slices.Contains(ratesOf, c.name)
		})
	}
	var names, values []string
	for _, c := range cols {
		names, values = append(names, c.name), append(values, c.value+" AS "+c.name)
	}
	const part = 6 // hours of one statement
	for first := 0; first < 24; first += part {
		out = append(out, fmt.Sprintf(`INSERT INTO pulse.github_metrics_timeseries (%s)
			SELECT %s FROM (
				SELECT number %% %d AS r, %d + intDiv(number, %d) AS h, (cityHash64(r) %% 1000003) / 1000003 AS u, (cityHash64(r, 'v') %% 1000003) / 1000003 AS v
				FROM numbers(%d) WHERE cityHash64(r, h) %% 100 != 0 AND cityHash64(r, intDiv(h, 24)) %% 200 != 0)`,
			strings.Join(names, ", "), strings.Join(values, ", "), b.repos, int(day.Unix()/3600)+first, b.repos, b.repos*part))
	}
	on := "FROM pulse.github_metrics_timeseries WHERE toDate(observed_at) = '" + day.Format(time.DateOnly) + "'"
	const version = "bitShiftLeft(toUInt64(toUnixTimestamp64Milli(observed_at)), 16) + 1 AS version"
	out = append(out,
		"INSERT INTO pulse.github_daily (day, version, "+dailyNames+") SELECT toDate(observed_at) AS day, "+version+", "+dailyNames+" "+on+" ORDER BY observed_at DESC LIMIT 1 BY repo_id",
		"INSERT INTO pulse.github_pushes (repo_id, pushed_at) SELECT DISTINCT repo_id, assumeNotNull(pushed_at) "+on)
	if day.Equal(last) {
		var state []string
		for _, n := range names {
			if !strings.HasPrefix(n, "origin_") {
				state = append(state, n)
			}
		}
		list := strings.Join(state, ", ")
		out = append(out, "INSERT INTO pulse.github_processed_repos (node_id, name, version, "+list+") SELECT '' AS node_id, name_with_owner AS name, "+version+", "+list+" "+on+" ORDER BY observed_at DESC LIMIT 1 BY repo_id",
			"INSERT INTO pulse.sweeps (sweep_id, owner, status, started_at, finished_at, expected, seen) SELECT '2026-10-31T23:00:00Z', owner, 'complete', now(), now(), count(), count() FROM pulse.github_processed_repos FINAL GROUP BY owner")
	}
	return out
}
