package retrain

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
)

// Limits on a CSV file. A window beyond them is refused rather than held in memory.
const (
	maxColumns     = 4096
	maxLineBytes   = 1 << 20
	maxWindowBytes = 256 << 20
)

// A table is a window of rows of a CSV file, each with as many fields as the header.
type table struct {
	header []string
	rows   [][]string
}

// column returns the index of a column.
func (t *table) column(name string) (int, error) {
	i := slices.Index(t.header, name)
	if i < 0 {
		return 0, invalid(fmt.Sprintf("the data has no column %q", name),
			"its columns are "+strings.Join(t.header[:min(len(t.header), 40)], ", "))
	}
	return i, nil
}

// A snapshot is what a job trains on and is examined on, as files.
type snapshot struct {
	train, holdout         string
	trainRows, holdoutRows int
	digest                 string
}

// cut writes the recent labelled window of the job's data as train.csv and holdout.csv into dir.
func (t *Trainer) cut(ctx context.Context, job Job, dir string) (snapshot, error) {
	f, err := t.open(job.Data)
	if err != nil {
		return snapshot{}, err
	}
	defer f.Close()
	window, err := readWindow(ctx, f, job.Target, job.Time, job.WindowRows)
	if err != nil {
		return snapshot{}, fmt.Errorf("data of job %d: %w", job.ID, err)
	}
	n := len(window.rows)
	held := int(float64(n)*job.Holdout + 0.5)
	if held < 1 || held >= n {
		return snapshot{}, invalid(fmt.Sprintf("%d labelled rows are too few to train on and examine", n),
			"wait for more labels, or use a larger window")
	}
	s := snapshot{
		train: filepath.Join(dir, "train.csv"), holdout: filepath.Join(dir, "holdout.csv"),
		trainRows: n - held, holdoutRows: held,
	}
	sum := sha256.New()
	if err := writeRows(s.train, window.header, window.rows[:n-held], sum); err != nil {
		return snapshot{}, fmt.Errorf("training rows of job %d: %w", job.ID, err)
	}
	if err := writeRows(s.holdout, window.header, window.rows[n-held:], sum); err != nil {
		return snapshot{}, fmt.Errorf("hold-out rows of job %d: %w", job.ID, err)
	}
	s.digest = digest(sum.Sum(nil))
	return s, nil
}

// open opens a file inside the workload directory, whichever way the path tries to leave it, and decompresses it when
// its name ends in .gz.
func (t *Trainer) open(path string) (io.ReadCloser, error) {
	if !filepath.IsLocal(path) {
		return nil, invalid(path+" escapes the workload directory", "keep the labelled data beside the workload file")
	}
	root, err := os.OpenRoot(t.config.Workload)
	if err != nil {
		return nil, fmt.Errorf("workload directory: %w", err)
	}
	defer root.Close()
	f, err := root.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, invalid(fmt.Sprintf("there is no labelled data at %s", path), "the path is relative to the workload file")
	}
	if err != nil {
		return nil, fmt.Errorf("labelled data: %w", err)
	}
	info, err := f.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("labelled data: %w", err), f.Close())
	}
	if !info.Mode().IsRegular() {
		return nil, errors.Join(invalid(path+" is not a file", "name a CSV file"), f.Close())
	}
	if !strings.HasSuffix(path, ".gz") {
		return f, nil
	}
	z, err := gzip.NewReader(bufio.NewReader(f))
	if err != nil {
		return nil, errors.Join(invalid(path+" is not a gzip file", "compress it again, or drop the .gz"), f.Close())
	}
	return struct {
		io.Reader
		io.Closer
	}{z, f}, nil
}

// readWindow returns the most recent labelled rows of a CSV file, in the order of time. The file must have a header of
// distinct names and the same number of fields in every line. A last line without its end is still being written by
// somebody and does not count.
func readWindow(ctx context.Context, r io.Reader, target, at string, most int) (*table, error) {
	reader := csv.NewReader(&wholeLines{from: bufio.NewReaderSize(r, 64<<10)})
	reader.ReuseRecord = true
	header, err := readHeader(reader)
	if err != nil {
		return nil, err
	}
	t := &table{header: header}
	label, err := t.column(target)
	if err != nil {
		return nil, err
	}
	clock := -1
	if at != "" {
		if clock, err = t.column(at); err != nil {
			return nil, err
		}
	}
	w := window{most: most}
	for line := 0; ; line++ {
		if line%4096 == 0 && ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		row, err := reader.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, badCSV(err)
		}
		if row[label] == "" {
			continue
		}
		if err := w.add(row, clock); err != nil {
			return nil, err
		}
	}
	t.rows, err = w.inOrder(clock)
	return t, err
}

