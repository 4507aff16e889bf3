package train

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"

	"github.com/parquet-go/parquet-go"
	"github.com/parquet-go/parquet-go/format"
)

// readParquet reads a table from flat columns of a Parquet file. A null is a missing value.
func readParquet(ctx context.Context, f io.ReaderAt, size int64, name string, want Columns) (t *Table, err error) {
	defer func() {
		// The decoder panics on some corrupt pages; the bytes are not ours, so that is an error of the file.
		if p := recover(); p != nil {
			t, err = nil, &DataError{File: name, Message: "not a valid Parquet file", Err: fmt.Errorf("%v", p)}
		}
	}()
	if size == 0 {
		return nil, &DataError{File: name, Message: "the file is empty"}
	}
	if err := checkFooter(f, size); err != nil {
		return nil, &DataError{File: name, Message: "not a valid Parquet file", Err: err}
	}
	file, err := parquet.OpenFile(f, size, parquet.SkipPageIndex(true), parquet.SkipBloomFilters(true))
	if err != nil {
		return nil, &DataError{File: name, Message: "not a valid Parquet file", Err: err}
	}
	roots := file.Root().Columns()
	have := make([]string, len(roots))
	for i, c := range roots {
		have[i] = c.Name()
	}
	sel, err := choose(name, have, want)
	if err != nil {
		return nil, err
	}
	switch n := file.NumRows(); {
	case n == 0:
		return nil, &DataError{File: name, Message: "the file has no rows"}
	case n > maxRows:
		return nil, &DataError{File: name, Message: fmt.Sprintf("more than %d rows", maxRows)}
	}
	t = &Table{Source: name, Target: want.Target, Features: sel.names}
	for _, at := range sel.features {
		c := parquetColumn{name: name, file: file, column: roots[at]}
		values, err := c.numbers(ctx)
		if err != nil {
			return nil, err
		}
		t.Columns = append(t.Columns, values)
	}
	c := parquetColumn{name: name, file: file, column: roots[sel.target]}
	if t.Labels, t.Values, err = c.labels(ctx); err != nil {
		return nil, err
	}
	for i, values := range t.Columns {
		if len(values) != len(t.Labels) {
			return nil, &DataError{File: name, Message: fmt.Sprintf("column %q has %d values for %d rows",
				t.Features[i], len(values), len(t.Labels))}
		}
	}
	return t, nil
}

// checkFooter checks the length of the footer, which ends the file together with a magic word, before the decoder
// reserves that much memory.
func checkFooter(f io.ReaderAt, size int64) error {
	const frame = 12 // the magic word at the front, the length and the magic word at the end
	if size < frame {
		return io.ErrUnexpectedEOF
	}
	var end [8]byte
	if _, err := f.ReadAt(end[:], size-int64(len(end))); err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("read the footer: %w", err)
	}
	if length := int64(binary.LittleEndian.Uint32(end[:4])); length > size-frame {
		return fmt.Errorf("the footer of %d bytes does not fit a file of %d", length, size)
	}
	return nil
}

// A parquetColumn reads one flat column of a file.
type parquetColumn struct {
	name   string
	file   *parquet.File
	column *parquet.Column
}

// each calls visit with every value of the column in order, and its row from 0.
func (c parquetColumn) each(ctx context.Context, visit func(row int, v parquet.Value) error) error {
	if !c.column.Leaf() || c.column.Repeated() {
		return c.fail(-1, "is nested or repeated", "flatten it, or leave it out by naming the others in --features")
	}
	buffer := make([]parquet.Value, 4096)
	row := 0
	for _, group := range c.file.RowGroups() {
		pages := group.ColumnChunks()[c.column.Index()].Pages()
		err := c.eachOfPages(ctx, pages, buffer, &row, visit)
		if err = errors.Join(err, pages.Close()); err != nil {
			return err
		}
	}
	return nil
}

