// Package field says what a field of a record is: its name, type, unit and
// definition in words, and where it lies in a row. The packages that own the
// rows list their fields (repo, velocity, event); from these lists follow the
// Avro schemas, the columns of both stores, the checksums and the documents.
package field

import "time"

// Kind is what a field holds.
type Kind int

// The kinds of fields.
const (
	Int       Kind = iota // int64
	Float                 // float64
	Bool                  // bool
	Time                  // a time of millisecond precision, UTC
	Text                  // UTF-8
	Texts                 // a list of texts
	Languages             // a list of languages and their sizes in bytes
)

// Definition says what a field is, in the words that the documents, the
// terminal and the dashboards use.
type Definition struct {
	Name string
	Kind Kind
	Null bool // it may be null, which means that it is not known; never zero
	Unit string
	Text string
	// Detail: it describes a repository. ClickHouse keeps it of the newest
	// observation only; every other field is in its time series, too.
	Detail bool
}

// Field is a field of rows of one type.
type Field[R any] struct {
	Definition
	// At is where the field lies in a row, for reading and writing: a
	// func(*R) *V, or a func(*R) **V if it may be null. V is the Go type of its
	// kind; that of Languages is the row's own.
	At any
}

// Always defines a field that is never null.
func Always[R, V any](name, unit, text string, at func(*R) *V) Field[R] {
	return Field[R]{Definition{Name: name, Kind: kindOf[V](), Unit: unit, Text: text}, at}
}

// Maybe defines a field that may be null.
func Maybe[R, V any](name, unit, text string, at func(*R) **V) Field[R] {
	return Field[R]{Definition{Name: name, Kind: kindOf[V](), Null: true, Unit: unit, Text: text}, at}
}

func kindOf[V any]() Kind {
	switch any((*V)(nil)).(type) {
	case *int64:
		return Int
	case *float64:
		return Float
	case *bool:
		return Bool
	case *time.Time:
		return Time
	case *string:
		return Text
	case *[]string:
		return Texts
	}
	return Languages
}

// Definitions are the definitions of fields.
func Definitions[R any](fields []Field[R]) []Definition {
	out := make([]Definition, len(fields))
	for i, f := range fields {
		out[i] = f.Definition
	}
	return out
}
