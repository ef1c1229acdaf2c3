package velocity

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"math"
	"time"

	"github.com/m7pulse/m7pulse/shared/field"
)

// Velocities are all that is computed of one observation, field by field. A
// field that is absent is null in every store: there was nothing to compare
// with, or a counter was not observed. It never stands for zero.
type Velocities struct {
	bits [fields]uint64
	set  [(fields + 63) / 64]uint64
}

// Has says whether a field is known.
func (v *Velocities) Has(f Field) bool { return v.set[f/64]&(1<<(f%64)) != 0 }

// Int is an Int, or a Time in ms since 1970, or nil.
func (v *Velocities) Int(f Field) *int64 {
	if !v.Has(f) {
		return nil
	}
	n := int64(v.bits[f])
	return &n
}

// Float is a Float, or nil.
func (v *Velocities) Float(f Field) *float64 {
	if !v.Has(f) {
		return nil
	}
	x := math.Float64frombits(v.bits[f])
	return &x
}

// Time is a Time in UTC, or nil.
func (v *Velocities) Time(f Field) *time.Time {
	if !v.Has(f) {
		return nil
	}
	t := time.UnixMilli(int64(v.bits[f])).UTC()
	return &t
}

// Bool is a Bool, or nil.
func (v *Velocities) Bool(f Field) *bool {
	if !v.Has(f) {
		return nil
	}
	b := v.bits[f] != 0
	return &b
}

func (v *Velocities) put(f Field, bits uint64) {
	v.bits[f] = bits
	v.set[f/64] |= 1 << (f % 64)
}

// SetInt sets an Int, or a Time in ms since 1970.
func (v *Velocities) SetInt(f Field, n int64) { v.put(f, uint64(n)) }

// SetFloat sets a Float. What is no number is left absent: no two stores hold it
// alike.
func (v *Velocities) SetFloat(f Field, x float64) {
	if !math.IsNaN(x) && !math.IsInf(x, 0) {
		v.put(f, math.Float64bits(x))
	}
}

// SetBool sets a Bool.
func (v *Velocities) SetBool(f Field, b bool) {
	var bit uint64
	if b {
		bit = 1
	}
	v.put(f, bit)
}

// AppendBits appends all fields: two of equal bits are equal. It is no form to
// store.
func (v *Velocities) AppendBits(to []byte) []byte {
	for _, word := range v.set {
		to = binary.LittleEndian.AppendUint64(to, word)
	}
	for _, word := range v.bits {
		to = binary.LittleEndian.AppendUint64(to, word)
	}
	return to
}

// Values are the fields by name, for JSON: a Time as text in RFC 3339.
func (v *Velocities) Values() map[string]any {
	out := make(map[string]any, fields)
	for i, d := range Definitions() {
		f := Field(i)
		if !v.Has(f) {
			out[d.Name] = nil
			continue
		}
		switch d.Kind {
		case field.Int:
			out[d.Name] = *v.Int(f)
		case field.Float:
			out[d.Name] = *v.Float(f)
		case field.Time:
			out[d.Name] = *v.Time(f)
		case field.Bool:
			out[d.Name] = *v.Bool(f)
		}
	}
	return out
}

// Set takes fields by name from their JSON form. It removes those it knows from
// the map, and the rates, which older programs wrote with them.
func (v *Velocities) Set(from map[string]json.RawMessage) error {
	for i, d := range Definitions() {
		text, ok := from[d.Name]
		delete(from, d.Name)
		if !ok || string(text) == "null" {
			continue
		}
		if err := v.parse(Field(i), d.Kind, text); err != nil {
			return fmt.Errorf("%s: %w", d.Name, err)
		}
	}
	for _, r := range Rates() {
		delete(from, r.Name)
	}
	return nil
}

func (v *Velocities) parse(f Field, kind field.Kind, text json.RawMessage) error {
	var n int64
	var x float64
	var t time.Time
	var b bool
	var err error
	switch kind {
	case field.Int:
		if err = json.Unmarshal(text, &n); err == nil {
			v.SetInt(f, n)
		}
	case field.Float:
		if err = json.Unmarshal(text, &x); err == nil {
			v.SetFloat(f, x)
		}
	case field.Time:
		if err = json.Unmarshal(text, &t); err == nil {
			v.SetInt(f, t.UnixMilli())
		}
	case field.Bool:
		if err = json.Unmarshal(text, &b); err == nil {
			v.SetBool(f, b)
		}
	}
	return err
}
