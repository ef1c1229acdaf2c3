package chdb_test

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/m7pulse/m7pulse/shared/account"
	"github.com/m7pulse/m7pulse/shared/field"
)

// TestChecksumsInSQLAreThoseInGo: of the types of the hot store's columns.
func TestChecksumsInSQLAreThoseInGo(t *testing.T) {
	var statements, want []string
	for _, row := range []struct {
		values [][2]string // type and literal
		kinds  []field.Kind
		want   account.Line
	}{
		{[][2]string{{"Int64", "-5"}, {"Nullable(Int64)", "9223372036854775807"}, {"Nullable(Int64)", "NULL"}},
			[]field.Kind{field.Int, field.Int, field.Int}, account.Line{}.Int(-5).Int(1<<63 - 1).Null()},
		{[][2]string{{"Nullable(Float64)", "0.1"}, {"Nullable(Float64)", "NULL"}, {"Nullable(Float64)", "-0.0"}, {"Nullable(Float64)", "1e300"}},
			[]field.Kind{field.Float, field.Float, field.Float, field.Float}, account.Line{}.Real(0.1).Null().Real(minusZero()).Real(1e300)},
		{[][2]string{{"Nullable(Int64)", "NULL"}, {"Int64", "0"}}, []field.Kind{field.Int, field.Int}, account.Line{}.Null().Int(0)},
		{[][2]string{{"Bool", "true"}, {"Nullable(Bool)", "false"}, {"Nullable(Bool)", "NULL"}},
			[]field.Kind{field.Bool, field.Bool, field.Bool}, account.Line{}.Flag(true).Flag(false).Null()},
		{[][2]string{{"DateTime64(3)", "'2026-01-02 03:04:05.006'"}, {"Nullable(DateTime64(3))", "'1970-01-01 00:00:00.000'"}, {"Nullable(DateTime64(3))", "NULL"}},
			[]field.Kind{field.Time, field.Time, field.Time}, account.Line{}.Int(1767323045006).Int(0).Null()},
		{[][2]string{{"String", "''"}, {"LowCardinality(String)", "'o/r'"}, {"LowCardinality(Nullable(String))", "'-'"}, {"LowCardinality(Nullable(String))", "NULL"}, {"Nullable(String)", "'ü|'"}, {"Nullable(String)", "NULL"}},
			[]field.Kind{field.Text, field.Text, field.Text, field.Text, field.Text, field.Text},
			account.Line{}.Text("").Text("o/r").Text("-").Null().Text("ü|").Null()},
	} {
		var cols []account.Column
		var from []string
		for i, v := range row.values {
			name := "c" + strconv.Itoa(i)
			cols = append(cols, account.Column{Name: name, Kind: row.kinds[i]})
			from = append(from, "materialize(CAST("+v[1]+" AS "+v[0]+")) AS "+name)
		}
		statements = append(statements, "SELECT "+account.SQL(cols)+" FROM (SELECT "+strings.Join(from, ", ")+")")
		want = append(want, strconv.FormatUint(row.want.Sum(), 10))
	}
	out, err := run(t, t.TempDir(), nil, statements...)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if got := strings.Fields(out); !slices.Equal(got, want) {
		t.Errorf("in SQL %v, in Go %v", got, want)
	}
}

func minusZero() float64 { zero := 0.0; return -zero }
