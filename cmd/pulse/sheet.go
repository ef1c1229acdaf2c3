package main

import (
	"encoding/csv"
	"errors"
	"fmt"
	"os"
	"reflect"
	"strconv"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"

	"github.com/m7pulse/m7pulse/shared/velocity"
)

// format is how a command prints a table.
type format struct {
	JSON    bool `help:"Print JSON."`
	CSV     bool `name:"csv" help:"Print CSV: plain numbers, empty where unknown."`
	Explain bool `help:"Print the definition of each figure."`
}

// sheet is a table in the forms it can be printed in. A cell of plain is what
// CSV gets; of shown, what people get.
type sheet struct {
	title   string
	columns []string
	right   []string // columns of numbers
	plain   [][]string
	shown   []table.Row
	remark  string   // under the table that people get
	fields  []string // that --explain defines, by their names in ClickHouse
	defined []any    // whose fields --explain defines too, by what the API says of them
}

// print writes the sheet as asked; value is what JSON is made of.
func (f format) print(s sheet, value any) error {
	switch {
	case f.JSON && f.CSV:
		return errors.New("--json or --csv, not both")
	case f.Explain:
		return s.explain()
	case f.JSON:
		return printJSON(value)
	case f.CSV:
		w := csv.NewWriter(os.Stdout)
		if err := w.Write(s.columns); err != nil {
			return err
		}
		for _, row := range s.plain {
			if err := w.Write(inert(row)); err != nil {
				return err
			}
		}
		w.Flush()
		return w.Error()
	case len(s.shown) == 0:
		fmt.Println("nothing has been observed yet")
		return nil
	}
	s.show()
	return nil
}

// show prints the table for people.
func (s sheet) show() {
	fmt.Println(visible(s.title))
	header := make([]any, len(s.columns))
	for i, c := range s.columns {
		header[i] = c
	}
	t := newTable(header...)
	var configs []table.ColumnConfig
	for _, c := range s.right {
		configs = append(configs, table.ColumnConfig{Name: c, Align: text.AlignRight})
	}
	t.SetColumnConfigs(configs)
	t.AppendRows(s.shown)
	t.Render()
	if s.remark != "" {
		fmt.Println(s.remark)
	}
}

// explain prints the definitions of the fields.
func (s sheet) explain() error {
	t := newTable("Field", "Unit", "Definition")
	t.SetColumnConfigs([]table.ColumnConfig{{Name: "Definition", WidthMax: 90, WidthMaxEnforcer: text.WrapSoft}})
	definitions := velocity.Definitions()
	known := definitions[:]
	for _, r := range velocity.Rates() {
		known = append(known, r.Definition)
	}
	for _, field := range s.fields {
		found := false
		for _, d := range known {
			if d.Name == field {
				t.AppendRow(table.Row{d.Name, d.Unit, d.Text})
				found = true
			}
		}
		if !found {
			return fmt.Errorf("%s has no definition", field)
		}
	}
	for _, v := range s.defined {
		for _, f := range reflect.VisibleFields(reflect.TypeOf(v)) {
			if name, _, _ := strings.Cut(f.Tag.Get("json"), ","); name != "" && f.Tag.Get("doc") != "" {
				t.AppendRow(table.Row{name, f.Tag.Get("unit"), f.Tag.Get("doc")})
			}
		}
	}
	t.Render()
	if len(s.fields) == 0 {
		return nil
	}
	fmt.Println("Days are UTC. A day of a sparkline is its last reading; a day without one is a gap. Net means that what was taken back is taken off.")
	return nil
}

// inert puts an apostrophe before a text that a spreadsheet would take for a
// formula; numbers stay as they are.
func inert(row []string) []string {
	out := make([]string, len(row))
	for i, cell := range row {
		out[i] = visible(cell)
		if _, err := strconv.ParseFloat(cell, 64); err != nil && cell != "" && strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
			out[i] = "'" + out[i]
		}
	}
	return out
}

// sparkline draws values between their least and greatest; a nil is a gap.
func sparkline(values []*float64) string {
	var low, high *float64
	for _, v := range values {
		if v != nil && (low == nil || *v < *low) {
			low = v
		}
		if v != nil && (high == nil || *v > *high) {
			high = v
		}
	}
	bars := []rune("▁▂▃▄▅▆▇█")
	var b strings.Builder
	for _, v := range values {
		switch {
		case v == nil:
			b.WriteRune(' ')
		case *high == *low:
			b.WriteRune(bars[len(bars)/2])
		default:
			b.WriteRune(bars[int((*v-*low)/(*high-*low)*float64(len(bars)-1)+0.5)])
		}
	}
	return b.String()
}

// plain is a number for CSV.
func plain[N int64 | float64](v *N) string {
	if v == nil {
		return ""
	}
	return fmt.Sprint(*v)
}
