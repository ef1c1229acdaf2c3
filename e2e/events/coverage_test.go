package events_test

import (
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/infra/local/github"
	"github.com/m7pulse/m7pulse/shared/feed"
)

// TestTheMeterSaysHowMuchAFeedHasLost: a GitHub that keeps 30 % of its events from the
// feeds, though its counters move. Each day's last reading is at another minute.
func TestTheMeterSaysHowMuchAFeedHasLost(t *testing.T) {
	if testing.Short() {
		t.Skip("slow: make long-test runs it")
	}
	for _, lost := range []float64{0, .3} {
		t.Run(fmt.Sprintf("%v lost", lost), func(t *testing.T) {
			owner := fmt.Sprintf("lossy%d", int(lost*100))
			const days = 5
			start := day(100)
			github := emulated(t, owner, lost, start)
			var daily []row
			for d := range days {
				at := start.AddDate(0, 0, d).Add(23*time.Hour + time.Duration(7*d)*time.Minute)
				github.at(at)
				daily = append(daily, github.counters(at)...)
			}
			github.at(start.AddDate(0, 0, days+1)) // what the last readings need behind them
			shown, happened := github.store(t, daily)

			conn := reader(t)
			got, err := hot.Coverage(t.Context(), conn, hot.Scope{Owner: owner}, hot.Span{From: start, To: start.AddDate(0, 0, days), Zone: time.UTC})
			if err != nil {
				t.Fatal(err)
			}
			i := slices.IndexFunc(got, func(c hot.Covered) bool { return c.Kind == "all" })
			if i < 0 || got[i].Coverage == nil {
				t.Fatalf("no coverage of all: %+v", got)
			}
			all := got[i]
			truth := float64(shown) / float64(happened)
			t.Logf("%d of %d events were shown, %.2f %% lost; the meter: %d of %d, %.2f %%", shown, happened, 100*(1-truth), all.Events, *all.Change, 100*(1-*all.Coverage))
			if happened < 50_000 || math.Abs(*all.Coverage-truth) > .01 || math.Abs(1-*all.Coverage-lost) > .01 {
				t.Errorf("the meter says that %.2f %% are lost, want %.2f %%", 100*(1-*all.Coverage), 100*lost)
			}
			if verdict := map[bool]string{true: "complete", false: "incomplete"}[lost == 0]; all.Verdict == nil || *all.Verdict != verdict {
				t.Errorf("verdict %v, want %s", all.Verdict, verdict)
			}
		})
	}
}

// lossy is an emulated GitHub whose clock is moved by hand.
type lossy struct {
	server *github.Server
	repos  []*github.Repo
	owner  string
	clock  time.Time
}

func emulated(t *testing.T, owner string, lost float64, start time.Time) *lossy {
	t.Helper()
	w := github.Generate(github.Plan{
		Seed: uint64(len(owner)), Owners: []github.OwnerPlan{{Login: owner, Repos: 60}}, Start: start.Add(-time.Hour),
		Feeds: github.Feeds{Seed: 5, Rate: 400, Lost: lost, Latency: time.Hour},
	})
	l := &lossy{repos: w.Owners[0].Repos, owner: owner, clock: start}
	var err error
	if l.server, err = github.New(w, "token"); err != nil {
		t.Fatal(err)
	}
	l.server.SetClock(func() time.Time { return l.clock })
	return l
}

// at lets time pass.
func (l *lossy) at(now time.Time) {
	l.clock = now
	l.server.Change(func(*github.World) {})
}

// counters are readings of all repositories, as github_daily holds them.
func (l *lossy) counters(at time.Time) (out []row) {
	l.server.Change(func(*github.World) {
		for _, r := range l.repos {
			out = append(out, row{"repo_id": l.id(r), "day": at.Format(time.DateOnly), "observed_at": at, "stars": r.Stars, "forks": r.Forks, "merged_prs": r.MergedPRs,
				"closed_prs": r.ClosedPRs, "closed_issues": r.ClosedIssues, "releases": r.Releases, "version": at.UnixMilli()})
		}
	})
	return out
}

// id is that of a repository, which differs between the worlds of two owners.
func (l *lossy) id(r *github.Repo) int64 { return r.ID + 1_000_000*identity(l.owner) }

