package sinkiceberg

import (
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// column is one column of a table and how its value is taken from a row.
type column[R any] struct {
	name     string
	typ      iceberg.Type
	required bool
	append   func(to array.Builder, r *R)
}

func text[R any](name string, get func(*R) string) column[R] {
	return column[R]{name, iceberg.PrimitiveTypes.String, true, func(b array.Builder, r *R) { b.(*array.StringBuilder).Append(get(r)) }}
}

func maybeText[R any](name string, get func(*R) *string) column[R] {
	return column[R]{name, iceberg.PrimitiveTypes.String, false, func(b array.Builder, r *R) {
		if v := get(r); v != nil {
			b.(*array.StringBuilder).Append(*v)
			return
		}
		b.AppendNull()
	}}
}

func number[R any](name string, get func(*R) int64) column[R] {
	return column[R]{name, iceberg.PrimitiveTypes.Int64, true, func(b array.Builder, r *R) { b.(*array.Int64Builder).Append(get(r)) }}
}

func maybeNumber[R any](name string, get func(*R) *int64) column[R] {
	return column[R]{name, iceberg.PrimitiveTypes.Int64, false, func(b array.Builder, r *R) {
		if v := get(r); v != nil {
			b.(*array.Int64Builder).Append(*v)
			return
		}
		b.AppendNull()
	}}
}

func maybeRate[R any](name string, get func(*R) *float64) column[R] {
	return column[R]{name, iceberg.PrimitiveTypes.Float64, false, func(b array.Builder, r *R) {
		if v := get(r); v != nil {
			b.(*array.Float64Builder).Append(*v)
			return
		}
		b.AppendNull()
	}}
}

func truth[R any](name string, get func(*R) bool) column[R] {
	return column[R]{name, iceberg.PrimitiveTypes.Bool, true, func(b array.Builder, r *R) { b.(*array.BooleanBuilder).Append(get(r)) }}
}

func maybeTruth[R any](name string, get func(*R) *bool) column[R] {
	return column[R]{name, iceberg.PrimitiveTypes.Bool, false, func(b array.Builder, r *R) {
		if v := get(r); v != nil {
			b.(*array.BooleanBuilder).Append(*v)
			return
		}
		b.AppendNull()
	}}
}

func moment[R any](name string, get func(*R) time.Time) column[R] {
	return column[R]{name, iceberg.PrimitiveTypes.TimestampTz, true, func(b array.Builder, r *R) {
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(get(r).UnixMicro()))
	}}
}

func maybeMoment[R any](name string, get func(*R) *time.Time) column[R] {
	return column[R]{name, iceberg.PrimitiveTypes.TimestampTz, false, func(b array.Builder, r *R) {
		if v := get(r); v != nil {
			b.(*array.TimestampBuilder).Append(arrow.Timestamp(v.UnixMicro()))
			return
		}
		b.AppendNull()
	}}
}

// Ids of the fields inside lists. They only need to differ from all others: the
// catalog gives a new table ids of its own.
const (
	idLanguage = 1001 + iota
	idLanguageName
	idLanguageBytes
	idTopic
)

func languages[R any](get func(*R) []repo.Language) column[R] {
	typ := &iceberg.ListType{ElementID: idLanguage, ElementRequired: true, Element: &iceberg.StructType{FieldList: []iceberg.NestedField{
		{ID: idLanguageName, Name: "name", Type: iceberg.PrimitiveTypes.String, Required: true},
		{ID: idLanguageBytes, Name: "bytes", Type: iceberg.PrimitiveTypes.Int64, Required: true},
	}}}
	return column[R]{"languages", typ, true, func(b array.Builder, r *R) {
		list := b.(*array.ListBuilder)
		list.Append(true)
		entry := list.ValueBuilder().(*array.StructBuilder)
		for _, l := range get(r) {
			entry.Append(true)
			entry.FieldBuilder(0).(*array.StringBuilder).Append(l.Name)
			entry.FieldBuilder(1).(*array.Int64Builder).Append(l.Bytes)
		}
	}}
}

func topics[R any](get func(*R) []string) column[R] {
	typ := &iceberg.ListType{ElementID: idTopic, ElementRequired: true, Element: iceberg.PrimitiveTypes.String}
	return column[R]{"topics", typ, true, func(b array.Builder, r *R) {
		list := b.(*array.ListBuilder)
		list.Append(true)
		for _, t := range get(r) {
			list.ValueBuilder().(*array.StringBuilder).Append(t)
		}
	}}
}