// eachOfPages calls visit with the values of the pages of one row group, counting rows.
func (c parquetColumn) eachOfPages(ctx context.Context, pages parquet.Pages, buffer []parquet.Value, row *int,
	visit func(row int, v parquet.Value) error,
) error {
	for {
		page, err := pages.ReadPage()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return c.unreadable(err)
		}
		values := page.Values()
		for end := false; !end; {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			n, err := values.ReadValues(buffer)
			end = errors.Is(err, io.EOF)
			switch {
			case err != nil && !end:
				return c.unreadable(err)
			case n == 0 && !end:
				return c.unreadable(io.ErrNoProgress)
			case int64(*row+n) > c.file.NumRows():
				return c.unreadable(errors.New("it has more values than the file has rows"))
			}
			for _, v := range buffer[:n] {
				if err := visit(*row, v); err != nil {
					return err
				}
				*row++
			}
		}
		parquet.Release(page)
	}
}

// unreadable makes an error about the column's bytes.
func (c parquetColumn) unreadable(cause error) error {
	return &DataError{File: c.name, Message: fmt.Sprintf("cannot read column %q", c.column.Name()), Err: cause}
}

// fail makes an error about the column; a row of -1 is the column as a whole.
func (c parquetColumn) fail(row int, message, hint string) error {
	at := ""
	if row >= 0 {
		at = fmt.Sprintf(" in row %d", row+1)
	}
	return &DataError{File: c.name, Message: fmt.Sprintf("column %q %s%s", c.column.Name(), message, at), Hint: hint}
}

// scale is the factor that a DECIMAL column's integers are multiplied by; 1 for other columns.
func (c parquetColumn) scale() float64 {
	if t := c.column.Type().LogicalType(); t != nil {
		if d, ok := t.Value.(*format.DecimalType); ok {
			return math.Pow10(-int(d.Scale))
		}
	}
	return 1
}

// maxReserve bounds the rows that memory is reserved for on the word of the file.
const maxReserve = 1 << 20

// numbers reads the column as a feature.
func (c parquetColumn) numbers(ctx context.Context) ([]float32, error) {
	out := make([]float32, 0, min(c.file.NumRows(), maxReserve))
	scale := c.scale()
	err := c.each(ctx, func(row int, v parquet.Value) error {
		x, ok := number(v)
		if !ok {
			return c.fail(row, "holds no numbers", hintNumbers)
		}
		narrow := float32(x * scale)
		if math.IsInf(float64(narrow), 0) {
			return c.fail(row, errNotFinite.Error(), "")
		}
		out = append(out, narrow)
		return nil
	})
	return out, err
}

// number converts a value of a numeric column. A null is NaN; ok is false for text.
func number(v parquet.Value) (x float64, ok bool) {
	if v.IsNull() {
		return math.NaN(), true
	}
	switch v.Kind() {
	case parquet.Boolean:
		if v.Boolean() {
			return 1, true
		}
		return 0, true
	case parquet.Int32:
		return float64(v.Int32()), true
	case parquet.Int64:
		return float64(v.Int64()), true
	case parquet.Float:
		return float64(v.Float()), true
	case parquet.Double:
		return v.Double(), true
	}
	return 0, false
}

// labels reads the column as the target.
func (c parquetColumn) labels(ctx context.Context) (codes []int32, values []string, err error) {
	in := newInterner()
	scale := c.scale()
	err = c.each(ctx, func(row int, v parquet.Value) error {
		label := ""
		x, numeric := number(v)
		switch {
		case v.IsNull():
		case v.Kind() == parquet.Boolean:
			label = strconv.FormatBool(v.Boolean())
		case numeric && !math.IsNaN(x):
			label = strconv.FormatFloat(x*scale, 'g', -1, 64)
			if v.Kind() == parquet.Int64 && scale == 1 {
				label = strconv.FormatInt(v.Int64(), 10) // a large identifier keeps its digits
			}
		case v.Kind() == parquet.ByteArray || v.Kind() == parquet.FixedLenByteArray:
			label = string(v.ByteArray())
		}
		switch {
		case isMissing(label):
			return c.fail(row, "is the target and is missing", "fill it in or leave the row out")
		case len(label) > maxTargetBytes:
			return c.fail(row, fmt.Sprintf("is the target and longer than %d bytes", maxTargetBytes), "")
		}
		codes = append(codes, in.code(label))
		return nil
	})
	return codes, in.values, err
}
