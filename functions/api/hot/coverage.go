package hot

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// Scope chooses the repositories whose events are looked at: one, an owner's, a
// company's, or all.
type Scope struct {
	RepoID         int64
	Owner, Company string

	name  string  // of the repository
	repos []int64 // of the owner or company, if ScopeOf has found them
}

// ErrManyScopes says that more than one scope was asked for.
var ErrManyScopes = errors.New("of a repository, an owner and a company name one at most")

// ScopeOf finds the scope of a repository (owner/name or a repo_id), of an owner or of
// a company; without a name that of all. The repository must have been observed.
func ScopeOf(ctx context.Context, conn Reader, repository, owner, company string) (Scope, error) {
	if repository != "" && owner != "" || repository != "" && company != "" || owner != "" && company != "" {
		return Scope{}, ErrManyScopes
	}
	if repository == "" {
		s := Scope{Owner: owner, Company: company}
		if owner+company == "" {
			return s, nil
		}
		where, args := s.where()
		var err error
		s.repos, err = list(ctx, conn, "find the repositories", func(r driver.Rows, id *int64) error { return r.Scan(id) },
			"SELECT repo_id FROM pulse.github_processed_repos FINAL WHERE "+where, args...)
		return s, err
	}
	found, err := list(ctx, conn, "find the repository", func(r driver.Rows, s *Scope) error { return r.Scan(&s.RepoID, &s.name) },
		"SELECT repo_id, label FROM pulse.repositories WHERE lower(name_with_owner) = lower(?) AND NOT is_former OR toString(repo_id) = ? LIMIT 1", repository, repository)
	if err != nil {
		return Scope{}, err
	}
	if len(found) == 0 {
		return Scope{}, fmt.Errorf("%w %s has been observed: want owner/name or a repo_id", ErrNoRepository, repository)
	}
	return found[0], nil
}

// String is what people call the scope.
func (s Scope) String() string {
	switch {
	case s.RepoID != 0:
		return s.name
	case s.Owner+s.Company != "":
		return s.Owner + s.Company
	}
	return "all repositories"
}

// Filter chooses the owner or the company of the scope. Of one repository it is its
// owner: a sweep reads all of an owner.
func (s Scope) Filter() Filter {
	owner, _, _ := strings.Cut(s.name, "/")
	if s.RepoID != 0 {
		return Filter{Owner: owner}
	}
	return Filter{Owner: s.Owner, Company: s.Company}
}

// where is the condition on repo_id. It is one on the key of the tables, so that only
// these repositories are read.
func (s Scope) where() (condition string, args []any) {
	const most = 10_000 // a longer list makes the query too large
	switch {
	case s.RepoID != 0:
		return "repo_id = ?", []any{s.RepoID}
	case len(s.repos) > 0 && len(s.repos) <= most: // a view passes a list on to its tables, and a query within not
		return "repo_id IN ?", []any{s.repos}
	case s.Owner != "":
		return "repo_id IN (SELECT repo_id FROM pulse.github_processed_repos FINAL WHERE lower(owner) = lower(?))", []any{s.Owner}
	case s.Company != "":
		return "repo_id IN (SELECT repo_id FROM pulse.github_processed_repos FINAL WHERE company = lower(?))", []any{s.Company}
	}
	return "1", nil
}

// Covered says how many events of a kind are stored, of those that the counters say
// there were: pulse.event_coverage, summed over repositories and days.
type Covered struct {
	Day          *string  `json:"day" format:"date" doc:"A UTC day, up to its last reading; null for all days together."`
	Kind         string   `json:"kind" enum:"all,forks,merged_prs,closed_prs,closed_issues,releases,stars" doc:"The counter; all is the sum of all but stars."`
	Events       int64    `json:"events" doc:"Those stored, where it is known how many there must have been."`
	Change       *int64   `json:"change" doc:"By how much the counter rose there: for stars, the fewest events there can have been; for the others, as many as there were."`
	Coverage     *float64 `json:"coverage" doc:"events over change: 0.7 says that 30 % were lost. For stars it is the most it can be, and null where it may be 1."`
	Verdict      *string  `json:"verdict" enum:"complete,incomplete" doc:"complete from 0.95; null where nothing can be said."`
	Days         int64    `json:"days" doc:"Days of repositories on which it is known."`
	Unknown      int64    `json:"unknown_days" doc:"Days of repositories on which it is not: the counter is unknown or fell, or the feed was not read throughout."`
	Gaps         int64    `json:"gap_days" doc:"Days of repositories on which the ledger has a gap."`
	Repositories int64    `json:"repositories"`
}

// Coverage reads how many events were lost, by kind, over the days of a span.
func Coverage(ctx context.Context, conn Reader, scope Scope, s Span) ([]Covered, error) {
	return coverage(ctx, conn, scope, s, "CAST(NULL, 'Nullable(String)')")
}

// CoverageByDay is Coverage, day by day.
func CoverageByDay(ctx context.Context, conn Reader, scope Scope, s Span) ([]Covered, error) {
	return coverage(ctx, conn, scope, s, "toNullable(toString(day))")
}

func coverage(ctx context.Context, conn Reader, scope Scope, s Span, day string) ([]Covered, error) {
	where, args := scope.where()
	return list(ctx, conn, "read how many events were lost", func(r driver.Rows, c *Covered) error {
		return r.Scan(&c.Day, &c.Kind, &c.Events, &c.Change, &c.Coverage, &c.Verdict, &c.Days, &c.Unknown, &c.Gaps, &c.Repositories)
	}, CoverageQuery(Terms{By: day, Where: where}, "toDate(?)", "toDate(?)"), append(args, s.From.Format(time.DateOnly), s.To.Format(time.DateOnly))...)
}

// CoverageQuery reads how many events were lost, by kind, over days from one to another.
func CoverageQuery(t Terms, from, to string) string {
	return `SELECT ` + t.By + ` AS part, kind, sumIf(events, is_known) AS stored, sumIf(change, is_known) AS moved,
  if(moved > 0 AND NOT (kind = 'stars' AND stored >= moved), stored / moved, NULL) AS share,
  CAST(multiIf(isNull(share), NULL, share >= 0.95, 'complete', 'incomplete'), 'Nullable(String)') AS verdict,
  toInt64(countIf(is_known)) AS days, toInt64(countIf(NOT is_known)) AS unknown_days, toInt64(countIf(has_gap)) AS gap_days, toInt64(uniqExact(repo_id)) AS repositories
FROM pulse.event_coverage WHERE ` + t.Where + ` AND day BETWEEN ` + from + ` AND ` + to + `
GROUP BY part, kind
ORDER BY part, indexOf(['all', 'forks', 'merged_prs', 'closed_prs', 'closed_issues', 'releases', 'stars'], kind)`
}
