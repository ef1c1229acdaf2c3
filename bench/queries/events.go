package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jedib0t/go-pretty/v6/table"
)

// eventDays are the days that the events are spread over.
const eventDays = 365

// fillEvents makes so many events. Of 30,000 repositories the first has 58 of 10,000
// events, the middle one 24 of a million. Half of the events are of issues and pull
// requests, six to an item within ten days of its begin; a repository has some hundred
// accounts, the first of them with the most events, one of twenty a bot.
func (b *bench) fillEvents(ctx context.Context, events int) error {
	if there, err := b.ask(ctx, "SELECT count() FROM pulse.github_events FORMAT TSV", forever, nil); err != nil || strings.TrimSpace(there) == strconv.Itoa(events) {
		return err // a folder that was filled before
	}
	began := time.Now()
	const part = 2_000_000
	for from := 0; from < events; from += part {
		statement := fmt.Sprintf(`INSERT INTO pulse.github_events (event_type, event_id, created_at, repo_id, name_with_owner, owner, actor_id, actor_login, actor_is_bot,
			action, subject_kind, number, author_id, author_login, author_is_bot, subject_created_at, ref, commits, observed_at, source)
		WITH
			cityHash64(number, 1) AS h, (h %% 1000003) / 1000003 AS u, toInt64(%[1]d * u * u) AS r, cityHash64(number, 2) %% 100 AS k,
			['meta', 'alphabet', 'microsoft', 'apple', 'amazon', 'nvidia', 'tesla'][r %% 7 + 1] AS company,
			multiIf(k < 35, 'PushEvent', k < 50, 'IssueCommentEvent', k < 65, 'PullRequestEvent', k < 75, 'PullRequestReviewEvent', k < 87, 'WatchEvent', k < 94, 'IssuesEvent', k < 97, 'ForkEvent', k < 99, 'CreateEvent', 'ReleaseEvent') AS kind,
			kind IN ('IssueCommentEvent', 'PullRequestEvent', 'PullRequestReviewEvent', 'IssuesEvent') AS of_item,
			toInt64(cityHash64(number, 3) %% toUInt64(1 + %[2]d / (24 * sqrt(%[1]d * (r + 1))))) AS item, kind IN ('PullRequestEvent', 'PullRequestReviewEvent') OR kind = 'IssueCommentEvent' AND item %% 2 = 0 AS pull,
			toInt64(2 * item + pull + 1) AS number_of_item, toInt64(%[3]d) * 86400000 AS span, toInt64(%[4]d) AS begins,
			begins + toInt64(cityHash64(r, number_of_item) %% span) AS item_begins,
			cityHash64(number, 4) %% 3 AS step,
			multiIf(NOT of_item, begins + toInt64(cityHash64(number, 5) %% span), kind IN ('PullRequestEvent', 'IssuesEvent') AND step = 0, item_begins,
				least(item_begins + toInt64(cityHash64(number, 5) %% if(step = 0, 5, 10) * 86400000 * pow((cityHash64(number, 6) %% 1000) / 1000, 2)), begins + span - 1)) AS at,
			(cityHash64(number, 7) %% 1000003) / 1000003 AS v, r * 40 + toInt64(300 * v * v * v) AS actor, r * 40 + toInt64(cityHash64(r, number_of_item, 'a') %% 60) AS author
		SELECT kind, toInt64(number + 1), fromUnixTimestamp64Milli(at), toInt64(1000000 + r), concat(company, '-', toString(r %% 280), '/repository-', toString(r)), concat(company, '-', toString(r %% 280)),
			actor, concat('account-', toString(actor)), actor %% 20 = 0,
			multiIf(kind IN ('PullRequestEvent', 'IssuesEvent'), multiIf(step = 0, 'opened', step = 1 AND pull, 'merged', 'closed'), kind IN ('WatchEvent'), 'started', kind = 'ReleaseEvent', 'published', kind IN ('IssueCommentEvent', 'PullRequestReviewEvent'), 'created', NULL),
			if(of_item, if(pull, 'pull_request', 'issue'), NULL), if(of_item, number_of_item, NULL), if(of_item, author, NULL), if(of_item, concat('account-', toString(author)), NULL), if(of_item, author %% 20 = 0, NULL),
			if(of_item, fromUnixTimestamp64Milli(item_begins), NULL), if(kind = 'PushEvent', 'refs/heads/main', NULL), if(kind = 'PushEvent', toInt64(1 + cityHash64(number, 8) %% 5), NULL), fromUnixTimestamp64Milli(at + 300000), 'github'
		FROM numbers(%[5]d, %[6]d)`, b.repos, events, eventDays, last.AddDate(0, 0, 1-eventDays).UnixMilli(), from, min(part, events-from))
		if _, err := b.ask(ctx, statement, forever, nil); err != nil {
			return fmt.Errorf("fill events from %d: %w", from, err)
		}
		if from/part%10 == 9 {
			log.Printf("%d events after %s", from+part, time.Since(began).Round(time.Second))
		}
	}
	_, err := b.ask(ctx, "OPTIMIZE TABLE pulse.github_events", forever, nil)
	return err
}

