package sinkiceberg

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/iceberg-go"
	"github.com/apache/iceberg-go/catalog"
	"github.com/apache/iceberg-go/table"

	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/repo"
)

// Snapshot is one of the tables at one time, unaffected by later commits.
type Snapshot struct {
	name  string
	table *table.Table // nil if there is none
}

// LoadSnapshot loads the current snapshot of a table.
func LoadSnapshot(ctx context.Context, c catalog.Catalog, name string) (*Snapshot, error) {
	t, err := loadTable(ctx, c, name)
	if err != nil {
		return nil, err
	}
	return &Snapshot{name, t}, nil
}

// Rows is how many rows the table has, by the summary of its newest snapshot; 0 of one
// that is empty or does not exist.
func (s *Snapshot) Rows() (int64, error) {
	if s.table == nil || s.table.CurrentSnapshot() == nil || s.table.CurrentSnapshot().Summary == nil {
		return 0, nil
	}
	text := s.table.CurrentSnapshot().Summary.Properties["total-records"]
	rows, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, fmt.Errorf("read the number of rows of %s: %w", s.name, err)
	}
	return rows, nil
}

// Marks returns how far the table's topic was stored.
func (s *Snapshot) Marks() (map[int32]int64, error) {
	if s.table == nil {
		return nil, nil
	}
	at, err := readOffsets(s.table)
	return at.Next, err
}

// Account is Snapshot.Account of the table as it is now.
func Account(ctx context.Context, c catalog.Catalog, name string, days []string, to account.Counter) error {
	s, err := LoadSnapshot(ctx, c, name)
	if err != nil {
		return err
	}
	return s.Account(ctx, days, to)
}

// Account passes the rows of TableBase or TableProcessed to a counter; a table that
// does not exist has none. Only files with rows of days, YYYY-MM-DD, are read, which
// may have rows of other days too. Without days all are read.
func (s *Snapshot) Account(ctx context.Context, days []string, to account.Counter) error {
	t, name := s.table, s.name
	if t == nil || t.CurrentSnapshot() == nil {
		return nil
	}
	sums := [3][]account.Column{account.ObservedColumns(), account.DetailColumns(), account.VelocityColumns()}
	if name == TableBase {
		sums[2] = nil
	}
	var fields []string
	for _, c := range slices.Concat(sums[:]...) {
		if !slices.Contains(fields, c.Name) {
			fields = append(fields, c.Name)
		}
	}
	tasks, err := files(ctx, t, onDays(days))
	if err != nil {
		return fmt.Errorf("plan table %s: %w", name, err)
	}
	_, batches, err := t.Scan(table.WithSelectedFields(fields...), table.WithMaxConcurrency(1), table.WithArrowBatchSize(batchRows)).ReadTasks(ctx, tasks)
	if err != nil {
		return fmt.Errorf("scan table %s: %w", name, err)
	}
	for batch, err := range batches {
		if err != nil {
			return fmt.Errorf("scan table %s: %w", name, err)
		}
		err := addBatch(batch, sums, to)
		batch.Release()
		if err != nil {
			return fmt.Errorf("scan table %s: %w", name, err)
		}
	}
	return nil
}

// AccountEvents passes the rows of TableEvents to a counter.
func (s *Snapshot) AccountEvents(ctx context.Context, to account.Counter) error {
	if s.table == nil {
		return nil
	}
	sums := account.NewSummer()
	return readTable(ctx, s.table, eventColumns(), nil, func(rows []*event.GitHubEvent) error {
		for _, e := range rows {
			key, sum := sums.Event(e)
			to.Add(key, "", sum)
		}
		return nil
	})
}

// AccountSignals passes the rows of TableSignals to a counter.
func (s *Snapshot) AccountSignals(ctx context.Context, to account.Counter) error {
	if s.table == nil {
		return nil
	}
	sums := account.NewSummer()
	return readTable(ctx, s.table, signalColumns(), nil, func(rows []*event.Signal) error {
		for _, g := range rows {
			key, sum := sums.Signal(g)
			to.Add(key, "", sum)
		}
		return nil
	})
}

