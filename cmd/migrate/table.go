package main

import (
	"bytes"
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
	t.SetColumnConfigs([]table.ColumnConfig{{Number: len(header), WidthMax: max(20, g.room(header, rows)), WidthMaxEnforcer: text.WrapSoft}})
	t.AppendHeader(cells(header))
	for _, row := range rows {
		t.AppendRow(cells(row))
	}
	fmt.Fprintln(w, t.Render())
}

// room is how wide the last column may be.
func (g *globals) room(header []string, rows [][]string) int {
	room, _ := size(g.out)
	for n := range len(header) - 1 {
		width := len(header[n])
		for _, row := range rows {
			width = max(width, text.StringWidthWithoutEscSequences(row[n]))
		}
		room -= width + gap
	}
	return room - gap
}

// columnsAndMore prints a list whose last column holds sentences: where there
// is little room for them, each that doesn't fit is a line of its own below.
func (g *globals) columnsAndMore(w io.Writer, header []string, rows [][]string) {
	const legible, indent = 50, 4
	room := g.room(header, rows)
	if !isTerminal(g.out) || room >= legible {
		g.columns(w, header, rows)
		return
	}
	below := make([]string, len(rows))
	last := len(header) - 1
	for n, row := range rows {
		if strings.Contains(row[last], "\n") || text.StringWidthWithoutEscSequences(row[last]) > room {
			below[n], row[last] = row[last], ""
		}
	}
	var list bytes.Buffer
	g.columns(&list, header, rows)
	for n, line := range strings.Split(strings.TrimSuffix(list.String(), "\n"), "\n") {
		fmt.Fprintln(w, line)
		if n > 0 && below[n-1] != "" {
			fmt.Fprintf(w, "%*s%s\n", indent, "", fold(w, below[n-1], indent))
		}
	}
}

func cells(texts []string) table.Row {
	row := make(table.Row, len(texts))
	for n, t := range texts {
		row[n] = t
	}
	return row
}
