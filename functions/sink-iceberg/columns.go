package sinkiceberg

import (
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// column is one column of a table: how its value is taken from a row, and how
// it is put into one that is read back.
type column[R any] struct {
	name     string
	typ      iceberg.Type
	required bool
	append   func(to array.Builder, r *R)
	read     func(from arrow.Array, i int, r *R) // of a value that is not null
}

// builder and values are what Arrow's builders and arrays of one type have.
type builder[V any] interface{ Append(V) }
type values[V any] interface{ Value(int) V }

// required makes a column of a field.
func required[R, V any](name string, typ iceberg.Type, field func(*R) *V) column[R] {
	return column[R]{name, typ, true,
		func(b array.Builder, r *R) { b.(builder[V]).Append(*field(r)) },
		func(a arrow.Array, i int, r *R) { *field(r) = a.(values[V]).Value(i) },
	}
}

// optional makes a column of a field that may be nil.
func optional[R, V any](name string, typ iceberg.Type, field func(*R) **V) column[R] {
	return either(name, typ, func(r *R) *V { return *field(r) }, func(r *R, v V) { *field(r) = &v })
}

// either makes a column of a value that may be missing.
func either[R, V any](name string, typ iceberg.Type, get func(*R) *V, set func(*R, V)) column[R] {
	return column[R]{name, typ, false,
		func(b array.Builder, r *R) { appendValue(b, get(r)) },
		func(a arrow.Array, i int, r *R) { set(r, a.(values[V]).Value(i)) },
	}
}

// appendValue appends a value, or null.
func appendValue[V any](to array.Builder, v *V) {
	if v == nil {
		to.AppendNull()
		return
	}
	to.(builder[V]).Append(*v)
}

func text[R any](name string, field func(*R) *string) column[R] {
	c := required(name, iceberg.PrimitiveTypes.String, field)
	c.read = func(a arrow.Array, i int, r *R) { *field(r) = strings.Clone(a.(*array.String).Value(i)) } // not to hold all of the batch
	return c
}

func maybeText[R any](name string, field func(*R) **string) column[R] {
	return either(name, iceberg.PrimitiveTypes.String, func(r *R) *string { return *field(r) }, func(r *R, v string) {
		v = strings.Clone(v)
		*field(r) = &v
	})
}

func number[R any](name string, field func(*R) *int64) column[R] {
	return required(name, iceberg.PrimitiveTypes.Int64, field)
}

func maybeNumber[R any](name string, field func(*R) **int64) column[R] {
	return optional(name, iceberg.PrimitiveTypes.Int64, field)
}

func truth[R any](name string, field func(*R) *bool) column[R] {
	return required(name, iceberg.PrimitiveTypes.Bool, field)
}

func moment[R any](name string, field func(*R) *time.Time) column[R] {
	return column[R]{name, iceberg.PrimitiveTypes.TimestampTz, true,
		func(b array.Builder, r *R) { b.(*array.TimestampBuilder).Append(arrow.Timestamp(field(r).UnixMicro())) },
		func(a arrow.Array, i int, r *R) { *field(r) = momentAt(a, i) },
	}
}

func maybeMoment[R any](name string, get func(*R) *time.Time, set func(*R, time.Time)) column[R] {
	return column[R]{name, iceberg.PrimitiveTypes.TimestampTz, false,
		func(b array.Builder, r *R) { appendMoment(b, get(r)) },
		func(a arrow.Array, i int, r *R) { set(r, momentAt(a, i)) },
	}
}

// appendMoment appends a time, or null.
func appendMoment(to array.Builder, v *time.Time) {
	if v == nil {
		to.AppendNull()
		return
	}
	to.(*array.TimestampBuilder).Append(arrow.Timestamp(v.UnixMicro()))
}

func momentAt(a arrow.Array, i int) time.Time {
	return time.UnixMicro(int64(a.(*array.Timestamp).Value(i))).UTC()
}

// Ids of the fields inside lists. They only need to differ from all others: the
// catalog gives a new table ids of its own.
const (
	idLanguage = 1001 + iota
	idLanguageName
	idLanguageBytes
	idTopic
)

func languages[R any](field func(*R) *[]repo.Language) column[R] {
	typ := &iceberg.ListType{ElementID: idLanguage, ElementRequired: true, Element: &iceberg.StructType{FieldList: []iceberg.NestedField{
		{ID: idLanguageName, Name: "name", Type: iceberg.PrimitiveTypes.String, Required: true},
		{ID: idLanguageBytes, Name: "bytes", Type: iceberg.PrimitiveTypes.Int64, Required: true},
	}}}
	return column[R]{"languages", typ, true,
		func(b array.Builder, r *R) {
			list := b.(*array.ListBuilder)
			list.Append(true)
			entry := list.ValueBuilder().(*array.StructBuilder)
			for _, l := range *field(r) {
				entry.Append(true)
				entry.FieldBuilder(0).(*array.StringBuilder).Append(l.Name)
				entry.FieldBuilder(1).(*array.Int64Builder).Append(l.Bytes)
			}
		},
		func(a arrow.Array, i int, r *R) {
			list := a.(*array.List)
			entries := list.ListValues().(*array.Struct)
			names, bytes := entries.Field(0).(*array.String), entries.Field(1).(*array.Int64)
			from, to := list.ValueOffsets(i)
			out := make([]repo.Language, 0, to-from)
			for j := int(from); j < int(to); j++ {
				out = append(out, repo.Language{Name: strings.Clone(names.Value(j)), Bytes: bytes.Value(j)})
			}
			*field(r) = out
		},
	}
}

func topics[R any](field func(*R) *[]string) column[R] {
	typ := &iceberg.ListType{ElementID: idTopic, ElementRequired: true, Element: iceberg.PrimitiveTypes.String}
	return column[R]{"topics", typ, true,
		func(b array.Builder, r *R) {
			list := b.(*array.ListBuilder)
			list.Append(true)
			for _, t := range *field(r) {
				list.ValueBuilder().(*array.StringBuilder).Append(t)
			}
		},
		func(a arrow.Array, i int, r *R) {
			list := a.(*array.List)
			texts := list.ListValues().(*array.String)
			from, to := list.ValueOffsets(i)
			out := make([]string, 0, to-from)
			for j := int(from); j < int(to); j++ {
				out = append(out, strings.Clone(texts.Value(j)))
			}
			*field(r) = out
		},
	}
}

// observationColumns are the columns of base_repos, and the first ones of
// processed_repos.
func observationColumns[R any](of func(*R) *repo.Observation) []column[R] {
	return []column[R]{
		number("repo_id", func(r *R) *int64 { return &of(r).ID }),
		text("node_id", func(r *R) *string { return &of(r).NodeID }),
		text("name_with_owner", func(r *R) *string { return &of(r).NameWithOwner }),
		text("owner", func(r *R) *string { return &of(r).Owner }),
		text("owner_type", func(r *R) *string { return &of(r).OwnerType }),
		maybeText("company", func(r *R) **string { return &of(r).Company }),
		text("name", func(r *R) *string { return &of(r).Name }),
		maybeText("description", func(r *R) **string { return &of(r).Description }),
		maybeText("primary_language", func(r *R) **string { return &of(r).PrimaryLanguage }),
		languages(func(r *R) *[]repo.Language { return &of(r).Languages }),
		topics(func(r *R) *[]string { return &of(r).Topics }),
		maybeText("license", func(r *R) **string { return &of(r).License }),
		maybeText("default_branch", func(r *R) **string { return &of(r).DefaultBranch }),
		truth("is_fork", func(r *R) *bool { return &of(r).IsFork }),
		truth("is_archived", func(r *R) *bool { return &of(r).IsArchived }),
		maybeMoment("created_at", func(r *R) *time.Time { return of(r).CreatedAt }, func(r *R, v time.Time) { of(r).CreatedAt = &v }),
		maybeMoment("pushed_at", func(r *R) *time.Time { return of(r).PushedAt }, func(r *R, v time.Time) { of(r).PushedAt = &v }),
		maybeMoment("updated_at", func(r *R) *time.Time { return of(r).UpdatedAt }, func(r *R, v time.Time) { of(r).UpdatedAt = &v }),
		number("stars", func(r *R) *int64 { return &of(r).Stars }),
		maybeNumber("forks", func(r *R) **int64 { return &of(r).Forks }),
		maybeNumber("watchers", func(r *R) **int64 { return &of(r).Watchers }),
		maybeNumber("open_issues", func(r *R) **int64 { return &of(r).OpenIssues }),
		maybeNumber("closed_issues", func(r *R) **int64 { return &of(r).ClosedIssues }),
		maybeNumber("open_prs", func(r *R) **int64 { return &of(r).OpenPRs }),
		maybeNumber("merged_prs", func(r *R) **int64 { return &of(r).MergedPRs }),
		maybeNumber("closed_prs", func(r *R) **int64 { return &of(r).ClosedPRs }),
		maybeNumber("discussions", func(r *R) **int64 { return &of(r).Discussions }),
		maybeNumber("releases", func(r *R) **int64 { return &of(r).Releases }),
		maybeText("latest_release", func(r *R) **string { return &of(r).LatestRelease }),
		maybeMoment("latest_release_at", func(r *R) *time.Time { return of(r).LatestReleaseAt }, func(r *R, v time.Time) { of(r).LatestReleaseAt = &v }),
		maybeNumber("commits_total", func(r *R) **int64 { return &of(r).CommitsTotal }),
		maybeNumber("disk_kb", func(r *R) **int64 { return &of(r).DiskKB }),
		moment("observed_at", func(r *R) *time.Time { return &of(r).ObservedAt }),
		text("sweep_id", func(r *R) *string { return &of(r).SweepID }),
		text("source", func(r *R) *string { return &of(r).Source }),
	}
}

// processedColumns are the columns of processed_repos.
func processedColumns() []column[event.RepoProcessed] {
	type r = event.RepoProcessed
	cols := append(observationColumns(func(p *r) *repo.Observation { return &p.Observation }),
		moment("processed_at", func(p *r) *time.Time { return &p.ProcessedAt }),
		number("revision", func(p *r) *int64 { return &p.Revision }),
		truth("late", func(p *r) *bool { return &p.Late }),
	)
	for i, d := range velocity.Definitions() {
		cols = append(cols, velocityColumn(d.Name, velocity.Field(i)))
	}
	return cols
}

// velocityColumn is the column of a field. Its value is asked for where it is
// appended, so that the compiler keeps it off the heap: there are over a hundred in a row.
func velocityColumn(name string, f velocity.Field) column[event.RepoProcessed] {
	type r = event.RepoProcessed
	c := column[r]{name: name}
	switch f.Kind() {
	case velocity.Count:
		c.typ = iceberg.PrimitiveTypes.Int64
		c.append = func(b array.Builder, p *r) { appendValue(b, p.Int(f)) }
		c.read = func(a arrow.Array, i int, p *r) { p.SetInt(f, a.(values[int64]).Value(i)) }
	case velocity.Rate:
		c.typ = iceberg.PrimitiveTypes.Float64
		c.append = func(b array.Builder, p *r) { appendValue(b, p.Float(f)) }
		c.read = func(a arrow.Array, i int, p *r) { p.SetFloat(f, a.(values[float64]).Value(i)) }
	case velocity.Moment:
		c.typ = iceberg.PrimitiveTypes.TimestampTz
		c.append = func(b array.Builder, p *r) { appendMoment(b, p.Time(f)) }
		c.read = func(a arrow.Array, i int, p *r) { p.SetInt(f, momentAt(a, i).UnixMilli()) }
	case velocity.Flag:
		c.typ = iceberg.PrimitiveTypes.Bool
		c.append = func(b array.Builder, p *r) { appendValue(b, p.Bool(f)) }
		c.read = func(a arrow.Array, i int, p *r) { p.SetBool(f, a.(values[bool]).Value(i)) }
	}
	return c
}

// sweepColumns are the columns of sweeps.
func sweepColumns() []column[event.OwnerSwept] {
	type s = event.OwnerSwept
	return []column[s]{
		text("sweep_id", func(r *s) *string { return &r.SweepID }),
		text("owner", func(r *s) *string { return &r.Owner }),
		text("status", func(r *s) *string { return &r.Status }),
		moment("started_at", func(r *s) *time.Time { return &r.StartedAt }),
		moment("finished_at", func(r *s) *time.Time { return &r.FinishedAt }),
		maybeNumber("expected", func(r *s) **int64 { return &r.Expected }),
		number("seen", func(r *s) *int64 { return &r.Seen }),
		maybeNumber("new", func(r *s) **int64 { return &r.New }),
		maybeNumber("renamed", func(r *s) **int64 { return &r.Renamed }),
		maybeNumber("gone", func(r *s) **int64 { return &r.Gone }),
		number("unanswered", func(r *s) *int64 { return &r.Unanswered }),
		number("pages", func(r *s) *int64 { return &r.Pages }),
		number("killed_pages", func(r *s) *int64 { return &r.KilledPages }),
		number("points", func(r *s) *int64 { return &r.Points }),
		either("seconds", iceberg.PrimitiveTypes.Float64, func(r *s) *float64 { return &r.Seconds }, func(r *s, v float64) { r.Seconds = v }),
		maybeText("reason", func(r *s) **string { return &r.Reason }),
	}
}