// observationColumns are the columns of base_repos, and the first ones of
// processed_repos.
func observationColumns[R any](of func(*R) *repo.Observation) []column[R] {
	return []column[R]{
		number("repo_id", func(r *R) int64 { return of(r).ID }),
		text("node_id", func(r *R) string { return of(r).NodeID }),
		text("name_with_owner", func(r *R) string { return of(r).NameWithOwner }),
		text("owner", func(r *R) string { return of(r).Owner }),
		text("owner_type", func(r *R) string { return of(r).OwnerType }),
		maybeText("company", func(r *R) *string { return of(r).Company }),
		text("name", func(r *R) string { return of(r).Name }),
		maybeText("description", func(r *R) *string { return of(r).Description }),
		maybeText("primary_language", func(r *R) *string { return of(r).PrimaryLanguage }),
		languages(func(r *R) []repo.Language { return of(r).Languages }),
		topics(func(r *R) []string { return of(r).Topics }),
		maybeText("license", func(r *R) *string { return of(r).License }),
		maybeText("default_branch", func(r *R) *string { return of(r).DefaultBranch }),
		truth("is_fork", func(r *R) bool { return of(r).IsFork }),
		truth("is_archived", func(r *R) bool { return of(r).IsArchived }),
		maybeMoment("created_at", func(r *R) *time.Time { return of(r).CreatedAt }),
		maybeMoment("pushed_at", func(r *R) *time.Time { return of(r).PushedAt }),
		maybeMoment("updated_at", func(r *R) *time.Time { return of(r).UpdatedAt }),
		number("stars", func(r *R) int64 { return of(r).Stars }),
		maybeNumber("forks", func(r *R) *int64 { return of(r).Forks }),
		maybeNumber("watchers", func(r *R) *int64 { return of(r).Watchers }),
		maybeNumber("open_issues", func(r *R) *int64 { return of(r).OpenIssues }),
		maybeNumber("closed_issues", func(r *R) *int64 { return of(r).ClosedIssues }),
		maybeNumber("open_prs", func(r *R) *int64 { return of(r).OpenPRs }),
		maybeNumber("merged_prs", func(r *R) *int64 { return of(r).MergedPRs }),
		maybeNumber("closed_prs", func(r *R) *int64 { return of(r).ClosedPRs }),
		maybeNumber("discussions", func(r *R) *int64 { return of(r).Discussions }),
		maybeNumber("releases", func(r *R) *int64 { return of(r).Releases }),
		maybeText("latest_release", func(r *R) *string { return of(r).LatestRelease }),
		maybeMoment("latest_release_at", func(r *R) *time.Time { return of(r).LatestReleaseAt }),
		maybeNumber("commits_total", func(r *R) *int64 { return of(r).CommitsTotal }),
		maybeNumber("disk_kb", func(r *R) *int64 { return of(r).DiskKB }),
		moment("observed_at", func(r *R) time.Time { return of(r).ObservedAt }),
		text("sweep_id", func(r *R) string { return of(r).SweepID }),
		text("source", func(r *R) string { return of(r).Source }),
	}
}

// processedColumns are the columns of processed_repos.
func processedColumns() []column[event.RepoProcessed] {
	type r = event.RepoProcessed
	cols := append(observationColumns(func(p *r) *repo.Observation { return &p.Observation }),
		moment("processed_at", func(p *r) time.Time { return p.ProcessedAt }),
		number("revision", func(p *r) int64 { return p.Revision }),
		truth("late", func(p *r) bool { return p.Late }),
	)
	for i, d := range velocity.Definitions() {
		f := velocity.Field(i)
		switch f.Kind() {
		case velocity.Count:
			cols = append(cols, maybeNumber(d.Name, func(p *r) *int64 { return p.Int(f) }))
		case velocity.Rate:
			cols = append(cols, maybeRate(d.Name, func(p *r) *float64 { return p.Float(f) }))
		case velocity.Moment:
			cols = append(cols, maybeMoment(d.Name, func(p *r) *time.Time { return p.Time(f) }))
		case velocity.Flag:
			cols = append(cols, maybeTruth(d.Name, func(p *r) *bool { return p.Bool(f) }))
		}
	}
	return cols
}

// sweepColumns are the columns of sweeps.
func sweepColumns() []column[event.OwnerSwept] {
	type s = event.OwnerSwept
	return []column[s]{
		text("sweep_id", func(r *s) string { return r.SweepID }),
		text("owner", func(r *s) string { return r.Owner }),
		text("status", func(r *s) string { return r.Status }),
		moment("started_at", func(r *s) time.Time { return r.StartedAt }),
		moment("finished_at", func(r *s) time.Time { return r.FinishedAt }),
		maybeNumber("expected", func(r *s) *int64 { return r.Expected }),
		number("seen", func(r *s) int64 { return r.Seen }),
		maybeNumber("new", func(r *s) *int64 { return r.New }),
		maybeNumber("renamed", func(r *s) *int64 { return r.Renamed }),
		maybeNumber("gone", func(r *s) *int64 { return r.Gone }),
		number("unanswered", func(r *s) int64 { return r.Unanswered }),
		number("pages", func(r *s) int64 { return r.Pages }),
		number("killed_pages", func(r *s) int64 { return r.KilledPages }),
		number("points", func(r *s) int64 { return r.Points }),
		maybeRate("seconds", func(r *s) *float64 { return &r.Seconds }),
		maybeText("reason", func(r *s) *string { return r.Reason }),
	}
}
