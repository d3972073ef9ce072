package main

import (
	"io"

	"github.com/jedib0t/go-pretty/v6/table"
)

// table is how every list is printed: columns, no borders.
func (g *globals) table(w io.Writer, header ...any) table.Writer {
	t := table.NewWriter()
	t.SetOutputMirror(w)
	t.AppendHeader(header)
	style := table.StyleLight
	style.Options = table.OptionsNoBordersAndSeparators
	t.SetStyle(style)
	return t
}
