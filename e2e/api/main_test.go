// Package api_test asks the function api over an embedded ClickHouse that holds a
// small world made by hand.
package api_test

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/e2e/storetest"
	"github.com/m7pulse/m7pulse/functions/api"
)

// store is the address of the embedded ClickHouse of this process, and reader that of its
// reader. It has the schema and world in it.
var store, reader string //nolint:gochecknoglobals // one engine for each process

func TestMain(m *testing.M) {
	os.Exit(storetest.Run(m, func(ctx context.Context, s storetest.Store) error {
		store, reader = s.Address, s.Reader
		for _, statement := range world() {
			if _, err := s.Ask(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}))
}

// hostile is a text that is a formula, markup and SQL.
const hostile = `=cmd|' /C calc'!A0 <script>alert(1)</script> \'; DROP TABLE pulse.sweeps --`

// world has, over 15 days from 1 January 2026:
//
//	acme/steady   10 stars a day, not read on day 7; acme/.github and acme/a.b-c_d
//	ünï/cödé      of no company, whose language is not known
//	acme/after    called acme/before until day 8
//	acme/twice    repo_id 6 until day 5, another since
//	gone/gone     last read on day 5
//	page/0…24     of equal stars, of every fifth the forks are not known
//
// acme's last sweep was complete, gone's failed.
func world() []string {
	const day = "toDateTime64('2026-01-01 06:00:00', 3) + INTERVAL d DAY"
	series := func(id int, name, owner, company, language, stars, forks, days string) string {
		return fmt.Sprintf(`INSERT INTO pulse.github_metrics_timeseries
			(repo_id, name_with_owner, owner, owner_type, company, primary_language, stars, forks, observed_at, sweep_id, source, processed_at, revision,
				base_at_24h, stars_delta_24h, base_at_7d, stars_delta_7d, base_at_30d)
			SELECT %d, %s, '%s', 'Organization', %s, %s, %s, %s, %s, 's', 'by-hand', %s, d + 1,
				if(d >= 1, %[8]s - INTERVAL 1 DAY, NULL), if(d >= 1, stars - (stars - 10), NULL), if(d >= 7, %[8]s - INTERVAL 7 DAY, NULL), if(d >= 7, intDiv(stars, 100), NULL), NULL
			FROM (SELECT toInt64(number) AS d FROM numbers(15)) WHERE %[9]s`, id, name, owner, company, language, stars, forks, day, days)
	}
	acme := "'acme'"
	out := []string{
		series(1, "'acme/steady'", "acme", acme, "'Go'", "1000 + 10 * d AS stars", "d", "d != 7"),
		series(2, "'acme/.github'", "acme", acme, "NULL", "5 AS stars", "1", "1"),
		series(3, "'acme/a.b-c_d'", "acme", acme, "'Rust'", "700 + d AS stars", "2", "1"),
		series(4, "'ünï/cödé'", "ünï", "NULL", "NULL", "300 AS stars", "3", "1"),
		series(5, "if(d < 8, 'acme/before', 'acme/after')", "acme", acme, "'Go'", "50 + d AS stars", "4", "1"),
		series(6, "'acme/twice'", "acme", acme, "'Go'", "90 AS stars", "5", "d < 5"),
		series(7, "'acme/twice'", "acme", acme, "'Go'", "9 AS stars", "6", "d >= 6"),
		series(8, "'gone/gone'", "gone", "'gone'", "'Go'", "80 AS stars", "7", "d <= 5"),
	}
	for i := range 25 {
		forks := fmt.Sprint(i)
		if i%5 == 0 {
			forks = "NULL"
		}
		out = append(out, series(100+i, fmt.Sprintf("'page/%d'", i), "page", "'page'", "'C'", "400 AS stars", forks, "d >= 13"))
	}
	return append(out,
		`INSERT INTO pulse.github_processed_repos
			(repo_id, name_with_owner, owner, owner_type, company, name, description, primary_language, languages, topics, stars, forks, observed_at, sweep_id, source, processed_at, revision,
				base_at_24h, stars_delta_24h, base_at_7d, stars_delta_7d, version)
			SELECT repo_id, name_with_owner, owner, owner_type, company, splitByChar('/', toString(name_with_owner))[2], if(repo_id = 3, '`+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(hostile)+`', NULL), primary_language,
				if(repo_id = 1, [('Go', 100), ('C', 7)], []), if(repo_id = 1, ['db', 'cli'], []), stars, forks, observed_at, sweep_id, source, processed_at, revision,
				base_at_24h, stars_delta_24h, base_at_7d, stars_delta_7d, bitShiftLeft(toUInt64(toUnixTimestamp64Milli(observed_at)), 16) + revision
			FROM pulse.github_metrics_timeseries`,
		`INSERT INTO pulse.github_daily (repo_id, day, stars, forks, stars_delta_24h, observed_at, version)
			SELECT repo_id, toDate(observed_at), stars, forks, stars_delta_24h, observed_at, 1 FROM pulse.github_metrics_timeseries`,
		`INSERT INTO pulse.github_signals (signal_id, kind, severity, repo_id, name_with_owner, owner, company, observed_at, metric, value, usual, window, words, evidence) VALUES
			('breakout/1@1768456800000', 'breakout', 'notice', 1, 'acme/steady', 'acme', 'acme', '2026-01-15 06:00:00', 'stars', 312, 10.5, '24h', 'acme/steady gained 312 stars in 24 h', '1@1768456800000'),
			('release/1@1768456800000', 'release', 'info', 1, 'acme/steady', 'acme', 'acme', '2026-01-15 06:00:00', 'releases', 4, NULL, NULL, 'acme/steady has released v4', '1@1768456800000'),
			('transferred/5@1767852000000', 'transferred', 'notice', 5, 'acme/after', 'acme', 'acme', '2026-01-08 06:00:00', NULL, NULL, NULL, NULL, '`+strings.NewReplacer(`\`, `\\`, `'`, `\'`).Replace(hostile)+`', '5@1767852000000'),
			('owner_failed/gone@1768456920000', 'owner_failed', 'critical', NULL, NULL, 'gone', NULL, '2026-01-15 06:02:00', NULL, NULL, NULL, NULL, 'GitHub was away', '2026-01-15T06:00:00Z/gone')`,
		`INSERT INTO pulse.github_signals (signal_id, kind, severity, owner, observed_at, words, evidence) VALUES
			('breakout/1@1768456800000', 'breakout', 'notice', 'acme', '2026-01-15 06:00:00', 'the same again', '1@1768456800000')`,
		`INSERT INTO pulse.sweeps (sweep_id, owner, status, started_at, finished_at, expected, seen, unanswered, pages, killed_pages, points, seconds, reason) VALUES
			('2026-01-14T06:00:00Z', 'acme', 'failed', '2026-01-14 06:00:00', '2026-01-14 06:01:00', NULL, 0, 0, 0, 0, 0, 0, 'GitHub was away'),
			('2026-01-15T06:00:00Z', 'acme', 'complete', '2026-01-15 06:00:00', '2026-01-15 06:01:00', 6, 6, 0, 1, 0, 1, 1.5, NULL),
			('2026-01-15T06:00:00Z', 'gone', 'failed', '2026-01-15 06:00:00', '2026-01-15 06:02:00', NULL, 0, 0, 0, 0, 0, 0, 'GitHub was away')`)
}

// started is the function over the world.
func started(t *testing.T, env map[string]string) *httptest.Server {
	t.Helper()
	all := map[string]string{"CLICKHOUSE_READER_URL": reader, "API_RATE": "100000"}
	for k, v := range env {
		all[k] = v
	}
	function := api.New()
	if err := function.Start(t.Context(), all); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(function.Handle))
	t.Cleanup(func() {
		server.Close()
		if err := function.Stop(context.WithoutCancel(t.Context())); err != nil {
			t.Error(err)
		}
	})
	return server
}

type answer struct {
	status int
	header http.Header
	body   string
}

// get asks for a path; headers are pairs.
func get(t *testing.T, server *httptest.Server, path string, headers ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	client := http.Client{Timeout: time.Minute, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, resp.Header, string(body)}
}