// store puts readings and all events that feeds show into ClickHouse.
func (l *lossy) store(t *testing.T, daily []row) (shown, happened int) {
	t.Helper()
	var repos, reads []row
	var events []*feed.Event
	read := feed.Reader{Bots: feed.NewBots(), Source: "rest"}
	for _, r := range l.repos {
		name := l.owner + "/" + r.Name
		repos = append(repos, row{"repo_id": l.id(r), "name_with_owner": name, "owner": l.owner, "name": r.Name, "observed_at": l.clock, "stars": r.Stars, "version": 1})
		reads = append(reads,
			row{"repo_id": l.id(r), "name_with_owner": name, "owner": l.owner, "status": "complete", "read_at": day(100)},
			row{"repo_id": l.id(r), "name_with_owner": name, "owner": l.owner, "status": "complete", "since": day(100), "read_at": l.clock})
		for _, h := range l.server.Happened(r.ID) {
			if happened++; h.Shown.IsZero() {
				continue
			}
			shown++
			e, err := read.Read(h.JSON(), l.clock)
			if err != nil {
				t.Fatal(err)
			}
			e.RepoID = l.id(r)
			events = append(events, e)
		}
	}
	insert(t, "github_processed_repos", repos...)
	insert(t, "github_daily", daily...)
	insert(t, "github_feed_reads", reads...)
	insert(t, "github_events", events...)
	return shown, happened
}

// TestCoverageIsUnknownWhereNothingCanBeSaid has one repository over six days, read at
// 23:00, and one event an hour before each reading.
func TestCoverageIsUnknownWhereNothingCanBeSaid(t *testing.T) {
	w := &world{t: t, owner: "covered"}
	const id = 31
	at := func(d int) time.Time { return day(d).Add(23 * time.Hour) }
	reading := func(d int, stars, forks, closed int, releases any) row {
		return row{"observed_at": at(d), "stars": stars, "forks": forks, "merged_prs": 7, "closed_prs": nil, "closed_issues": closed, "releases": releases}
	}
	w.repository(id, "tool",
		reading(0, 10, 1, 5, 1), reading(1, 13, 3, 5, 1), reading(2, 12, 3, 5, 2), reading(4, 12, 9, 5, 2), reading(5, 13, 10, 4, nil), reading(6, 14, 11, 4, nil))
	fork := func(d int) { w.happens(id, at(d).Add(-time.Hour), "ForkEvent", "forked", "ada") }
	fork(0) // so far the feed reaches back
	// Day 1: one of two forks; one star though three net were gained; an issue closed and reopened.
	fork(1)
	w.happens(id, at(1).Add(-time.Hour), "WatchEvent", "started", "ada")
	w.happens(id, at(1).Add(-time.Hour), "IssuesEvent", "closed", "ada")
	w.happens(id, at(1).Add(-time.Minute), "IssuesEvent", "reopened", "ada")
	// Day 2: the release, and a star though one net was lost. Half an hour after the
	// reading one forks: an event of day 3, which was not read.
	w.happens(id, at(2).Add(-time.Hour), "ReleaseEvent", "published", "ada")
	w.happens(id, at(2).Add(-time.Hour), "WatchEvent", "started", "ada")
	w.happens(id, at(2).Add(30*time.Minute), "ForkEvent", "forked", "ada")
	// Day 5: a fork; of stars as many events as the counter says at least.
	fork(5)
	w.happens(id, at(5).Add(-time.Hour), "WatchEvent", "started", "ada")
	// Day 6 has not been read to its end.
	fork(6)
	w.store()
	insert(t, "github_feed_reads",
		row{"repo_id": id, "status": "complete", "read_at": day(0)},
		row{"repo_id": id, "status": "gap", "since": day(0), "read_at": day(2), "gap_from": day(1), "gap_to": day(1).Add(time.Minute)},
		row{"repo_id": id, "status": "complete", "since": day(2), "read_at": at(5).Add(6 * time.Hour)},
		row{"repo_id": id, "status": "failed", "since": at(5), "read_at": at(7)})

	want(t, fmt.Sprintf("SELECT toDayOfMonth(day) - 1 AS d, kind, events, change, is_known, has_gap, coverage, verdict FROM pulse.event_coverage WHERE repo_id = %d ORDER BY d, kind", id),
		`1 all 1 2 true true 0.5 incomplete`,
		`1 closed_issues 0 0 true true \N \N`,
		`1 closed_prs 0 \N false true \N \N`,
		`1 forks 1 2 true true 0.5 incomplete`,
		`1 merged_prs 0 0 true true \N \N`,
		`1 releases 0 0 true true \N \N`,
		`1 stars 1 3 true true 0.3333333333333333 incomplete`,
		`2 all 1 1 true false 1 complete`,
		`2 closed_issues 0 0 true false \N \N`,
		`2 closed_prs 0 \N false false \N \N`,
		`2 forks 0 0 true false \N \N`,
		`2 merged_prs 0 0 true false \N \N`,
		`2 releases 1 1 true false 1 complete`,
		`2 stars 1 -1 false false \N \N`,
		`5 all 1 1 true false 1 complete`,
		`5 closed_issues 0 -1 false false \N \N`,
		`5 closed_prs 0 \N false false \N \N`,
		`5 forks 1 1 true false 1 complete`,
		`5 merged_prs 0 0 true false \N \N`,
		`5 releases 0 \N false false \N \N`,
		`5 stars 1 1 true false \N \N`,
		`6 all 1 1 false false \N \N`,
		`6 closed_issues 0 0 false false \N \N`,
		`6 closed_prs 0 \N false false \N \N`,
		`6 forks 1 1 false false \N \N`,
		`6 merged_prs 0 0 false false \N \N`,
		`6 releases 0 \N false false \N \N`,
		`6 stars 0 1 false false \N \N`)

	conn := reader(t)
	got, err := hot.Coverage(t.Context(), conn, hot.Scope{RepoID: id}, hot.Span{From: day(0), To: day(9), Zone: time.UTC})
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, c := range got {
		line := fmt.Sprint(c.Kind, " ", c.Events)
		if c.Change != nil {
			line += fmt.Sprint(" of ", *c.Change)
		}
		if c.Coverage != nil {
			line += fmt.Sprintf(" %.2f %s", *c.Coverage, *c.Verdict)
		}
		lines = append(lines, fmt.Sprint(line, ", ", c.Days, " days, ", c.Gaps, " gaps"))
	}
	if want := []string{
		"all 3 of 4 0.75 incomplete, 3 days, 1 gaps", "forks 2 of 3 0.67 incomplete, 3 days, 1 gaps", "merged_prs 0 of 0, 3 days, 1 gaps", "closed_prs 0, 0 days, 1 gaps",
		"closed_issues 0 of 0, 2 days, 1 gaps", "releases 1 of 1 1.00 complete, 2 days, 1 gaps", "stars 2 of 4 0.50 incomplete, 2 days, 1 gaps",
	}; !slices.Equal(lines, want) {
		t.Errorf("got\n%q\nwant\n%q", lines, want)
	}
}

