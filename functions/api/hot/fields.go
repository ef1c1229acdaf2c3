package hot

import (
	"bytes"
	"encoding/json"
	"math"
	"reflect"
	"slices"
	"time"

	"github.com/m7pulse/m7pulse/functions/api/table"
	"github.com/m7pulse/m7pulse/shared/event"
	"github.com/m7pulse/m7pulse/shared/field"
	"github.com/m7pulse/m7pulse/shared/repo"
	"github.com/m7pulse/m7pulse/shared/velocity"
)

// Definitions are the definitions of all that is known of a repository's newest
// state: what was observed, and what was computed of it.
func Definitions() []field.Definition {
	velocities := velocity.Definitions()
	all := slices.Concat(field.Definitions(repo.Fields()), field.Definitions(event.StatementFields()), velocities[:])
	for _, r := range velocity.Rates() {
		all = append(all, r.Definition)
	}
	return all
}

// Define finds the definition of a field.
func Define(name string) (field.Definition, bool) {
	for _, d := range Definitions() {
		if d.Name == name {
			return d, true
		}
	}
	return field.Definition{}, false
}

// DefinedAll are the definitions of some fields; all must be defined.
func DefinedAll(names []string) (out []field.Definition, unknown string) {
	for _, n := range names {
		d, ok := Define(n)
		if !ok {
			return nil, n
		}
		out = append(out, d)
	}
	return out, ""
}

// Record is some fields of a repository, in the order that they were asked for.
type Record struct {
	RepoID   int64
	Label    string // its name, with its id if another repository has that name now
	IsFormer bool   // another repository has its name now
	// IsCurrent: it was read in the three days before the newest reading of all. One
	// that is not was deleted, made private or moved, or its owner is no longer swept.
	IsCurrent bool
	Owner     string
	Name      string // owner/name at its newest reading
	At        time.Time

	Fields []field.Definition
	Values []any // nil where unknown
}

// Value is the value of a field, nil if it is unknown or was not asked for.
func (r Record) Value(name string) any {
	for i, d := range r.Fields {
		if d.Name == name {
			return r.Values[i]
		}
	}
	return nil
}

// MarshalJSON writes the fields by their names.
func (r Record) MarshalJSON() ([]byte, error) {
	var b bytes.Buffer
	b.WriteString(`{"label":`)
	if err := write(&b, r.Label); err != nil {
		return nil, err
	}
	b.WriteString(`,"is_former":` + flag(r.IsFormer) + `,"is_current":` + flag(r.IsCurrent))
	for i, d := range r.Fields {
		b.WriteString(`,"` + d.Name + `":`)
		if err := write(&b, r.Values[i]); err != nil {
			return nil, err
		}
	}
	b.WriteByte('}')
	return b.Bytes(), nil
}

func flag(v bool) string {
	if v {
		return "true"
	}
	return "false"
}

func write(b *bytes.Buffer, v any) error {
	text, err := json.Marshal(v)
	if err != nil {
		return err
	}
	b.Write(text)
	return nil
}

// target returns where a column of a definition is scanned, and what reads the value
// from there.
func target(d field.Definition) (to any, value func() any) {
	switch d.Kind {
	case field.Int:
		return maybe[int64]()
	case field.Float:
		var v *float64
		return &v, func() any {
			if v == nil || math.IsNaN(*v) || math.IsInf(*v, 0) {
				return nil
			}
			return *v
		}
	case field.Bool:
		return maybe[bool]()
	case field.Time:
		var v *time.Time
		return &v, func() any {
			if v == nil {
				return nil
			}
			return v.UTC()
		}
	case field.Text:
		return maybe[string]()
	case field.Texts:
		var v []string
		return &v, func() any { return v }
	}
	var v []map[string]any
	return &v, func() any {
		languages := make([]repo.Language, 0, len(v))
		for _, l := range v {
			name, _ := l["name"].(string)
			size, _ := l["bytes"].(int64)
			languages = append(languages, repo.Language{Name: name, Bytes: size})
		}
		return languages
	}
}

func maybe[V any]() (to any, value func() any) {
	var v *V
	return &v, func() any {
		if v == nil {
			return nil
		}
		return *v
	}
}

// Table is the record as one row.
func (r Record) Table() table.Table { return Records{r.Fields, []Record{r}}.Table() }

// Records are repositories with the same fields.
type Records struct {
	Fields []field.Definition
	List   []Record
}

// MarshalJSON writes the records as a list.
func (r Records) MarshalJSON() ([]byte, error) {
	if r.List == nil {
		return []byte("[]"), nil
	}
	return json.Marshal(r.List)
}

// Table has a row of each record.
func (r Records) Table() table.Table {
	t := table.Table{
		Names: []string{"label", "is_former", "is_current"},
		Types: []reflect.Type{reflect.TypeFor[string](), reflect.TypeFor[bool](), reflect.TypeFor[bool]()},
	}
	for _, d := range r.Fields {
		t.Names, t.Types = append(t.Names, d.Name), append(t.Types, typeOf(d.Kind))
	}
	for _, record := range r.List {
		row := []any{record.Label, record.IsFormer, record.IsCurrent}
		for i, d := range r.Fields {
			v := record.Values[i]
			if d.Kind == field.Texts || d.Kind == field.Languages {
				v = table.JSONText(v)
			}
			row = append(row, v)
		}
		t.Rows = append(t.Rows, row)
	}
	return t
}

func typeOf(k field.Kind) reflect.Type {
	switch k {
	case field.Int:
		return reflect.TypeFor[int64]()
	case field.Float:
		return reflect.TypeFor[float64]()
	case field.Bool:
		return reflect.TypeFor[bool]()
	case field.Time:
		return reflect.TypeFor[time.Time]()
	}
	return reflect.TypeFor[string]()
}
