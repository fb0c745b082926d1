package text

import (
	"strings"

	"github.com/rivo/uniseg"
)

// A Column is a column of a [Table].
type Column struct {
	Title string
	Right bool // numbers and durations
	// Cut allows to shorten its cells so that the table fits the terminal. Columns are shortened from the last one on, and
	// not below 8.
	Cut  bool
	Wide bool // only with -o wide
	Min  int  // its least width
}

// A Cell is a cell of a [Table].
type Cell struct {
	Text  string
	Style Style
}

// Of returns a plain cell.
func Of(text string) Cell { return Cell{Text: text} }

// A Table is printed with aligned columns, two spaces apart. It has no borders, so that its lines can be cut and sorted
// by other programs.
type Table struct {
	Columns []Column
	Rows    [][]Cell
	Wide    bool // print all columns, and cut none
}

// Add adds a row with a cell for each column.
func (t *Table) Add(cells ...Cell) { t.Rows = append(t.Rows, cells) }

const minCut = 8

// Lines returns the lines of the table, the titles first.
func (t *Table) Lines(p *Printer) []string {
	var shown []int
	for i, c := range t.Columns {
		if t.Wide || !c.Wide {
			shown = append(shown, i)
		}
	}
	widths := make([]int, len(shown))
	for k, i := range shown {
		widths[k] = max(Width(t.Columns[i].Title), t.Columns[i].Min)
		for _, row := range t.Rows {
			widths[k] = max(widths[k], Width(Clean(row[i].Text)))
		}
	}
	if p.Width > 0 && !t.Wide {
		t.fit(p.Width, shown, widths)
	}
	titles := make([]Cell, len(t.Columns))
	for i, c := range t.Columns {
		titles[i] = Cell{c.Title, Dim}
	}
	lines := []string{t.line(p, shown, widths, titles)}
	for _, row := range t.Rows {
		lines = append(lines, t.line(p, shown, widths, row))
	}
	return lines
}

// fit reduces widths until a line has at most width columns, if possible.
func (t *Table) fit(width int, shown, widths []int) {
	excess := 2*(len(widths)-1) - width
	for _, w := range widths {
		excess += w
	}
	for k := len(shown) - 1; k >= 0 && excess > 0; k-- {
		if spare := widths[k] - minCut; t.Columns[shown[k]].Cut && spare > 0 {
			cut := min(spare, excess)
			widths[k] -= cut
			excess -= cut
		}
	}
}

func (t *Table) line(p *Printer, shown, widths []int, row []Cell) string {
	var b strings.Builder
	for k, i := range shown {
		text := Shorten(Clean(row[i].Text), widths[k])
		space := strings.Repeat(" ", widths[k]-Width(text))
		styled := p.Styled(row[i].Style, text)
		switch {
		case t.Columns[i].Right:
			b.WriteString(space + styled)
		case k == len(shown)-1:
			b.WriteString(styled)
		default:
			b.WriteString(styled + space)
		}
		if k < len(shown)-1 {
			b.WriteString("  ")
		}
	}
	return strings.TrimRight(b.String(), " ")
}

// Print writes the table.
func (t *Table) Print(p *Printer) error {
	_, err := p.Write([]byte(strings.Join(t.Lines(p), "\n") + "\n"))
	return err
}

// Line returns a line of cells that are two spaces apart, cut to the width of the terminal. Empty cells are left out.
func Line(p *Printer, cells ...Cell) string {
	var b strings.Builder
	left := p.Width
	for _, c := range cells {
		text := Clean(c.Text)
		if text == "" {
			continue
		}
		if b.Len() > 0 {
			if p.Width > 0 && left < 3 { // two spaces and a character
				break
			}
			b.WriteString("  ")
			left -= 2
		}
		if p.Width > 0 {
			text = Shorten(text, left)
			left -= Width(text)
		}
		b.WriteString(p.Styled(c.Style, text))
	}
	return b.String()
}

// Width returns how many columns of a terminal a text without control characters takes.
func Width(s string) int { return uniseg.StringWidth(s) }

// Shorten returns a text of at most width columns: if it is longer, its beginning and an ellipsis.
func Shorten(s string, width int) string {
	if Width(s) <= width {
		return s
	}
	if width <= 0 {
		return ""
	}
	var b strings.Builder
	taken := 0
	for g := uniseg.NewGraphemes(s); g.Next(); {
		if taken += g.Width(); taken > width-1 {
			break
		}
		b.WriteString(g.Str())
	}
	return b.String() + "…"
}
