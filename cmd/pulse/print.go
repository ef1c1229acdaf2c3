package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"unicode"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// visible quotes all that a terminal would act on, or that would reorder the text:
// control characters, escape sequences, marks of direction. What is printed comes
// from outside.
func visible(text string) string {
	if strings.IndexFunc(text, hidden) < 0 {
		return text
	}
	var b strings.Builder
	for _, r := range text {
		if !hidden(r) {
			b.WriteRune(r)
			continue
		}
		quoted := strconv.QuoteRune(r)
		b.WriteString(quoted[1 : len(quoted)-1])
	}
	return b.String()
}

// oneLine is a reason of several lines in one, as visible shows it.
func oneLine(text string) string {
	return visible(strings.ReplaceAll(strings.TrimSpace(text), "\n", "; "))
}

// shorten cuts a text to a number of characters, as they are shown.
func shorten(text string, most int) string {
	runes := []rune(oneLine(text))
	if len(runes) > most {
		return string(runes[:most-1]) + "…"
	}
	return string(runes)
}

// hidden includes the character that replaces bytes that are not UTF-8.
func hidden(r rune) bool { return !unicode.IsPrint(r) || r == unicode.ReplacementChar }

// visibleTable shows each cell as visible does.
type visibleTable struct{ table.Writer }

// AppendRow adds a row.
func (t visibleTable) AppendRow(row table.Row, config ...table.RowConfig) {
	shown := make(table.Row, len(row))
	for i, cell := range row {
		if text, ok := cell.(string); ok {
			cell = visible(text)
		}
		shown[i] = cell
	}
	t.Writer.AppendRow(shown, config...)
}

// AppendRows adds rows.
func (t visibleTable) AppendRows(rows []table.Row, config ...table.RowConfig) {
	for _, row := range rows {
		t.AppendRow(row, config...)
	}
}

// printJSON writes v as JSON, an empty list as [], and escapes every character that
// a terminal acts on: encoding/json lets those beyond ASCII through.
func printJSON(v any) error {
	var text bytes.Buffer
	e := json.NewEncoder(&text)
	e.SetIndent("", "  ")
	if err := e.Encode(withoutNull(v)); err != nil {
		return err
	}
	_, err := os.Stdout.Write(escaped(text.Bytes()))
	return err
}

func escaped(document []byte) []byte {
	var b []byte
	for _, r := range string(document) {
		switch {
		case r == '\n' || !hidden(r):
			b = append(b, string(r)...)
		case r > 0xffff: // as JSON has it: two halves
			r -= 0x10000
			b = fmt.Appendf(b, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			b = fmt.Appendf(b, `\u%04x`, r)
		}
	}
	return b
}

// newTable is a table in the one style of all commands. A line ends with ≈ where it
// is wider than the terminal.
func newTable(header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	t.AppendHeader(header)
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true}
	style.Format.Header = text.FormatDefault
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	if width, err := strconv.Atoi(os.Getenv(columns)); err == nil && width > 0 {
		style.Size.WidthMax = width
	}
	t.SetStyle(style)
	return visibleTable{t}
}

func count(n int64) string { return humanize.Comma(n) }

func size(bytes int64) string {
	if bytes == 0 {
		return "–"
	}
	return humanize.IBytes(uint64(bytes))
}

// signed shows a net change with its sign, or that none is known.
func signed(v *int64) string {
	if v == nil {
		return "–"
	}
	if *v > 0 {
		return "+" + humanize.Comma(*v)
	}
	return humanize.Comma(*v)
}

func rate(v *float64) string {
	if v == nil {
		return "–"
	}
	return fmt.Sprintf("%+.1f", *v)
}
