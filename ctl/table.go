package ctl

import (
	"io"
	"strings"
	"unicode/utf8"
)

// cell is one field of a table.
type cell struct {
	text  string
	color color
}

// table is rows of aligned columns under a head.
type table struct {
	head []string
	rows [][]cell
}

func (t *table) add(cells ...cell) { t.rows = append(t.rows, cells) }

// lines are the table's rows, the head first. Columns are two spaces apart.
func (t *table) lines(colors bool) []string {
	widths := make([]int, len(t.head))
	for i, h := range t.head {
		widths[i] = utf8.RuneCountInString(h)
		for _, row := range t.rows {
			widths[i] = max(widths[i], utf8.RuneCountInString(row[i].text))
		}
	}
	head := make([]cell, len(t.head))
	for i, h := range t.head {
		head[i] = cell{h, colorDim}
	}
	out := []string{joinCells(head, widths, colors)}
	for _, row := range t.rows {
		out = append(out, joinCells(row, widths, colors))
	}
	return out
}

func joinCells(row []cell, widths []int, colors bool) string {
	last := len(row) - 1
	for last > 0 && row[last].text == "" {
		last--
	}
	var b strings.Builder
	for i, c := range row[:last+1] {
		b.WriteString(painted(c.text, c.color, colors))
		if i < last {
			b.WriteString(strings.Repeat(" ", widths[i]-utf8.RuneCountInString(c.text)+2))
		}
	}
	return b.String()
}

// printTable writes a table, in colour where that is wanted.
func (s *session) printTable(t *table) error {
	_, err := io.WriteString(s.stdio.Out, strings.Join(t.lines(s.colored(s.stdio.Out)), "\n")+"\n")
	return err
}
