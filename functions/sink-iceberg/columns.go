package sinkiceberg

import (
	"strings"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"

	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/feed"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/signal"
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
func required[R, V any](name string, typ iceberg.Type, place func(*R) *V) column[R] {
	return column[R]{name, typ, true,
		func(b array.Builder, r *R) { b.(builder[V]).Append(*place(r)) },
		func(a arrow.Array, i int, r *R) { *place(r) = a.(values[V]).Value(i) },
	}
}

// optional makes a column of a field that may be nil.
func optional[R, V any](name string, typ iceberg.Type, place func(*R) **V) column[R] {
	return either(name, typ, func(r *R) *V { return *place(r) }, func(r *R, v V) { *place(r) = &v })
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

// columnsOf makes the columns of fields, which are in a part of the row.
func columnsOf[R, P any](fields []field.Field[P], part func(*R) *P) []column[R] {
	out := make([]column[R], len(fields))
	for i, f := range fields {
		switch at := f.At.(type) {
		case func(*P) *int64:
			out[i] = required(f.Name, iceberg.PrimitiveTypes.Int64, func(r *R) *int64 { return at(part(r)) })
		case func(*P) **int64:
			out[i] = optional(f.Name, iceberg.PrimitiveTypes.Int64, func(r *R) **int64 { return at(part(r)) })
		case func(*P) *float64: // the first tables have it as one that may be null
			out[i] = either(f.Name, iceberg.PrimitiveTypes.Float64, func(r *R) *float64 { return at(part(r)) }, func(r *R, v float64) { *at(part(r)) = v })
		case func(*P) **float64:
			out[i] = optional(f.Name, iceberg.PrimitiveTypes.Float64, func(r *R) **float64 { return at(part(r)) })
		case func(*P) *bool:
			out[i] = required(f.Name, iceberg.PrimitiveTypes.Bool, func(r *R) *bool { return at(part(r)) })
		case func(*P) **bool:
			out[i] = optional(f.Name, iceberg.PrimitiveTypes.Bool, func(r *R) **bool { return at(part(r)) })
		case func(*P) *time.Time:
			out[i] = column[R]{f.Name, iceberg.PrimitiveTypes.TimestampTz, true,
				func(b array.Builder, r *R) {
					b.(*array.TimestampBuilder).Append(arrow.Timestamp(at(part(r)).UnixMicro()))
				},
				func(a arrow.Array, i int, r *R) { *at(part(r)) = momentAt(a, i) },
			}
		case func(*P) **time.Time:
			out[i] = column[R]{f.Name, iceberg.PrimitiveTypes.TimestampTz, false,
				func(b array.Builder, r *R) { appendMoment(b, *at(part(r))) },
				func(a arrow.Array, i int, r *R) {
					v := momentAt(a, i)
					*at(part(r)) = &v
				},
			}
		case func(*P) *string:
			out[i] = required(f.Name, iceberg.PrimitiveTypes.String, func(r *R) *string { return at(part(r)) })
			out[i].read = func(a arrow.Array, i int, r *R) { *at(part(r)) = textAt(a, i) }
		case func(*P) **string:
			out[i] = optional(f.Name, iceberg.PrimitiveTypes.String, func(r *R) **string { return at(part(r)) })
			out[i].read = func(a arrow.Array, i int, r *R) {
				v := textAt(a, i)
				*at(part(r)) = &v
			}
		case func(*P) *[]string:
			out[i] = texts(f.Name, func(r *R) *[]string { return at(part(r)) })
		case func(*P) *[]repo.Language:
			out[i] = languages(f.Name, func(r *R) *[]repo.Language { return at(part(r)) })
		}
	}
	return out
}

// textAt returns a copy of a text, so that the batch can be freed.
func textAt(a arrow.Array, i int) string { return strings.Clone(a.(*array.String).Value(i)) }

// Ids of the fields inside lists. They only need to differ from all others: the
// catalog gives a new table ids of its own.
const (
	idLanguage = 1001 + iota
	idLanguageName
	idLanguageBytes
	idTopic
)

func languages[R any](name string, place func(*R) *[]repo.Language) column[R] {
	typ := &iceberg.ListType{ElementID: idLanguage, ElementRequired: true, Element: &iceberg.StructType{FieldList: []iceberg.NestedField{
		{ID: idLanguageName, Name: "name", Type: iceberg.PrimitiveTypes.String, Required: true},
		{ID: idLanguageBytes, Name: "bytes", Type: iceberg.PrimitiveTypes.Int64, Required: true},
	}}}
	return column[R]{name, typ, true,
		func(b array.Builder, r *R) {
			list := b.(*array.ListBuilder)
			list.Append(true)
			entry := list.ValueBuilder().(*array.StructBuilder)
			for _, l := range *place(r) {
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
			*place(r) = out
		},
	}
}

func texts[R any](name string, place func(*R) *[]string) column[R] {
	typ := &iceberg.ListType{ElementID: idTopic, ElementRequired: true, Element: iceberg.PrimitiveTypes.String}
	return column[R]{name, typ, true,
		func(b array.Builder, r *R) {
			list := b.(*array.ListBuilder)
			list.Append(true)
			for _, t := range *place(r) {
				list.ValueBuilder().(*array.StringBuilder).Append(t)
			}
		},
		func(a arrow.Array, i int, r *R) {
			list := a.(*array.List)
			entries := list.ListValues().(*array.String)
			from, to := list.ValueOffsets(i)
			out := make([]string, 0, to-from)
			for j := int(from); j < int(to); j++ {
				out = append(out, strings.Clone(entries.Value(j)))
			}
			*place(r) = out
		},
	}
}

// observationColumns are the columns of base_repos, and the first ones of
// processed_repos.
func observationColumns[R any](of func(*R) *repo.Observation) []column[R] {
	return columnsOf(repo.Fields(), of)
}

// processedColumns are the columns of processed_repos.
func processedColumns() []column[event.RepoProcessed] {
	type r = event.RepoProcessed
	cols := append(observationColumns(func(p *r) *repo.Observation { return &p.Observation }), columnsOf(event.StatementFields(), itself[r])...)
	for i, d := range velocity.Definitions() {
		cols = append(cols, velocityColumn(d, velocity.Field(i)))
	}
	return cols
}

func itself[R any](r *R) *R { return r }

// velocityColumn is the column of a field. Its value is read where it is
// appended, so that the compiler keeps it off the heap: there are over a hundred in a row.
func velocityColumn(d field.Definition, f velocity.Field) column[event.RepoProcessed] {
	type r = event.RepoProcessed
	c := column[r]{name: d.Name}
	switch d.Kind {
	case field.Int:
		c.typ = iceberg.PrimitiveTypes.Int64
		c.append = func(b array.Builder, p *r) { appendValue(b, p.Int(f)) }
		c.read = func(a arrow.Array, i int, p *r) { p.SetInt(f, a.(values[int64]).Value(i)) }
	case field.Float:
		c.typ = iceberg.PrimitiveTypes.Float64
		c.append = func(b array.Builder, p *r) { appendValue(b, p.Float(f)) }
		c.read = func(a arrow.Array, i int, p *r) { p.SetFloat(f, a.(values[float64]).Value(i)) }
	case field.Time:
		c.typ = iceberg.PrimitiveTypes.TimestampTz
		c.append = func(b array.Builder, p *r) { appendMoment(b, p.Time(f)) }
		c.read = func(a arrow.Array, i int, p *r) { p.SetInt(f, momentAt(a, i).UnixMilli()) }
	case field.Bool:
		c.typ = iceberg.PrimitiveTypes.Bool
		c.append = func(b array.Builder, p *r) { appendValue(b, p.Bool(f)) }
		c.read = func(a arrow.Array, i int, p *r) { p.SetBool(f, a.(values[bool]).Value(i)) }
	}
	return c
}

// sweepColumns are the columns of sweeps.
func sweepColumns() []column[event.OwnerSwept] {
	return columnsOf(event.SweptFields(), itself[event.OwnerSwept])
}

// eventColumns are the columns of events.
func eventColumns() []column[event.GitHubEvent] {
	return columnsOf(feed.Fields(), itself[event.GitHubEvent])
}

// feedReadColumns are the columns of feed_reads.
func feedReadColumns() []column[event.FeedRead] {
	return columnsOf(feed.ReadingFields(), itself[event.FeedRead])
}

// signalColumns are the columns of signals.
func signalColumns() []column[event.Signal] {
	return columnsOf(signal.Fields(), itself[event.Signal])
}
