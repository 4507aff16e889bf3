package train

import (
	"bytes"
	"errors"
	"math"
	"strings"
	"testing"

	"github.com/parquet-go/parquet-go"
)

type parquetRow struct {
	A    *float64 `parquet:"a,optional"`
	B    int32    `parquet:"b"`
	C    bool     `parquet:"c"`
	D    int64    `parquet:"d,decimal(2:10)"`
	Text string   `parquet:"text,dict"`
	Y    int64    `parquet:"y"`
}

// parquetFile writes rows in groups of two.
func parquetFile(t testing.TB, rows ...parquetRow) []byte {
	t.Helper()
	var b bytes.Buffer
	w := parquet.NewGenericWriter[parquetRow](&b, parquet.MaxRowsPerRowGroup(2))
	if _, err := w.Write(rows); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func threeParquetRows(t testing.TB) []byte {
	t.Helper()
	one, three := 1.5, 3.5
	return parquetFile(t,
		parquetRow{A: &one, B: -7, C: true, D: 250, Text: "red", Y: 1 << 60},
		parquetRow{B: 8, D: -1, Text: "blue", Y: 0},
		parquetRow{A: &three, B: 9, C: true, D: 100, Text: "red", Y: 1})
}

func TestReadParquet(t *testing.T) {
	content := threeParquetRows(t)
	read := func(target string, features ...string) (*Table, error) {
		return readParquet(t.Context(), bytes.NewReader(content), int64(len(content)), "d.parquet",
			Columns{Target: target, Features: features})
	}
	table, err := read("text", "d", "a", "b", "c")
	if err != nil {
		t.Fatal(err)
	}
	checkTable(t, table)
	want := [][]float32{{2.5, -0.01, 1}, {1.5, float32(math.NaN()), 3.5}, {-7, 8, 9}, {1, 0, 1}}
	for f := range want {
		for i, w := range want[f] {
			if g := table.Columns[f][i]; g != w && (g == g || w == w) {
				t.Errorf("%s row %d is %v, want %v", table.Features[f], i, g, w)
			}
		}
	}
	if table.Values[table.Labels[2]] != "red" || table.Values[table.Labels[1]] != "blue" {
		t.Errorf("labels %v of %v", table.Labels, table.Values)
	}
	if table, err = read("y", "b"); err != nil || table.Values[0] != "1152921504606846976" {
		t.Errorf("a large integer as the target: %v, %v", table, err)
	}
	for _, c := range []struct {
		target, features, want string
	}{
		{"y", "text", `column "text" holds no numbers in row 1 (encode`},
		{"a", "b", `column "a" is the target and is missing in row 2`},
		{"z", "b", `no column "z" for the target (the file has the columns a, b, c, d, text, y)`},
	} {
		var data *DataError
		if _, err := read(c.target, c.features); !errors.As(err, &data) || !strings.Contains(err.Error(), c.want) {
			t.Errorf("error is %v, want a DataError with %q", err, c.want)
		}
	}
}

// A footer that claims more bytes than the file has must not have them reserved.
func TestReadParquetChecksTheFooter(t *testing.T) {
	content := threeParquetRows(t)
	content[len(content)-5] = 0xff
	_, err := readParquet(t.Context(), bytes.NewReader(content), int64(len(content)), "d.parquet", Columns{Target: "y"})
	if err == nil || !strings.Contains(err.Error(), "does not fit a file of") {
		t.Errorf("error is %v, want one about the footer", err)
	}
}

// Corrupt pages are errors of the file, whatever the decoder does with them.
func FuzzReadParquet(f *testing.F) {
	whole := threeParquetRows(f)
	f.Add(whole)
	f.Add(whole[:len(whole)/2])
	f.Add([]byte("PAR1\x00\x00\x00\x00PAR1"))
	f.Fuzz(func(t *testing.T, content []byte) {
		if len(content) > 1<<16 {
			return
		}
		table, err := readParquet(t.Context(), bytes.NewReader(content), int64(len(content)), "f.parquet",
			Columns{Target: "y", Features: []string{"a", "b", "c"}})
		if err == nil {
			checkTable(t, table)
		}
	})
}
