package events_test

import (
	"fmt"
	"reflect"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/functions/api/hot"
)

// people are the contributors of a scope in lines of text.
func people(t *testing.T, scope hot.Scope, days int) (lines []string, all hot.People) {
	t.Helper()
	all, err := hot.PeopleOf(t.Context(), reader(t), scope, days)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range all.Contributors {
		lines = append(lines, fmt.Sprintf("%d %s: %d active, %s new, %d continuing, %s returning, %d left", c.Days, c.Kind, c.Active, known(c.New), c.Continuing, known(c.Returning), c.Left))
	}
	return lines, all
}

func known[V any](v *V) string {
	if v == nil {
		return "unknown"
	}
	return fmt.Sprint(*v)
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got\n%q\nwant\n%q", got, want)
	}
}

func TestContributorsAreNewContinuingOrReturning(t *testing.T) {
	w := &world{t: t, owner: "peopled"}
	w.repository(51, "old")
	w.repository(52, "young")
	push := func(repo int64, who string, days ...int) {
		for _, d := range days {
			w.happens(repo, day(d), "PushEvent", "", who)
		}
	}
	push(51, "ada", 150, 295)
	push(51, "bob", 290, 299)
	push(51, "cy", 299)
	push(51, "dora", 288)
	push(51, "dependabot[bot]", 100, 299)
	w.happens(51, day(299), "WatchEvent", "started", "eve") // changes nothing in it
	push(52, "cy", 293)                                     // the very edge of the window, which is not in it
	push(52, "fay", 294)
	w.store()

	lines, all := people(t, hot.Scope{RepoID: 51}, 30)
	same(t, lines, []string{
		"7 people: 3 active, 1 new, 1 continuing, 1 returning, 1 left", "7 bots: 1 active, 0 new, 0 continuing, 1 returning, 0 left",
		"30 people: 4 active, 3 new, 0 continuing, 1 returning, 0 left", "30 bots: 1 active, 0 new, 0 continuing, 1 returning, 0 left",
		"90 people: 4 active, 3 new, 1 continuing, 0 returning, 0 left", "90 bots: 1 active, 0 new, 0 continuing, 1 returning, 0 left",
	})
	if !all.AsOf.Equal(asOf()) || !all.KnownFrom.Equal(day(100)) || all.Coverage != nil {
		t.Errorf("as of %v, known from %v, coverage %v", all.AsOf, all.KnownFrom, all.Coverage)
	}
	// Nobody knows who was there before the first event.
	lines, _ = people(t, hot.Scope{RepoID: 52}, 30)
	same(t, lines, []string{
		"7 people: 1 active, unknown new, 0 continuing, unknown returning, 1 left",
		"30 people: 2 active, unknown new, 0 continuing, unknown returning, 0 left",
		"90 people: 2 active, unknown new, 0 continuing, unknown returning, 0 left",
	})
	// Who contributes to two repositories is one person.
	lines, _ = people(t, hot.Scope{Owner: "Peopled"}, 30)
	same(t, lines[:2], []string{"7 people: 4 active, 1 new, 2 continuing, 1 returning, 1 left", "7 bots: 1 active, 0 new, 0 continuing, 1 returning, 0 left"})
}

func TestMergedWorkIsItsAuthorsWhoeverMergesIt(t *testing.T) {
	w := &world{t: t, owner: "merging"}
	w.repository(53, "tool")
	number := int64(0)
	merged := func(at int) int64 {
		number++
		w.happens(53, day(at), "PullRequestEvent", "merged", "mel", pull(number))
		return number
	}
	for range 3 { // the older form says the author at the merge
		n := merged(290)
		w.events[len(w.events)-1].Number = &n
		begun("ada", day(280))(&w.events[len(w.events)-1])
	}
	for range 2 { // the newer one at the opening, long before
		w.happens(53, day(100), "PullRequestEvent", "opened", "bob", pull(merged(291)))
	}
	for range 2 { // or in a comment on it
		w.happens(53, day(291), "IssueCommentEvent", "created", "mel", pull(merged(292)), begun("cy", day(10)))
	}
	w.happens(53, day(280), "PullRequestEvent", "opened", "renovate[bot]", pull(merged(292)))
	merged(293)                                                                     // nobody says whose
	w.happens(53, day(100), "PullRequestEvent", "opened", "ada", pull(merged(200))) // before the window
	w.happens(53, day(291), "PullRequestEvent", "opened", "dora", pull(number+1))   // not merged
	w.happens(53, day(291), "PullRequestEvent", "closed", "dora", pull(number+1))
	w.store()

	_, got := people(t, hot.Scope{RepoID: 53}, 30)
	c := got.Concentration
	same(t, []string{
		fmt.Sprint(c.Merged, " of ", c.People, " people, ", c.MergedByBots, " of bots, ", c.AuthorUnknown, " of nobody"),
		fmt.Sprintf("%.3f %.3f %.3f, bus factor %s", *c.Top1, *c.Top3, *c.Top10, known(c.BusFactor)),
	}, []string{"7 of 3 people, 1 of bots, 1 of nobody", "0.429 1.000 1.000, bus factor 2"})
	var top []string
	for _, p := range got.Top {
		top = append(top, fmt.Sprintf("%s %d %d %s", p.Login, p.Merged, p.Contributions, p.LastAt.Format(time.DateOnly)))
	}
	same(t, top, []string{"ada 3 0 2026-10-18", "cy 2 0 2026-10-20", "bob 2 0 2026-10-19", "mel 0 11 2026-10-21", "dora 0 2 2026-10-19"})
	if _, none := people(t, hot.Scope{RepoID: 999}, 30); none.Concentration.BusFactor != nil || none.Concentration.Top1 != nil || len(none.Contributors) != 0 {
		t.Errorf("of nothing: %+v", none)
	}
}
