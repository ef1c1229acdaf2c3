package hot

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/m7pulse/m7pulse/shared/field"
)

// Repository is the kind of a line of one repository.
const Repository Kind = "repository"

// Line is a field of a repository, or summed over a group, on each day of a span.
type Line struct {
	Name       string     `json:"name"`
	RepoID     *int64     `json:"repo_id" doc:"null of a group."`
	Definition string     `json:"definition" doc:"The field that the values are of."`
	Unit       string     `json:"unit"`
	Values     []*float64 `json:"values" doc:"One for each UTC day of the span, in order; null where nothing was read or the value is not known."`
}

// Lines reads some fields of repositories (named by owner/name, which is the one that
// has the name now, or by repo_id) or of groups, day by day in UTC: a line for each
// name and field, in their order. Without names it is those with the most stars that are
// up to date, limit at most. Names that are not known have no line.
func Lines(ctx context.Context, conn Reader, kind Kind, names []string, fields []field.Definition, s Span, limit int) ([]Line, error) {
	members, args := kind.members(lowered(names), limit)
	found, err := list(ctx, conn, "find what the lines are of", func(r driver.Rows, l *named) error { return r.Scan(&l.name, &l.id, &l.key) },
		`SELECT any(name), any(id), key FROM (`+members+`) GROUP BY key ORDER BY sum(stars) DESC, key`, args...)
	if err != nil {
		return nil, err
	}
	if len(names) > 0 {
		found = inOrder(found, lowered(names))
	}
	sums := make([]string, len(fields))
	for i, f := range fields {
		sums[i] = "toNullable(toFloat64(sum(" + f.Name + ")))"
	}
	days, err := list(ctx, conn, "read the lines", func(r driver.Rows, d *lineDay) error { return r.Scan(&d.key, &d.at, &d.values) }, `
		SELECT m.key, toInt64(toUnixTimestamp(toDateTime(d.day))) AS at, [`+strings.Join(sums, ", ")+`]
		FROM (SELECT * FROM pulse.github_daily FINAL WHERE day BETWEEN toDate(?) AND toDate(?)) AS d
		JOIN (`+members+`) AS m ON m.repo_id = d.repo_id
		GROUP BY m.key, at`, append([]any{s.From.Format(time.DateOnly), s.To.Format(time.DateOnly)}, args...)...)
	if err != nil {
		return nil, err
	}
	read := map[string]map[int64][]*float64{}
	for _, d := range days {
		if read[d.key] == nil {
			read[d.key] = map[int64][]*float64{}
		}
		read[d.key][d.at] = d.values
	}
	starts := s.starts()
	out := make([]Line, 0, len(found)*len(fields))
	for _, n := range found {
		for i, f := range fields {
			l := Line{Name: n.name, RepoID: n.id, Definition: f.Name, Unit: f.Unit, Values: make([]*float64, len(starts))}
			for j, at := range starts {
				if values, ok := read[n.key][at.Unix()]; ok {
					l.Values[j] = values[i]
				}
			}
			out = append(out, l)
		}
	}
	return out, nil
}

type named struct {
	name string
	id   *int64
	key  string // by which lines are joined: the name in small letters, or the repo_id
}

type lineDay struct {
	key    string
	at     int64
	values []*float64
}

// inOrder puts what was found in the order of the names asked for. A repository may be
// named twice, by its name and its id, and has one line.
func inOrder(found []named, names []string) (out []named) {
	for _, n := range names {
		i := slices.IndexFunc(found, func(f named) bool { return f.key == n || strings.ToLower(f.name) == n })
		if i >= 0 && !slices.Contains(out, found[i]) {
			out = append(out, found[i])
		}
	}
	return out
}

// members is the query of the repositories whose fields make the lines: name, id, key,
// repo_id and stars.
func (k Kind) members(names []string, limit int) (query string, args []any) {
	if k == Repository {
		query = `SELECT label AS name, toNullable(repo_id) AS id, toString(repo_id) AS key, repo_id, stars FROM pulse.repositories WHERE `
		if len(names) == 0 {
			return query + current + ` ORDER BY stars DESC, repo_id LIMIT ?`, []any{limit}
		}
		return query + `lower(name_with_owner) IN ? AND NOT is_former OR toString(repo_id) IN ?`, []any{names, names}
	}
	key := "lower(ifNull(toString(" + k.column() + "), ''))"
	query = `SELECT toString(` + k.column() + `) AS name, CAST(NULL, 'Nullable(Int64)') AS id, ` + key + ` AS key, repo_id, stars FROM pulse.github_processed_repos FINAL WHERE `
	if len(names) == 0 {
		return query + key + ` IN (SELECT ` + key + ` AS of FROM pulse.github_processed_repos FINAL WHERE of != '' AND ` + current + ` GROUP BY of ORDER BY sum(stars) DESC, of LIMIT ?)`, []any{limit}
	}
	return query + key + ` != '' AND ` + key + ` IN ?`, []any{names} // no name is that of what is not known
}
