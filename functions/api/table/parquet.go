package table

import (
	"bytes"
	"fmt"
	"reflect"
	"time"

	"github.com/apache/arrow-go/v18/arrow"
	"github.com/apache/arrow-go/v18/arrow/array"
	"github.com/apache/arrow-go/v18/arrow/memory"
	"github.com/apache/arrow-go/v18/parquet"
	"github.com/apache/arrow-go/v18/parquet/compress"
	"github.com/apache/arrow-go/v18/parquet/pqarrow"
)

// parquet writes one row group. Times are of milliseconds, UTC.
func (t Table) parquet() ([]byte, error) {
	fields := make([]arrow.Field, len(t.Names))
	for i, name := range t.Names {
		typ, err := arrowType(t.Types[i])
		if err != nil {
			return nil, fmt.Errorf("column %s: %w", name, err)
		}
		fields[i] = arrow.Field{Name: name, Type: typ, Nullable: true}
	}
	schema := arrow.NewSchema(fields, nil)
	b := array.NewRecordBuilder(memory.DefaultAllocator, schema)
	defer b.Release()
	for _, row := range t.Rows {
		for i, v := range row {
			put(b.Field(i), v)
		}
	}
	record := b.NewRecordBatch()
	defer record.Release()
	var out bytes.Buffer
	w, err := pqarrow.NewFileWriter(schema, &out, parquet.NewWriterProperties(parquet.WithCompression(compress.Codecs.Snappy)), pqarrow.DefaultWriterProps())
	if err != nil {
		return nil, fmt.Errorf("begin a parquet file: %w", err)
	}
	if err := w.Write(record); err != nil {
		return nil, fmt.Errorf("write a parquet file: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("end a parquet file: %w", err)
	}
	return out.Bytes(), nil
}

func arrowType(t reflect.Type) (arrow.DataType, error) {
	switch t {
	case reflect.TypeFor[int64]():
		return arrow.PrimitiveTypes.Int64, nil
	case reflect.TypeFor[float64]():
		return arrow.PrimitiveTypes.Float64, nil
	case reflect.TypeFor[bool]():
		return arrow.FixedWidthTypes.Boolean, nil
	case reflect.TypeFor[string]():
		return arrow.BinaryTypes.String, nil
	case reflect.TypeFor[time.Time]():
		return arrow.FixedWidthTypes.Timestamp_ms, nil
	}
	return nil, fmt.Errorf("no type for %s", t)
}

func put(b array.Builder, v any) {
	switch v := v.(type) {
	case nil:
		b.AppendNull()
	case int64:
		b.(*array.Int64Builder).Append(v)
	case float64:
		b.(*array.Float64Builder).Append(v)
	case bool:
		b.(*array.BooleanBuilder).Append(v)
	case string:
		b.(*array.StringBuilder).Append(v)
	case time.Time:
		b.(*array.TimestampBuilder).Append(arrow.Timestamp(v.UnixMilli()))
	}
}
