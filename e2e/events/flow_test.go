package events_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/functions/api/hot"
	"github.com/m7pulse/m7pulse/shared/feed"
)

func TestWaitsThatHaveNotEndedCountForAsLongAsTheyWereSeen(t *testing.T) {
	w := &world{t: t, owner: "flowing"}
	w.repository(54, "tool",
		row{"observed_at": day(298), "stars": 10, "forks": nil}, row{"observed_at": day(299), "stars": 12, "forks": 3})
	after := func(d int, hours float64) time.Time {
		return day(d).Add(time.Duration(hours * float64(time.Hour)))
	}
	opened := func(number int64, who string, d int) {
		w.happens(54, day(d), "IssuesEvent", "opened", who, issue(number), begun(who, day(d)))
	}
	// 1: answered by bob after 4 h, not by its author nor by a bot; closed after 10 h.
	opened(1, "ada", 290)
	w.happens(54, after(290, 1), "IssueCommentEvent", "created", "ada", issue(1))
	w.happens(54, after(290, 2), "IssueCommentEvent", "created", "github-actions[bot]", issue(1))
	w.happens(54, after(290, 3), "IssuesEvent", "labeled", "bob", issue(1))
	w.happens(54, after(290, 4), "IssueCommentEvent", "created", "bob", issue(1))
	w.happens(54, after(290, 10), "IssuesEvent", "closed", "bob", issue(1))
	opened(2, "ada", 291) // waits still
	opened(3, "ada", 292) // closed by its author after 2 h: nobody can answer it any more
	w.happens(54, after(292, 2), "IssuesEvent", "closed", "ada", issue(3))
	opened(4, "renovate[bot]", 292)
	w.happens(54, after(293, 0), "IssueCommentEvent", "created", "bob", issue(5), begun("ada", day(200))) // opened before the window
	w.happens(54, after(293, 0), "IssuesEvent", "closed", "bob", issue(6))                                // nobody says when
	// 7: closed after an hour, reopened, and open.
	opened(7, "ada", 290)
	w.happens(54, after(290, 1), "IssuesEvent", "closed", "bob", issue(7))
	w.happens(54, after(290, 2), "IssuesEvent", "reopened", "bob", issue(7))

	request := func(number int64) { w.happens(54, day(290), "PullRequestEvent", "opened", "ada", pull(number)) }
	request(10) // reviewed after 1 h, merged after 3
	w.happens(54, after(290, 1), "PullRequestReviewEvent", "created", "bob", pull(10))
	w.happens(54, after(290, 3), "PullRequestEvent", "merged", "bob", pull(10))
	request(11) // closed unmerged by its author
	w.happens(54, after(290, 2), "PullRequestEvent", "closed", "ada", pull(11))
	request(12) // answered after 5 h, open
	w.happens(54, after(290, 5), "IssueCommentEvent", "created", "bob", pull(12))

	for range 5 {
		w.happens(54, day(295), "WatchEvent", "started", "eve")
	}
	w.happens(54, day(295), "ForkEvent", "forked", "eve")
	w.happens(54, day(200), "WatchEvent", "started", "eve") // before the window
	w.happens(54, after(295, 13.9), "PushEvent", "", "ada", func(e *feed.Event) { e.Ref = new("refs/heads/main") })
	w.happens(54, after(295, 13), "ReleaseEvent", "published", "ada")
	w.happens(54, after(295, 13), "ReleaseEvent", "edited", "ada")
	w.store()

	got, err := hot.FlowOf(t.Context(), reader(t), hot.Scope{RepoID: 54}, 30)
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, w := range got.Times {
		lines = append(lines, fmt.Sprintf("%s: %d of %d, median %s, p90 %s, unknown %d", w.Measure, w.Ended, w.Items, known(w.MedianSeconds), known(w.P90Seconds), w.UnknownBegin))
	}
	same(t, lines, []string{
		"issue_close: 2 of 4, median 36000, p90 unknown, unknown 1",
		"issue_first_response: 2 of 4, median 14400, p90 unknown, unknown 1",
		"pull_request_close: 2 of 3, median 10800, p90 unknown, unknown 0",
		"pull_request_first_response: 2 of 3, median 18000, p90 18000, unknown 0",
		"pull_request_first_review: 1 of 3, median unknown, p90 unknown, unknown 0",
		"pull_request_merge: 1 of 3, median unknown, p90 unknown, unknown 0",
	})
	lines = nil
	for _, i := range got.Items {
		lines = append(lines, fmt.Sprintf("%s: %d opened, %d closed, %d merged, %d reopened", i.Kind, i.Opened, i.Closed, i.Merged, i.Reopened))
	}
	for _, g := range got.Gross {
		lines = append(lines, fmt.Sprintf("%s: %d gained, %s net", g.Counter, g.Gained, known(g.Net)))
	}
	for _, h := range got.Hours {
		lines = append(lines, fmt.Sprintf("weekday %d, hour %d: %d pushes, %d releases", h.Weekday, h.Hour, h.Pushes, h.Releases))
	}
	same(t, lines, []string{
		"issue: 5 opened, 4 closed, 0 merged, 1 reopened", "pull_request: 3 opened, 1 closed, 1 merged, 0 reopened",
		"stars: 5 gained, 2 net", "forks: 1 gained, unknown net",
		fmt.Sprintf("weekday %d, hour 13: 1 pushes, 1 releases", (int(day(295).Weekday())+6)%7+1),
	})
	if got.Coverage == nil || got.Coverage.Kind != "all" {
		t.Errorf("coverage %+v", got.Coverage)
	}
}

// TestTheAPIAnswersPeopleAndFlow in the forms of every resource.
func TestTheAPIAnswersPeopleAndFlow(t *testing.T) {
	w := &world{t: t, owner: "asked"}
	w.repository(61, "tool")
	w.happens(61, day(295), "PullRequestEvent", "opened", "ada", pull(1))
	w.happens(61, day(296), "PullRequestEvent", "merged", "bob", pull(1))
	w.store()
	server := served(t)
	var people struct {
		Data hot.People `json:"data"`
	}
	get(t, server, "/api/v1/people?repository=asked/tool&window=7d", 200, &people)
	if c := people.Data.Concentration; c.Days != 7 || c.Merged != 1 || c.BusFactor == nil || *c.BusFactor != 1 || len(people.Data.Contributors) != 3 {
		t.Errorf("people %+v", people.Data)
	}
	var flow struct {
		Data hot.Flow `json:"data"`
	}
	get(t, server, "/api/v1/flow?owner=asked", 200, &flow)
	if f := flow.Data; f.Days != 30 || len(f.Times) != 4 || f.Times[3].Measure != "pull_request_merge" || f.Times[3].MedianSeconds == nil || *f.Times[3].MedianSeconds != 86400 {
		t.Errorf("flow %+v", flow.Data)
	}
	for _, path := range []string{"/api/v1/people?company=nobody&format=csv", "/api/v1/flow?company=asked&format=csv", "/api/v1/people?format=parquet", "/api/v1/flow?window=90d&format=ndjson"} {
		get(t, server, path, 200, nil)
	}
	get(t, server, "/api/v1/people?window=8d", 422, nil)
	get(t, server, "/api/v1/flow?repository=asked/nothing", 404, nil)
}
