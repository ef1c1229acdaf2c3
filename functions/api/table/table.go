// Package table writes rows as CSV, NDJSON or Parquet.
package table

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"mime"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// The media types.
const (
	JSON    = "application/json"
	CSV     = "text/csv; charset=utf-8"
	NDJSON  = "application/x-ndjson"
	Parquet = "application/vnd.apache.parquet"
)

// Negotiate chooses a media type: the one of a format (json, csv, ndjson, parquet), or
// else what an Accept header likes best, of equals the first of JSON, CSV, NDJSON and
// Parquet. JSON where it likes none of them.
func Negotiate(format, accept string) string {
	forms := []struct{ format, bare, form string }{
		{"json", JSON, JSON}, {"csv", "text/csv", CSV}, {"ndjson", NDJSON, NDJSON}, {"parquet", Parquet, Parquet},
	}
	best, most := JSON, 0.0
	for _, f := range forms {
		if f.format == format {
			return f.form
		}
		if q := liking(accept, f.bare); q > most {
			best, most = f.form, q
		}
	}
	return best
}

// liking is how much an Accept header likes a media type, 0 to 1. What it says of the
// type itself goes before what it says of a range.
func liking(accept, media string) (q float64) {
	family, _, _ := strings.Cut(media, "/")
	most := 0
	for part := range strings.SplitSeq(accept, ",") {
		name, parameters, err := mime.ParseMediaType(part)
		if err != nil {
			continue
		}
		exact := map[string]int{media: 3, family + "/*": 2, "*/*": 1}[name]
		if exact <= most {
			continue
		}
		most, q = exact, 1
		if text, ok := parameters["q"]; ok {
			if q, err = strconv.ParseFloat(text, 64); err != nil {
				q = 0
			}
		}
	}
	return q
}

// Rows is data whose rows are in it.
type Rows interface{ Rows() any }

// Tabular is data that makes its table itself.
type Tabular interface{ Table() Table }

// Table is rows by columns.
type Table struct {
	Names []string
	Types []reflect.Type // of int64, float64, bool, string or time.Time
	Rows  [][]any        // values of these types, nil where unknown
}

// Of makes a table of data: of a slice of structs, of a struct, or of what has either.
// The columns are the fields with a name in JSON.
func Of(data any) (Table, error) {
	if t, ok := data.(Tabular); ok {
		return t.Table(), nil
	}
	if r, ok := data.(Rows); ok {
		data = r.Rows()
	}
	v := reflect.Indirect(reflect.ValueOf(data))
	if v.Kind() == reflect.Struct {
		one := reflect.MakeSlice(reflect.SliceOf(v.Type()), 0, 1)
		v = reflect.Append(one, v)
	}
	if v.Kind() != reflect.Slice {
		return Table{}, fmt.Errorf("no rows in %T", data)
	}
	var t Table
	walk(v.Type().Elem(), reflect.Value{}, func(name string, typ reflect.Type, _ any) {
		t.Names, t.Types = append(t.Names, name), append(t.Types, typ)
	})
	for i := range v.Len() {
		var values []any
		walk(v.Type().Elem(), v.Index(i), func(_ string, _ reflect.Type, value any) { values = append(values, value) })
		t.Rows = append(t.Rows, values)
	}
	return t, nil
}

// walk visits the fields of a struct that have a name in JSON, those of embedded ones
// in place.
func walk(t reflect.Type, v reflect.Value, visit func(name string, typ reflect.Type, value any)) {
	for i := range t.NumField() {
		f := t.Field(i)
		var at reflect.Value
		if v.IsValid() {
			at = v.Field(i)
		}
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		switch {
		case f.Anonymous && name == "":
			walk(f.Type, at, visit)
		case name != "" && name != "-" && f.IsExported():
			typ, value := plain(f.Type, at)
			visit(name, typ, value)
		}
	}
}

// plain is the type of a column, and the value in it.
func plain(t reflect.Type, v reflect.Value) (typ reflect.Type, value any) {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
		if v.IsValid() && v.IsNil() {
			typ, _ = plain(t, reflect.Value{})
			return typ, nil
		}
		if v.IsValid() {
			v = v.Elem()
		}
	}
	switch {
	case t == reflect.TypeFor[time.Time]():
		typ = t
		if v.IsValid() {
			value = v.Interface()
		}
	case t.Kind() == reflect.Int64 || t.Kind() == reflect.Int:
		typ = reflect.TypeFor[int64]()
		if v.IsValid() {
			value = v.Int()
		}
	case t.Kind() == reflect.Uint64:
		typ = reflect.TypeFor[int64]()
		if v.IsValid() {
			value = int64(v.Uint())
		}
	case t.Kind() == reflect.Float64:
		typ = reflect.TypeFor[float64]()
		if v.IsValid() {
			value = v.Float()
		}
	case t.Kind() == reflect.Bool:
		typ = reflect.TypeFor[bool]()
		if v.IsValid() {
			value = v.Bool()
		}
	case t.Kind() == reflect.String:
		typ = reflect.TypeFor[string]()
		if v.IsValid() {
			value = v.String()
		}
	default:
		typ = reflect.TypeFor[string]()
		if v.IsValid() {
			value = JSONText(v.Interface())
		}
	}
	return typ, value
}

// JSONText is a value in a column of texts.
func JSONText(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return ""
	}
	return string(b)
}

// Encode writes the rows of data.
func Encode(form string, data any) ([]byte, error) {
	t, err := Of(data)
	if err != nil {
		return nil, err
	}
	switch form {
	case CSV:
		return t.csv()
	case NDJSON:
		return t.ndjson()
	case Parquet:
		return t.parquet()
	}
	return nil, fmt.Errorf("no form %s", form)
}

func (t Table) csv() ([]byte, error) {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	if err := w.Write(t.Names); err != nil {
		return nil, err
	}
	for _, row := range t.Rows {
		cells := make([]string, len(row))
		for i, v := range row {
			cells[i] = cell(v)
		}
		if err := w.Write(cells); err != nil {
			return nil, err
		}
	}
	w.Flush()
	return b.Bytes(), w.Error()
}

func cell(v any) string {
	switch v := v.(type) {
	case nil:
		return ""
	case string:
		return Inert(v)
	case int64:
		return strconv.FormatInt(v, 10)
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64)
	case bool:
		return strconv.FormatBool(v)
	case time.Time:
		return v.UTC().Format(time.RFC3339Nano)
	}
	return Inert(JSONText(v))
}

// Inert puts an apostrophe before a text that a spreadsheet would take for a formula.
func Inert(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t\r", rune(text[0])) {
		if _, err := strconv.ParseFloat(text, 64); err != nil {
			return "'" + text
		}
	}
	return text
}

func (t Table) ndjson() ([]byte, error) {
	var b bytes.Buffer
	for _, row := range t.Rows {
		b.WriteByte('{')
		for i, name := range t.Names {
			if i > 0 {
				b.WriteByte(',')
			}
			key, err := json.Marshal(name)
			if err != nil {
				return nil, err
			}
			value, err := json.Marshal(row[i])
			if err != nil {
				return nil, err
			}
			b.Write(key)
			b.WriteByte(':')
			b.Write(value)
		}
		b.WriteString("}\n")
	}
	return b.Bytes(), nil
}
