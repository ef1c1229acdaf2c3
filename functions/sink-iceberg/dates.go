package sinkiceberg

import (
	"context"
	"encoding/binary"
	"fmt"
	"time"

	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"
)

// Day is a UTC day, YYYY-MM-DD.
type Day string

// DayOf is the day of a time.
func DayOf(t time.Time) Day { return Day(t.UTC().Format(time.DateOnly)) }

// Begins is when the day begins.
func (d Day) Begins() time.Time {
	t, _ := time.Parse(time.DateOnly, string(d)) // invalid days were refused
	return t
}

// Plus is a day some days later.
func (d Day) Plus(days int) Day { return DayOf(d.Begins().AddDate(0, 0, days)) }

// Until lists the days from this one to another, both included.
func (d Day) Until(to Day) (days []Day) {
	for ; d <= to; d = d.Plus(1) {
		days = append(days, d)
	}
	return days
}

// dated is the files of one snapshot of a table, each with the range of days that
// its observations may be of.
type dated struct {
	table *table.Table
	files []datedFile
}

type datedFile struct {
	task     table.FileScanTask
	from, to Day
}

// dates returns the files of a table; one that does not exist has none.
func dates(ctx context.Context, c catalog.Catalog, name string) (dated, error) {
	t, err := loadTable(ctx, c, name)
	if err != nil || t == nil {
		return dated{}, err
	}
	return datesOf(ctx, t)
}

func datesOf(ctx context.Context, t *table.Table) (dated, error) {
	d := dated{table: t}
	if t.CurrentSnapshot() == nil {
		return d, nil
	}
	tasks, err := files(ctx, t, nil)
	if err != nil {
		return d, fmt.Errorf("plan table %v: %w", t.Identifier(), err)
	}
	field, ok := t.Schema().FindFieldByName("observed_at")
	if !ok {
		return d, fmt.Errorf("table %v has no column observed_at", t.Identifier())
	}
	for _, task := range tasks {
		d.files = append(d.files, datedFile{task, bound(task.File.LowerBoundValues()[field.ID], "0000-01-01"), bound(task.File.UpperBoundValues()[field.ID], "9999-12-31")})
	}
	return d, nil
}

// bound reads a bound of a file's times. A file without one may have any.
func bound(b []byte, otherwise Day) Day {
	if len(b) != 8 {
		return otherwise
	}
	return DayOf(time.UnixMilli(inMillis(b, 0)))
}

// inMillis reads a bound of a file's times, in ms since 1970.
func inMillis(b []byte, otherwise int64) int64 {
	if len(b) != 8 {
		return otherwise
	}
	return time.UnixMicro(int64(binary.LittleEndian.Uint64(b))).UnixMilli()
}

// within returns the files that may have rows of the days from one to another, both
// included.
func (d dated) within(from, to Day) (out []table.FileScanTask) {
	for _, f := range d.files {
		if f.from <= to && f.to >= from {
			out = append(out, f.task)
		}
	}
	return out
}
