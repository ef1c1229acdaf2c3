package hot

import (
	"context"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// People are those who work in some repositories, and how much hangs on how few.
type People struct {
	AsOf          *time.Time     `json:"as_of" doc:"The newest event or reading of a feed of all repositories: windows end there. null if there is none."`
	KnownFrom     *time.Time     `json:"known_from" doc:"The oldest event that is stored of these repositories: who contributed before it alone counts as new."`
	Contributors  []Contributors `json:"contributors"`
	Concentration Concentration  `json:"concentration"`
	Top           []Contributor  `json:"top" doc:"The ten people who merged most, then those who contributed most."`
	Coverage      *Covered       `json:"coverage,omitempty" doc:"How many events of the window are stored; left out where no counter was read beside them."`
}

// Rows implements table.Rows.
func (p People) Rows() any { return p.Contributors }

// Contributors counts accounts over a window. A contribution is a row of
// pulse.contributions.
type Contributors struct {
	Days       int64  `json:"days" doc:"The window, back from as_of: 7, 30 or 90 days."`
	Kind       string `json:"kind" enum:"people,bots"`
	Active     int64  `json:"active" doc:"Accounts that contributed in the window."`
	New        *int64 `json:"new" doc:"Those of them whose first stored contribution lies in the window; null unless the stored events reach back two windows."`
	Continuing int64  `json:"continuing" doc:"Those of them that contributed in the window before too."`
	Returning  *int64 `json:"returning" doc:"Those of them that contributed before, but not in the window before; null where new is."`
	Left       int64  `json:"left" doc:"Accounts that contributed in the window before, and not in this one."`
}

// Concentration says on how few people the merged work of a window hangs: pull
// requests by their author. Bots are left out of it.
type Concentration struct {
	Days          int64    `json:"days" doc:"The window, back from as_of."`
	Merged        int64    `json:"merged" doc:"Pull requests merged in the window, of known authors who are people."`
	MergedByBots  int64    `json:"merged_by_bots"`
	AuthorUnknown int64    `json:"author_unknown" doc:"Merged pull requests whose author no stored event says: they are in no share."`
	People        int64    `json:"people" doc:"Authors of merged."`
	Top1          *float64 `json:"top_1" doc:"The share of merged by the one with most, 0 to 1; null if nothing was merged."`
	Top3          *float64 `json:"top_3" doc:"The share of the three with most."`
	Top10         *float64 `json:"top_10" doc:"The share of the ten with most."`
	BusFactor     *int64   `json:"bus_factor" doc:"The fewest people who together have half of merged."`
}

// Contributor is one person.
type Contributor struct {
	Login         string    `json:"login"`
	Merged        int64     `json:"merged" doc:"Pull requests of theirs merged in the window."`
	Contributions int64     `json:"contributions" doc:"In the window."`
	LastAt        time.Time `json:"last_at" doc:"Their newest contribution in the window, or when their newest pull request was merged."`
}

// NewestEvent is where the windows of events end: at the newest event, or at the newest
// reading of a feed; null if there is neither. max and count are known of each part, so
// no event is read for them.
const NewestEvent = `arrayReduce('maxOrNull', [(SELECT if(count() = 0, NULL, max(created_at)) FROM pulse.github_events), (SELECT maxOrNull(read_at) FROM pulse.github_feed_reads)])`

// EventsAsOf reads where the windows of events end, nil if there are no events.
func EventsAsOf(ctx context.Context, conn Reader) (*time.Time, error) {
	return one[*time.Time](ctx, conn, "read the time of the newest event", `SELECT `+NewestEvent)
}

// PeopleOf reads who works in the repositories of a scope; concentration and top are
// over a window of some days.
func PeopleOf(ctx context.Context, conn Reader, scope Scope, days int) (p People, err error) {
	p.Contributors, p.Top, p.Concentration.Days = []Contributors{}, []Contributor{}, int64(days)
	if p.AsOf, err = EventsAsOf(ctx, conn); err != nil || p.AsOf == nil {
		return p, err
	}
	where, args := scope.where()
	if p.KnownFrom, err = one[*time.Time](ctx, conn, "read the time of the oldest event", `SELECT minOrNull(created_at) FROM pulse.github_events WHERE `+where, args...); err != nil {
		return p, err
	}
	if p.Contributors, err = contributors(ctx, conn, scope, *p.AsOf); err != nil {
		return p, err
	}
	if p.Concentration, err = concentration(ctx, conn, scope, *p.AsOf, days); err != nil {
		return p, err
	}
	if p.Top, err = top(ctx, conn, scope, *p.AsOf, days); err != nil {
		return p, err
	}
	p.Coverage, err = coverageOf(ctx, conn, scope, *p.AsOf, days)
	return p, err
}

func contributors(ctx context.Context, conn Reader, scope Scope, newest time.Time) ([]Contributors, error) {
	t, args := scope.terms(newest, 0)
	return list(ctx, conn, "count the contributors", func(r driver.Rows, c *Contributors) error {
		var part string
		return r.Scan(&part, &c.Days, &c.Kind, &c.Active, &c.New, &c.Continuing, &c.Returning, &c.Left)
	}, ContributorsQuery(t), append(args, args...)...)
}

// ContributorsQuery counts who contributed in each window, and in the one before. It
// has Where twice.
func ContributorsQuery(t Terms) string {
	return `WITH ` + t.Newest + ` AS newest, (SELECT minOrNull(created_at) FROM pulse.github_events WHERE ` + t.Where + `) AS known_from
SELECT part, toInt64(w.1) AS days, if(bot, 'bots', 'people') AS kind, toInt64(countIf(w.2)) AS active,
  if(known_from <= newest - toIntervalDay(2 * days), toNullable(toInt64(countIf(w.2 AND first > w.4))), NULL) AS new, toInt64(countIf(w.2 AND w.3)) AS continuing,
  if(known_from <= newest - toIntervalDay(2 * days), toNullable(toInt64(countIf(w.2 AND first <= w.4 AND NOT w.3))), NULL) AS returning, toInt64(countIf(w.3 AND NOT w.2)) AS left
FROM (
  SELECT ` + t.By + ` AS part, actor, max(actor_is_bot) AS bot, min(created_at) AS first, [
    ` + window("7") + `,
    ` + window("30") + `,
    ` + window("90") + `] AS windows
  FROM pulse.contributions WHERE ` + t.Where + ` GROUP BY part, actor
)
ARRAY JOIN windows AS w
GROUP BY part, days, kind ORDER BY part, days, kind DESC`
}

// window is what an account did in a window of days and in the one before: the days,
// whether it contributed in each, and where the window begins.
func window(days string) string {
	begin, before := "newest - INTERVAL "+days+" DAY", "newest - INTERVAL 2 * "+days+" DAY"
	return `(` + days + `, countIf(created_at > ` + begin + `) > 0, countIf(created_at > ` + before + ` AND created_at <= ` + begin + `) > 0, ` + begin + `)`
}

// mergedBy counts the pull requests that were merged in the window, by their author.
func mergedBy(t Terms) string {
	return `SELECT ` + t.By + ` AS part, author_id, any(author_login) AS login, max(ifNull(author_is_bot, false)) AS bot, count() AS merged, assumeNotNull(max(merged_at)) AS at
    FROM pulse.items WHERE kind = 'pull_request' AND merged_at > ` + t.since() + ` AND ` + t.Where + ` GROUP BY part, author_id`
}

func concentration(ctx context.Context, conn Reader, scope Scope, newest time.Time, days int) (Concentration, error) {
	t, args := scope.terms(newest, days)
	found, err := list(ctx, conn, "read who merged how much", func(r driver.Rows, c *Concentration) error {
		var part string
		c.Days = int64(days)
		return r.Scan(&part, &c.Merged, &c.MergedByBots, &c.AuthorUnknown, &c.People, &c.Top1, &c.Top3, &c.Top10, &c.BusFactor)
	}, ConcentrationQuery(t), args...)
	if err != nil || len(found) == 0 { // nothing was merged
		return Concentration{Days: int64(days)}, err
	}
	return found[0], nil
}

// ConcentrationQuery says on how few people the merged work of the window hangs.
func ConcentrationQuery(t Terms) string {
	return `WITH arrayReverseSort(groupArrayIf(merged, isNotNull(author_id) AND NOT bot)) AS each, arraySum(each) AS by_people
SELECT part, toInt64(by_people) AS merged_by_people, toInt64(sumIf(merged, isNotNull(author_id) AND bot)) AS merged_by_bots, toInt64(sumIf(merged, isNull(author_id))) AS author_unknown, toInt64(length(each)) AS people,
  if(by_people = 0, NULL, arraySum(arraySlice(each, 1, 1)) / by_people) AS top_1, if(by_people = 0, NULL, arraySum(arraySlice(each, 1, 3)) / by_people) AS top_3,
  if(by_people = 0, NULL, arraySum(arraySlice(each, 1, 10)) / by_people) AS top_10,
  if(by_people = 0, NULL, toNullable(toInt64(arrayFirstIndex(sum -> 2 * sum >= by_people, arrayCumSum(each))))) AS bus_factor
FROM (
  ` + mergedBy(t) + `
)
GROUP BY part ORDER BY part`
}

func top(ctx context.Context, conn Reader, scope Scope, newest time.Time, days int) ([]Contributor, error) {
	t, args := scope.terms(newest, days)
	return list(ctx, conn, "read who contributed most", func(r driver.Rows, c *Contributor) error {
		err := r.Scan(&c.Login, &c.Merged, &c.Contributions, &c.LastAt)
		c.LastAt = c.LastAt.UTC()
		return err
	}, TopQuery(t), append(args, args...)...)
}

// TopQuery lists the ten people who merged most in the window, then those who
// contributed most. It has Where twice.
func TopQuery(t Terms) string {
	return `SELECT ifNull(argMax(login, at), '') AS account, toInt64(sum(merged)) AS all_merged, toInt64(sum(contributions)) AS all_contributions, max(at) AS last_at
FROM (
  SELECT actor, argMax(actor_login, created_at) AS login, 0 AS merged, count() AS contributions, max(created_at) AS at
    FROM pulse.contributions WHERE created_at > ` + t.since() + ` AND ` + t.Where + ` AND NOT actor_is_bot GROUP BY actor
  UNION ALL
  SELECT assumeNotNull(author_id), login, merged, 0, at FROM (
    ` + mergedBy(t) + `
  ) WHERE isNotNull(author_id) AND NOT bot
)
GROUP BY actor ORDER BY all_merged DESC, all_contributions DESC, actor LIMIT 10`
}

// coverageOf is how much of the events of a window is stored, nil where no counter was
// read beside them.
func coverageOf(ctx context.Context, conn Reader, scope Scope, newest time.Time, days int) (*Covered, error) {
	to := newest.UTC().Truncate(24 * time.Hour)
	found, err := Coverage(ctx, conn, scope, Span{From: to.AddDate(0, 0, -days), To: to, Zone: time.UTC})
	if err != nil || len(found) == 0 {
		return nil, err
	}
	return &found[0], nil // all kinds, which comes first
}