// readHeader reads the names of the columns.
func readHeader(reader *csv.Reader) ([]string, error) {
	first, err := reader.Read()
	if errors.Is(err, io.EOF) {
		return nil, invalid("the data file is empty", "its first line names the columns")
	}
	if err != nil {
		return nil, badCSV(err)
	}
	if len(first) > maxColumns {
		return nil, invalid(fmt.Sprintf("the data has %d columns; at most %d are read", len(first), maxColumns), "")
	}
	header := slices.Clone(first)
	header[0] = strings.TrimPrefix(header[0], "\uFEFF")
	seen := make(map[string]bool, len(header))
	for _, name := range header {
		if name == "" || seen[name] {
			return nil, invalid(fmt.Sprintf("the column name %q is empty or there twice", name), "name each column once")
		}
		seen[name] = true
	}
	return header, nil
}

func badCSV(err error) error {
	var r *stoa.Refusal
	if errors.As(err, &r) {
		return err
	}
	return &stoa.Refusal{
		Reason: stoa.ReasonInvalid, Message: "the data is not a clean CSV file: " + err.Error(),
		Hint: "every line needs the fields of the header, quoted where they hold commas", Err: err,
	}
}

// A window keeps the last rows of a file, or the latest when there is a clock.
type window struct {
	most  int
	rows  [][]string
	next  int // where the ring continues once it is full
	bytes int
}

// add takes a row. With a clock every row is kept until the order is known, up to the limit on memory.
func (w *window) add(row []string, clock int) error {
	kept := slices.Clone(row)
	text := strings.Join(kept, "") // one allocation of what is kept, cut up again below
	for i, from := 0, 0; i < len(kept); i++ {
		to := from + len(kept[i])
		kept[i], from = text[from:to], to
	}
	w.bytes += len(text) + 16*len(kept)
	if clock < 0 && len(w.rows) == w.most {
		old := w.rows[w.next]
		w.bytes -= 16 * len(old)
		for _, field := range old {
			w.bytes -= len(field)
		}
		w.rows[w.next] = kept
		w.next = (w.next + 1) % w.most
	} else {
		w.rows = append(w.rows, kept)
	}
	if w.bytes > maxWindowBytes {
		return invalid(fmt.Sprintf("the labelled rows need more than %d MiB", maxWindowBytes>>20),
			"use a smaller window, or a file in the order of time without a time column")
	}
	return nil
}

// inOrder returns the rows in the order of time, the most recent ones only.
func (w *window) inOrder(clock int) ([][]string, error) {
	if clock < 0 {
		return append(slices.Clone(w.rows[w.next:]), w.rows[:w.next]...), nil
	}
	type timed struct {
		at  float64
		row []string
	}
	all := make([]timed, len(w.rows))
	for i, row := range w.rows {
		at, err := parseTime(row[clock])
		if err != nil {
			return nil, err
		}
		all[i] = timed{at, row}
	}
	slices.SortStableFunc(all, func(a, b timed) int { return cmp.Compare(a.at, b.at) })
	all = all[max(0, len(all)-w.most):]
	rows := make([][]string, len(all))
	for i := range all {
		rows[i] = all[i].row
	}
	return rows, nil
}

// parseTime reads a number, an RFC 3339 time or a date as something to order by.
func parseTime(s string) (float64, error) {
	if number, err := strconv.ParseFloat(s, 64); err == nil && number == number {
		return number, nil
	}
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05", "2006-01-02T15:04:05", time.DateOnly} {
		if at, err := time.Parse(layout, s); err == nil {
			return float64(at.UnixMicro()), nil
		}
	}
	return 0, invalid(fmt.Sprintf("the time %.60q is neither a number nor a date", s), "use RFC 3339, e.g. 2026-01-31T15:04:05Z")
}

// writeRows writes a CSV file and adds its bytes to a sum.
func writeRows(path string, header []string, rows [][]string, sum io.Writer) (err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	w := csv.NewWriter(io.MultiWriter(f, sum))
	if err := w.Write(header); err != nil {
		return err
	}
	if err := w.WriteAll(rows); err != nil {
		return err
	}
	return f.Sync()
}

// wholeLines passes on lines that have an end and holds back a last one that has none. Lines are bounded.
type wholeLines struct {
	from *bufio.Reader
	line []byte
	rest []byte
}

func (w *wholeLines) Read(p []byte) (int, error) {
	for len(w.rest) == 0 {
		w.line = w.line[:0]
		for {
			part, err := w.from.ReadSlice('\n')
			w.line = append(w.line, part...)
			if err == nil {
				break
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				return 0, err
			}
			if len(w.line) > maxLineBytes {
				return 0, invalid(fmt.Sprintf("a line of the data is longer than %d bytes", maxLineBytes), "is it a CSV file?")
			}
		}
		if bytes.IndexByte(w.line, 0) >= 0 {
			return 0, invalid("the data holds a zero byte", "is it a CSV file?")
		}
		w.rest = w.line
	}
	n := copy(p, w.rest)
	w.rest = w.rest[n:]
	return n, nil
}