// TestTheAPISaysHowManyEventsAreLost of a repository, an owner and a company.
func TestTheAPISaysHowManyEventsAreLost(t *testing.T) {
	w := &world{t: t, owner: "metered"}
	reading := func(id int64, d, forks int) row {
		return row{"observed_at": day(d).Add(23 * time.Hour), "stars": 5, "forks": forks, "repo_id": id}
	}
	w.repository(41, "one", reading(41, 20, 1), reading(41, 21, 5))
	w.repository(42, "two", reading(42, 20, 1), reading(42, 21, 2))
	for id, forks := range map[int64]int{41: 3, 42: 1} {
		w.happens(id, day(20), "PushEvent", "", "ada")
		for range forks {
			w.happens(id, day(21), "ForkEvent", "forked", "ada")
		}
		w.happens(id, day(22).Add(6*time.Hour), "PushEvent", "", "ada")
	}
	w.store()
	server := served(t)
	for query, want := range map[string]string{
		"repository=METERED/one":                      `3 of 4, 0.75 incomplete`,
		"repository=42":                               `1 of 1, 1.00 complete`,
		"owner=Metered":                               `4 of 5, 0.80 incomplete`,
		"company=metered&by=day":                      `4 of 5, 0.80 incomplete`,
		"owner=metered&from=2026-01-23&to=2026-01-31": ``,
		"owner=metered&from=2026-01-01&to=2026-01-10": ``,
	} {
		var got struct {
			Data []hot.Covered `json:"data"`
		}
		get(t, server, "/api/v1/coverage?"+query, 200, &got)
		line := ""
		for _, c := range got.Data {
			if c.Kind == "all" {
				line = fmt.Sprintf("%d of %d, %.2f %s", c.Events, *c.Change, *c.Coverage, *c.Verdict)
			}
		}
		if line != want {
			t.Errorf("%s: %q, want %q", query, line, want)
		}
	}
	get(t, server, "/api/v1/coverage?repository=metered/three", 404, nil)
	get(t, server, "/api/v1/coverage?repository=metered/one&owner=metered", 422, nil)
}