// addBatch passes the rows of a batch to a counter. A checksum over no columns is 0.
func addBatch(batch arrow.RecordBatch, sums [3][]account.Column, to account.Counter) error {
	columns := map[string]arrow.Array{}
	for i, f := range batch.Schema().Fields() {
		columns[f.Name] = batch.Column(i)
	}
	var values [3][]adder
	for i, cols := range sums {
		for _, c := range cols {
			v, err := valuesOf(c, columns[c.Name])
			if err != nil {
				return err
			}
			values[i] = append(values[i], v)
		}
	}
	ids, times, sweeps := columns["repo_id"].(*array.Int64), columns["observed_at"].(*array.Timestamp), columns["sweep_id"].(*array.String)
	for row := range int(batch.NumRows()) {
		var sum [3]uint64
		for i, cols := range values {
			if len(cols) == 0 {
				continue
			}
			var line account.Line
			for _, value := range cols {
				line = value(line, row)
			}
			sum[i] = line.Sum()
		}
		to.Add(repo.Key{ID: ids.Value(row), ObservedAt: int64(times.Value(row)) / 1000}, sweeps.Value(row),
			account.Sums{Observed: sum[0], Details: sum[1], Velocity: sum[2]})
	}
	return nil
}

// adder adds the value of a row.
type adder func(l account.Line, row int) account.Line

// valuesOf are the values of a column for a checksum. A column that the table does
// not have yet is null.
func valuesOf(c account.Column, a arrow.Array) (adder, error) {
	null := func(l account.Line, _ int) account.Line { return l.Null() }
	if a == nil {
		return null, nil
	}
	var value adder
	switch a := a.(type) {
	case *array.Int64:
		value = func(l account.Line, row int) account.Line { return l.Int(a.Value(row)) }
	case *array.Float64:
		value = func(l account.Line, row int) account.Line { return l.Real(a.Value(row)) }
	case *array.Boolean:
		value = func(l account.Line, row int) account.Line { return l.Flag(a.Value(row)) }
	case *array.Timestamp:
		value = func(l account.Line, row int) account.Line { return l.Int(int64(a.Value(row)) / 1000) }
	case *array.String:
		value = func(l account.Line, row int) account.Line { return l.Text(a.Value(row)) }
	case *array.List:
		entry, err := entries(a.ListValues())
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", c.Name, err)
		}
		value = func(l account.Line, row int) account.Line {
			from, to := a.ValueOffsets(row)
			l = l.List(int(to - from))
			for i := int(from); i < int(to); i++ {
				l = entry(l, i)
			}
			return l
		}
	default:
		return nil, fmt.Errorf("column %s is of type %s", c.Name, a.DataType())
	}
	return func(l account.Line, row int) account.Line {
		if a.IsNull(row) {
			return l.Null()
		}
		return value(l, row)
	}, nil
}

// entries are the values in a list for a checksum: texts, or pairs of a text and a
// number.
func entries(a arrow.Array) (adder, error) {
	switch a := a.(type) {
	case *array.String:
		return func(l account.Line, i int) account.Line { return l.Entry(a.Value(i)) }, nil
	case *array.Struct:
		if a.NumField() != 2 {
			break
		}
		names, isText := a.Field(0).(*array.String)
		numbers, isNumber := a.Field(1).(*array.Int64)
		if isText && isNumber {
			return func(l account.Line, i int) account.Line { return l.Entry(names.Value(i)).EntryInt(numbers.Value(i)) }, nil
		}
	}
	return nil, fmt.Errorf("a list of %s", a.DataType())
}

// onDays is a filter for the observations of some days, YYYY-MM-DD, or for all if no
// days are given.
func onDays(days []string) iceberg.BooleanExpression {
	var any iceberg.BooleanExpression = iceberg.AlwaysFalse{}
	for _, d := range days {
		from, err := time.Parse(time.DateOnly, d)
		if err != nil {
			continue
		}
		at := iceberg.Reference("observed_at")
		any = iceberg.NewOr(any, iceberg.NewAnd(iceberg.GreaterThanEqual(at, iceberg.Timestamp(from.UnixMicro())),
			iceberg.LessThan(at, iceberg.Timestamp(from.AddDate(0, 0, 1).UnixMicro()))))
	}
	if len(days) == 0 {
		return nil
	}
	return any
}

// Marks returns how far a table's topic is stored in it.
func Marks(ctx context.Context, c catalog.Catalog, name string) (map[int32]int64, error) {
	s, err := LoadSnapshot(ctx, c, name)
	if err != nil {
		return nil, err
	}
	return s.Marks()
}

// Rows counts the rows of a table by the metadata of its files.
func Rows(ctx context.Context, c catalog.Catalog, name string) (int64, error) {
	t, err := c.LoadTable(ctx, table.Identifier{namespace, name})
	if err != nil {
		return 0, fmt.Errorf("load table %s: %w", name, err)
	}
	files, err := t.Scan().PlanFiles(ctx)
	if err != nil {
		return 0, fmt.Errorf("plan table %s: %w", name, err)
	}
	var n int64
	for _, f := range files {
		n += f.File.Count()
	}
	return n, nil
}
