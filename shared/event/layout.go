package event

import (
	"reflect"
	"slices"

	"github.com/hamba/avro/v2"
)

// run is some fields of a record, one after another, that lie in one part of
// the payload. In Avro a record is no more than its fields in their order, so
// it may be coded run by run. That is done because hamba/avro looks up the type
// of an embedded struct at each of its fields, which costs more than the field.
type run struct {
	part   int // index in payload.parts
	schema avro.Schema
}

// layout cuts a record's schema into runs. Fields that the payload does not
// have go with the run before them: they are skipped.
func layout(schema avro.Schema, p payload) []run {
	record, ok := schema.(*avro.RecordSchema)
	parts := p.parts()
	if !ok || len(parts) == 1 {
		return []run{{0, schema}}
	}
	var runs []run
	var fields []*avro.Field
	at := 0
	end := func() {
		if len(fields) > 0 {
			// It cannot fail: the name is a valid one, the fields are of a valid record.
			part, _ := avro.NewRecordSchema(record.Name(), record.Namespace(), fields)
			runs = append(runs, run{at, part})
		}
		fields = nil
	}
	for _, f := range record.Fields() {
		i := slices.IndexFunc(parts, func(part any) bool { return holds(reflect.TypeOf(part).Elem(), f.Name()) })
		if i >= 0 && i != at {
			end()
			at = i
		}
		fields = append(fields, f)
	}
	end()
	return runs
}

// holds says whether a struct itself, not one embedded in it, has a field.
func holds(t reflect.Type, name string) bool {
	for i := range t.NumField() {
		if f := t.Field(i); !f.Anonymous && f.Tag.Get("avro") == name {
			return true
		}
	}
	return false
}
