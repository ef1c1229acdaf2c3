package main

import (
	"fmt"
	"os"

	"github.com/dustin/go-humanize"
	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// newTable is a table in the one style of all commands.
func newTable(header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(os.Stdout)
	t.AppendHeader(header)
	style := table.StyleLight
	style.Options = table.Options{SeparateHeader: true}
	style.Format.Header = text.FormatDefault
	style.Box.PaddingLeft, style.Box.PaddingRight = "", "  "
	t.SetStyle(style)
	return t
}

func count(n int64) string { return humanize.Comma(n) }

func size(bytes int64) string {
	if bytes == 0 {
		return "–"
	}
	return humanize.IBytes(uint64(bytes))
}

// signed shows a net change, which may be a fall, or that there is none known.
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
