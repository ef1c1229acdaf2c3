package repo

import (
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/m7pulse/m7pulse/shared/field"
)

// full is a valid observation with every field known.
func full() Observation {
	o := Observation{ID: 1, NameWithOwner: "o/n", Owner: "o", Name: "n", OwnerType: "User"}
	for _, f := range Fields() {
		switch at := f.At.(type) {
		case func(*Observation) **int64:
			*at(&o) = new(int64(7))
		case func(*Observation) **string:
			*at(&o) = new("text")
		case func(*Observation) **time.Time:
			*at(&o) = new(time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC))
		case func(*Observation) *time.Time:
			*at(&o) = time.Date(2025, 1, 2, 3, 4, 5, 0, time.UTC)
		case func(*Observation) *[]string:
			*at(&o) = []string{"t"}
		case func(*Observation) *[]Language:
			*at(&o) = []Language{{"Go", 1}}
		}
	}
	return o
}

// TestEveryFieldIsDefinedOnce: by its names in the schema and in JSON, in the
// order of the struct, and as null as its type.
func TestEveryFieldIsDefinedOnce(t *testing.T) {
	of := reflect.TypeFor[Observation]()
	fields := Fields()
	if len(fields) != of.NumField() {
		t.Fatalf("%d fields are defined of %d", len(fields), of.NumField())
	}
	var o Observation
	for _, f := range fields {
		i := slices.IndexFunc(reflect.VisibleFields(of), func(s reflect.StructField) bool { return s.Tag.Get("avro") == f.Name })
		if i < 0 || of.Field(i).Tag.Get("json") != f.Name {
			t.Errorf("%s is not in the struct by that name", f.Name)
			continue
		}
		place := reflect.ValueOf(f.At).Call([]reflect.Value{reflect.ValueOf(&o)})[0]
		if place.Pointer() != reflect.ValueOf(&o).Elem().Field(i).Addr().Pointer() {
			t.Errorf("%s lies in the place of another field", f.Name)
		}
		if f.Null != (of.Field(i).Type.Kind() == reflect.Pointer) {
			t.Errorf("%s: null is %t", f.Name, f.Null)
		}
		if f.Unit == "" || f.Text == "" {
			t.Errorf("%s is not described: %+v", f.Name, f.Definition)
		}
	}
}

// TestEveryFieldIsChecked: what no store could hold is found, whichever field it
// is in, and dropped where an observation can do without it.
func TestEveryFieldIsChecked(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	whole := full()
	if err := whole.Validate(now); err != nil {
		t.Fatal(err)
	}
	long, early, below := strings.Repeat("x", maxText+1), time.Date(1, 1, 1, 0, 0, 0, 0, time.UTC), int64(-1)
	for _, f := range Fields() {
		o := full()
		switch at := f.At.(type) {
		case func(*Observation) *int64:
			if f.Unit == "id" {
				continue // an id may be any number
			}
			*at(&o) = below
		case func(*Observation) **int64:
			*at(&o) = &below
		case func(*Observation) *string:
			*at(&o) = long
		case func(*Observation) **string:
			*at(&o) = &long
		case func(*Observation) *time.Time:
			*at(&o) = early
		case func(*Observation) **time.Time:
			*at(&o) = &early
		case func(*Observation) *[]string:
			*at(&o) = []string{long}
		case func(*Observation) *[]Language:
			*at(&o) = []Language{{long, 1}}
		case func(*Observation) *bool:
			continue
		}
		if err := o.Validate(now); err == nil {
			t.Errorf("%s is not checked", f.Name)
			continue
		}
		o.DropImplausible(now)
		if err := o.Validate(now); (err == nil) != (f.Null || f.Kind == field.Texts || f.Kind == field.Languages) {
			t.Errorf("%s: %v", f.Name, err)
		}
	}
}