var (
	datasetSQL = regexp.MustCompile(`(?s)\nsql: \|\n(.*?)\nparams: null\n`)
	template   = regexp.MustCompile(`(?s)\{% set .*\{% endset %\}\n`)
)

// slow is from when on a query is run once only.
const slow = 5 * time.Second

// measureEvents runs the datasets of the dashboard Contributors and Flow, as its charts
// ask for them over 90 days.
func (b *bench) measureEvents(ctx context.Context) error {
	size, err := b.ask(ctx, "SELECT concat(toString(sum(rows)), ' events, ', formatReadableSize(sum(bytes_on_disk)), ', ', toString(round(sum(bytes_on_disk) / sum(rows), 1)), ' bytes an event') FROM system.parts WHERE active AND table = 'github_events' FORMAT TSVRaw", forever, nil)
	if err != nil {
		return err
	}
	fmt.Printf("\n%s", size)
	files, err := filepath.Glob("infra/superset/flow/datasets/*/*.yaml")
	if err != nil || len(files) == 0 {
		return fmt.Errorf("find the datasets of flow: %d, %w", len(files), err)
	}
	scopes := []struct{ name, where string }{
		{"the busiest repository", "label = '" + b.name(0) + "'"},
		{"a middle repository", "label = '" + b.name(b.repos/2) + "'"},
		{"a company", "company_name = 'Meta'"},
	}
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	t.SetStyle(table.StyleLight)
	head := table.Row{"Dataset"}
	for _, s := range scopes {
		head = append(head, s.name+": p50 ms", "p95 ms", "MB read")
	}
	t.AppendHeader(head)
	slices.Sort(files)
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return err
		}
		sql := datasetSQL.FindStringSubmatch(string(text))
		if sql == nil {
			return fmt.Errorf("%s has no query", file)
		}
		row := table.Row{strings.TrimSuffix(filepath.Base(file), ".yaml")}
		for _, s := range scopes {
			q := strings.NewReplacer("{{ days }}", "90", "{{ chosen }}", "repo_id IN (SELECT repo_id FROM pulse.repositories WHERE "+s.where+")").Replace(template.ReplaceAllString(sql[1], ""))
			q = "SELECT * FROM (\n" + q + "\n) AS virtual_table LIMIT 50000 FORMAT Null"
			took, err := b.once(ctx, q, forever)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", file, s.name, err)
			}
			if took > slow { // more runs would say nothing else
				row = append(row, ms(took), "", "")
				continue
			}
			f, err := b.time(ctx, q)
			if err != nil {
				return fmt.Errorf("%s of %s: %w", file, s.name, err)
			}
			row = append(row, ms(f.p50), ms(f.p95), fmt.Sprintf("%.1f", float64(f.bytes)/1e6))
		}
		t.AppendRow(row)
		log.Printf("%v", row)
	}
	t.Render()
	return nil
}
