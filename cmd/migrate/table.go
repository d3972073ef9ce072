package main

import (
	"fmt"
	"io"
	"strings"

	"github.com/jedib0t/go-pretty/v6/table"
	"github.com/jedib0t/go-pretty/v6/text"
)

// gap is between two columns.
const gap = 2

// columns prints a list: on a terminal aligned, the last column wrapped to fit;
// in a pipe one line a row, with a tab between the cells.
func (g *globals) columns(w io.Writer, header []string, rows [][]string) {
	if !isTerminal(g.out) {
		for _, row := range append([][]string{header}, rows...) {
			for n := range row {
				row[n] = strings.Join(strings.Fields(row[n]), " ")
			}
			fmt.Fprintln(w, strings.Join(row, "\t"))
		}
		return
	}
	t := table.NewWriter()
	style := table.StyleDefault
	style.Options = table.OptionsNoBordersAndSeparators
	style.Box.PaddingLeft, style.Box.PaddingRight = "", strings.Repeat(" ", gap)
	style.Format.Header = text.FormatDefault
	t.SetStyle(style)
	t.SuppressTrailingSpaces()
	last := len(header) - 1
	room, _ := size(g.out)
	for n := range last {
		width := len(header[n])
		for _, row := range rows {
			width = max(width, text.StringWidthWithoutEscSequences(row[n]))
		}
		room -= width + gap
	}
	t.SetColumnConfigs([]table.ColumnConfig{{Number: last + 1, WidthMax: max(20, room-gap), WidthMaxEnforcer: text.WrapSoft}})
	t.AppendHeader(cells(header))
	for _, row := range rows {
		t.AppendRow(cells(row))
	}
	fmt.Fprintln(w, t.Render())
}

func cells(texts []string) table.Row {
	row := make(table.Row, len(texts))
	for n, t := range texts {
		row[n] = t
	}
	return row
}
