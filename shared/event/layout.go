package event

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"math"
	"reflect"
	"slices"

	"github.com/hamba/avro/v2"

	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// run is consecutive fields of a record that are in one part of the payload. An Avro
// record is encoded as its fields in order, so it can be coded run by run. That is
// done for speed: hamba/avro looks up the type of an embedded struct at each of its
// fields, and velocities are not a struct of pointers.
type run struct {
	part   int // index in payload.parts
	schema avro.Schema
	fields []velocity.Field // of velocities, in place of a schema
	kinds  []field.Kind     // of the fields
}

// skipped is a rate, which is read and dropped.
const skipped velocity.Field = -1

// layout cuts a record's schema into runs. wrote is the schema that it was resolved
// from: only the fields of that one are in the bytes. Fields that the payload does not
// have are in a run of the payload itself, and are skipped there.
func layout(schema, wrote avro.Schema, p payload) ([]run, error) {
	parts := p.parts()
	if len(parts) == 1 {
		return []run{{schema: schema}}, nil
	}
	record, ok := schema.(*avro.RecordSchema)
	from, okFrom := wrote.(*avro.RecordSchema)
	if !ok || !okFrom {
		return nil, fmt.Errorf("unsupported schema %T: want a record", schema)
	}
	var runs []run
	var fields []*avro.Field
	at := 0
	end := func() error {
		if len(fields) == 0 {
			return nil
		}
		part, err := avro.NewRecordSchema(record.Name(), record.Namespace(), fields)
		if err != nil {
			return err
		}
		runs, fields = append(runs, run{part: at, schema: part}), nil
		return nil
	}
	velocities := slices.IndexFunc(parts, func(part any) bool { _, ok := part.(*velocity.Velocities); return ok })
	known, kinds := map[string]velocity.Field{}, map[string]field.Kind{}
	for i, d := range velocity.Definitions() {
		known[d.Name], kinds[d.Name] = velocity.Field(i), d.Kind
	}
	for _, r := range velocity.Rates() { // as older programs wrote them
		known[r.Name], kinds[r.Name] = skipped, r.Kind
	}
	for _, f := range record.Fields() {
		if v, ok := known[f.Name()]; ok {
			if !slices.ContainsFunc(from.Fields(), func(w *avro.Field) bool { return w.Name() == f.Name() }) {
				continue // not in the bytes: absent
			}
			if err := nullable(f, kinds[f.Name()]); err != nil {
				return nil, err
			}
			if err := end(); err != nil {
				return nil, err
			}
			if n := len(runs); n == 0 || runs[n-1].fields == nil {
				runs = append(runs, run{part: velocities})
			}
			last := &runs[len(runs)-1]
			last.fields, last.kinds = append(last.fields, v), append(last.kinds, kinds[f.Name()])
			continue
		}
		i := max(0, slices.IndexFunc(parts, func(part any) bool { return holds(reflect.TypeOf(part).Elem(), f.Name()) }))
		if i != at {
			if err := end(); err != nil {
				return nil, err
			}
			at = i
		}
		fields = append(fields, f)
	}
	return runs, end()
}

// holds reports whether a struct itself, not one embedded in it, has a field.
func holds(t reflect.Type, name string) bool {
	for i := range t.NumField() {
		if f := t.Field(i); !f.Anonymous && f.Tag.Get("avro") == name {
			return true
		}
	}
	return false
}

// nullable checks that a field is a union of null and its kind's type, in this order:
// that is how velocities are coded.
func nullable(f *avro.Field, kind field.Kind) error {
	want := map[field.Kind]avro.Type{field.Int: avro.Long, field.Time: avro.Long, field.Float: avro.Double, field.Bool: avro.Boolean}[kind]
	u, ok := f.Type().(*avro.UnionSchema)
	if !ok || len(u.Types()) != 2 || u.Types()[0].Type() != avro.Null || u.Types()[1].Type() != want {
		return fmt.Errorf("field %s is not [null, %s]", f.Name(), want)
	}
	return nil
}

// checkTimes checks that what is read as a time was written as one, in the same unit:
// Avro's own resolution accepts any long.
func checkTimes(reads, wrote avro.Schema) error {
	to, ok := reads.(*avro.RecordSchema)
	from, okFrom := wrote.(*avro.RecordSchema)
	if !ok || !okFrom {
		return nil // Resolve refuses it
	}
	for _, f := range to.Fields() {
		i := slices.IndexFunc(from.Fields(), func(w *avro.Field) bool { return w.Name() == f.Name() })
		if i < 0 {
			continue
		}
		want, got := timeUnit(f.Type()), timeUnit(from.Fields()[i].Type())
		if want != got {
			return fmt.Errorf("field %s was written as %s, not %s", f.Name(), cmp.Or(got, "a number without a unit"), cmp.Or(want, "a number"))
		}
	}
	return nil
}

// timeUnit returns the logical type of a number, or of the one in a union; "" for none.
func timeUnit(s avro.Schema) string {
	types := []avro.Schema{s}
	if u, ok := s.(*avro.UnionSchema); ok {
		types = u.Types()
	}
	for _, t := range types {
		if p, ok := t.(*avro.PrimitiveSchema); ok && p.Logical() != nil {
			return string(p.Logical().Type())
		}
	}
	return ""
}

// write appends the fields of a run.
func (r *run) write(w *avro.Writer, parts []any) {
	if r.fields == nil {
		w.WriteVal(r.schema, parts[r.part])
		return
	}
	v := parts[r.part].(*velocity.Velocities)
	b := make([]byte, 0, 1024) // enough for most, on the stack
	for i, f := range r.fields {
		if !v.Has(f) {
			b = append(b, 0) // the branch null
			continue
		}
		b = append(b, 2) // the other, as a zigzag 1
		switch r.kinds[i] {
		case field.Float:
			b = binary.LittleEndian.AppendUint64(b, math.Float64bits(*v.Float(f)))
		case field.Bool:
			b = append(b, 0)
			if *v.Bool(f) {
				b[len(b)-1] = 1
			}
		default:
			b = binary.AppendVarint(b, *v.Int(f))
		}
	}
	_, _ = w.Write(b) // w buffers in memory
}

// read takes the fields of a run.
func (r *run) read(from *avro.Reader, parts []any) {
	if r.fields == nil {
		from.ReadVal(r.schema, parts[r.part])
		return
	}
	v := parts[r.part].(*velocity.Velocities)
	for i, f := range r.fields {
		switch branch := from.ReadLong(); {
		case from.Error != nil || branch == 0:
		case branch != 1:
			from.ReportError("decode union", fmt.Sprintf("branch %d of two", branch))
		case f == skipped:
			from.ReadDouble()
		case r.kinds[i] == field.Float:
			v.SetFloat(f, from.ReadDouble())
		case r.kinds[i] == field.Bool:
			v.SetBool(f, from.ReadBool())
		default:
			v.SetInt(f, from.ReadLong())
		}
	}
}
