package train

import (
	"context"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"strings"
)

// errLongRow is returned by a rowLimiter whose row is longer than maxRowBytes.
var errLongRow = fmt.Errorf("a row is longer than %d bytes", maxRowBytes)

// A rowLimiter ends a read that goes on for too long without the end of a row, such as after a quote that is never
// closed, so that a broken file cannot fill the memory.
type rowLimiter struct {
	r    io.Reader
	left int // bytes that may still be read before the next row ends
}

// Read reads at most what is left of the limit.
func (l *rowLimiter) Read(p []byte) (int, error) {
	if l.left <= 0 {
		return 0, errLongRow
	}
	n, err := l.r.Read(p[:min(len(p), l.left)])
	l.left -= n
	return n, err
}

// readCSV reads a table from comma-separated text whose first row names the columns. name is used in messages.
func readCSV(ctx context.Context, r io.Reader, name string, want Columns) (*Table, error) {
	limit := &rowLimiter{r: r, left: maxRowBytes}
	rows := csv.NewReader(limit)
	rows.ReuseRecord = true
	header, err := rows.Read()
	if errors.Is(err, io.EOF) {
		return nil, &DataError{File: name, Message: "the file is empty", Hint: "its first line must name the columns"}
	}
	if err != nil {
		return nil, csvError(name, err)
	}
	have := headerNames(header)
	if len(have) > maxColumns {
		return nil, &DataError{File: name, Line: 1, Message: fmt.Sprintf("more than %d columns", maxColumns)}
	}
	if len(have) == 1 && strings.ContainsAny(have[0], ";\t|") {
		return nil, &DataError{File: name, Line: 1, Message: "there is one column only",
			Hint: "separate the cells by commas"}
	}
	sel, err := choose(name, have, want)
	if err != nil {
		return nil, err
	}
	t := &Table{Source: name, Target: want.Target, Features: sel.names, Columns: make([][]float32, len(sel.features))}
	c := csvRows{Reader: rows, name: name, sel: sel, table: t, in: newInterner()}
	for n := 0; ; n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		limit.left = maxRowBytes
		if err := c.next(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, err
		}
	}
	if t.Rows() == 0 {
		return nil, &DataError{File: name, Message: "there are no rows below the header"}
	}
	t.Values = c.in.values
	return t, nil
}

// headerNames copies the header, without the byte-order mark that some spreadsheets write and spaces around names.
func headerNames(header []string) []string {
	names := make([]string, len(header))
	for i, h := range header {
		if i == 0 {
			h = strings.TrimPrefix(h, "\ufeff")
		}
		names[i] = strings.TrimSpace(strings.Clone(h))
	}
	return names
}

// csvRows appends the rows of a file to a table.
type csvRows struct {
	*csv.Reader
	name  string
	sel   selection
	table *Table
	in    *interner
}

// next appends one row. It returns io.EOF after the last.
func (c *csvRows) next() error {
	row, err := c.Read()
	if err != nil {
		if errors.Is(err, io.EOF) {
			return io.EOF
		}
		return csvError(c.name, err)
	}
	if c.table.Rows() >= maxRows {
		return &DataError{File: c.name, Message: fmt.Sprintf("more than %d rows", maxRows)}
	}
	label := strings.TrimSpace(row[c.sel.target])
	switch {
	case isMissing(label):
		return c.fail(c.sel.target, "the target is missing", "fill it in or leave the row out", nil)
	case len(label) > maxTargetBytes:
		return c.fail(c.sel.target, fmt.Sprintf("the target is longer than %d bytes", maxTargetBytes), "", nil)
	}
	for i, at := range c.sel.features {
		v, err := parseCell(row[at])
		if err != nil {
			message := fmt.Sprintf("%s in column %q", excerpt(row[at]), c.sel.names[i])
			return c.fail(at, message, hintNumbers, err)
		}
		c.table.Columns[i] = append(c.table.Columns[i], v)
	}
	c.table.Labels = append(c.table.Labels, c.in.code(label))
	return nil
}

// fail makes an error at a field of the row just read.
func (c *csvRows) fail(field int, message, hint string, cause error) error {
	line, column := c.FieldPos(field)
	return &DataError{File: c.name, Line: line, Column: column, Message: message, Hint: hint, Err: cause}
}

// csvError turns an error of encoding/csv or of the file into one with a place.
func csvError(name string, err error) error {
	var p *csv.ParseError
	switch {
	case errors.As(err, &p) && errors.Is(err, csv.ErrFieldCount):
		return &DataError{File: name, Line: p.Line, Message: "the row has more or fewer cells than the header"}
	case errors.As(err, &p):
		return &DataError{File: name, Line: p.Line, Column: p.Column, Message: "not valid CSV", Err: p.Err}
	case errors.Is(err, errLongRow):
		return &DataError{File: name, Message: err.Error(), Hint: "look for a quote that is never closed"}
	}
	return &DataError{File: name, Message: "cannot read", Err: err}
}
