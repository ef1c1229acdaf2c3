package hot

import (
	"context"
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"

	"github.com/m7pulse/m7pulse/shared/field"
)

// Filter chooses repositories. What is empty chooses all.
type Filter struct {
	Owner, Company, Language string
	Name                     string // a part of owner/name, in any case
	MinStars                 int64
	Current                  bool // without those that are out of date
	OutOfDate                bool // those alone
}

func (f Filter) where() (condition string, args []any) {
	all := []string{"1"}
	add := func(chosen bool, c string, arg any) {
		if chosen {
			all, args = append(all, c), append(args, arg)
		}
	}
	add(f.Owner != "", "lower(owner) = lower(?)", f.Owner)
	add(f.Company != "", "company = lower(?)", f.Company)
	add(f.Language != "", "lower(primary_language) = lower(?)", f.Language)
	add(f.Name != "", "positionCaseInsensitiveUTF8(name_with_owner, ?) > 0", f.Name)
	add(f.MinStars > 0, "stars >= ?", f.MinStars)
	if f.Current {
		all = append(all, current)
	}
	if f.OutOfDate {
		all = append(all, "NOT ("+current+")")
	}
	return strings.Join(all, " AND "), args
}

// Order sorts repositories by a field; those without a known value come last,
// those with equal values by repo_id.
type Order struct {
	By   field.Definition
	Down bool
}

// Sortable says whether repositories can be sorted by a field.
func Sortable(d field.Definition) bool { return d.Kind != field.Texts && d.Kind != field.Languages }

// Mark is where a page of repositories ended: the value sorted by, and the repository.
type Mark struct {
	Known  bool
	Number int64  // a count, a flag, ms since 1970, or the bits of a float
	Text   string // of a text
	RepoID int64
}

// after is the condition that a repository comes behind a mark.
func (o Order) after(m Mark) (condition string, args []any) {
	unknown := "isNull(" + o.By.Name + ")"
	if !m.Known {
		return unknown + " AND repo_id > ?", []any{m.RepoID}
	}
	value, arg := "?", any(m.Number)
	switch o.By.Kind {
	case field.Text:
		arg = m.Text
	case field.Float: // the very bits: a decimal form may be another number
		value = "reinterpretAsFloat64(toInt64(?))"
	case field.Time:
		value = "fromUnixTimestamp64Milli(toInt64(?))"
	case field.Bool:
		value = "toBool(?)"
	}
	beyond := ">"
	if o.Down {
		beyond = "<"
	}
	return fmt.Sprintf("(%s OR %s %s %s OR %s = %s AND repo_id > ?)", unknown, o.By.Name, beyond, value, o.By.Name, value), []any{arg, arg, m.RepoID}
}

func (o Order) by() string {
	direction := ""
	if o.Down {
		direction = " DESC"
	}
	return "isNull(" + o.By.Name + "), " + o.By.Name + direction + ", repo_id"
}

// MarkOf is the mark of a record, which must hold the field that is sorted by.
func (o Order) MarkOf(r Record) Mark {
	m := Mark{RepoID: r.RepoID, Known: true}
	switch v := r.Value(o.By.Name).(type) {
	case int64:
		m.Number = v
	case float64:
		m.Number = int64(math.Float64bits(v))
	case bool:
		if v {
			m.Number = 1
		}
	case time.Time:
		m.Number = v.UnixMilli()
	case string:
		m.Text = v
	default:
		m.Known = false
	}
	return m
}

// Page reads some fields of up to limit repositories, in order, behind a mark if
// there is one. fields hold the one that is sorted by.
func Page(ctx context.Context, conn Reader, f Filter, o Order, after *Mark, fields []field.Definition, limit int) (Records, error) {
	where, args := f.where()
	if after != nil {
		behind, more := o.after(*after)
		where, args = where+" AND "+behind, append(args, more...)
	}
	found, err := records(ctx, conn, fields, where+" ORDER BY "+o.by()+" LIMIT ?", append(args, limit)...)
	return Records{fields, found}, err
}

// Known counts the repositories of a filter, and those of them that are up to date.
func Known(ctx context.Context, conn Reader, f Filter) (all, upToDate int64, err error) {
	where, args := f.where()
	counts, err := one[[]int64](ctx, conn, "count the repositories", "SELECT [toInt64(count()), toInt64(countIf("+current+"))] FROM pulse.github_processed_repos FINAL WHERE "+where, args...)
	if err != nil || len(counts) == 0 { // there is no schema yet
		return 0, 0, err
	}
	return counts[0], counts[1], nil
}

// RecordsOf reads some fields of the repositories of a name, whatever its case: the
// one that has it now first, then those that had it before.
func RecordsOf(ctx context.Context, conn Reader, name string, fields []field.Definition) ([]Record, error) {
	return records(ctx, conn, fields, "lower(name_with_owner) = lower(?) ORDER BY is_former, observed_at DESC, repo_id LIMIT 100", name)
}

// Renamed is the name that the repository has now which once had another, or "" if
// no repository is known to have had it.
func Renamed(ctx context.Context, conn Reader, name string) (string, error) {
	return one[string](ctx, conn, "look for a repository by a former name", `
		SELECT name_with_owner FROM pulse.github_processed_repos FINAL
		WHERE repo_id IN (SELECT argMax(repo_id, observed_at) FROM pulse.github_metrics_timeseries WHERE lower(name_with_owner) = lower(?) HAVING count() > 0) LIMIT 1`, name)
}

func records(ctx context.Context, conn Reader, fields []field.Definition, rest string, args ...any) ([]Record, error) {
	columns := make([]string, len(fields))
	for i, d := range fields {
		columns[i] = d.Name
		if d.Kind == field.Text { // a text that is one of few is scanned as any other
			columns[i] = "CAST(" + d.Name + ", 'Nullable(String)')"
		}
	}
	scan := func(rows driver.Rows, r *Record) error {
		r.Fields, r.Values = fields, make([]any, len(fields))
		to := []any{&r.RepoID, &r.Name, &r.Owner, &r.At, &r.Label, &r.IsFormer, &r.IsCurrent}
		values := make([]func() any, len(fields))
		for i, d := range fields {
			var at any
			at, values[i] = target(d)
			to = append(to, at)
		}
		if err := rows.Scan(to...); err != nil {
			return err
		}
		for i := range fields {
			r.Values[i] = values[i]()
		}
		r.At = r.At.UTC()
		return nil
	}
	return list(ctx, conn, "read the repositories", scan, `
		SELECT repo_id, name_with_owner, toString(owner), observed_at, n.label, toBool(n.is_former), toBool(`+current+`)`+prefixed(columns)+`
		FROM pulse.github_processed_repos AS s FINAL
		JOIN (SELECT repo_id AS id, label, is_former FROM pulse.repositories) AS n ON n.id = s.repo_id
		WHERE `+rest, args...)
}

func prefixed(columns []string) string {
	if len(columns) == 0 {
		return ""
	}
	return ", " + strings.Join(columns, ", ")
}
