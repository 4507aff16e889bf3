package train

import (
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReadCSV(t *testing.T) {
	text := "\ufeff a ,b,class\n1,,yes\n 2.5 ,NA,\"no\"\n-3e2,4,yes\n"
	table, err := readCSV(t.Context(), strings.NewReader(text), "d.csv", Columns{Target: "class"})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(table.Features, ","); got != "a,b" {
		t.Errorf("features are %s, want a,b", got)
	}
	want := [][]float32{{1, 2.5, -300}, {float32(math.NaN()), float32(math.NaN()), 4}}
	for f := range want {
		for i, w := range want[f] {
			if g := table.Columns[f][i]; g != w && (g == g || w == w) {
				t.Errorf("column %d row %d is %v, want %v", f, i, g, w)
			}
		}
	}
	if table.Values[table.Labels[1]] != "no" || table.Labels[0] != table.Labels[2] {
		t.Errorf("labels %v of %v", table.Labels, table.Values)
	}
}

func TestFeaturesKeepTheOrderAskedFor(t *testing.T) {
	table, err := readCSV(t.Context(), strings.NewReader("a,b,c,y\n1,2,3,0\n"), "d.csv", Columns{Target: "y", Features: []string{"c", "a"}})
	if err != nil {
		t.Fatal(err)
	}
	if table.Columns[0][0] != 3 || table.Columns[1][0] != 1 {
		t.Errorf("columns are %v, want c then a", table.Columns)
	}
}

func TestReadCSVRefuses(t *testing.T) {
	for _, c := range []struct{ name, text, features, want string }{
		{"empty file", "", "", "the file is empty"},
		{"no rows", "a,y\n", "", "no rows below the header"},
		{"text in a feature", "a,y\n1,0\nred,1\n", "", `d.csv:3:1: "red" in column "a": is not a number (encode`},
		{"text in a later column", "a,b,y\n1,x,0\n", "", `d.csv:2:3: "x" in column "b"`},
		{"infinity", "a,y\ninf,0\n", "", "does not fit a finite FP32"},
		{"beyond FP32", "a,y\n1e39,0\n", "", "does not fit a finite FP32"},
		{"no such target", "a,b\n1,2\n", "", `no column "y" for the target (the file has the columns a, b)`},
		{"no such feature", "a,y\n1,2\n", "z", `no column "z" for a feature (the file has the columns a, y)`},
		{"target as a feature", "a,y\n1,2\n", "y", "also named as a feature"},
		{"feature twice", "a,y\n1,2\n", "a,a", "named twice"},
		{"column twice", "a,a,y\n1,2,3\n", "", `two columns are named "a"`},
		{"column without a name", "a,,y\n1,2,3\n", "", "column 2 has no name"},
		{"target missing", "a,y\n1,0\n2,\n", "", "d.csv:3:3: the target is missing"},
		{"target NaN", "a,y\n1,NaN\n", "", "d.csv:2:3: the target is missing"},
		{"ragged", "a,y\n1,0,3\n", "", "d.csv:2: the row has more or fewer cells"},
		{"stray quote", "a,y\n1\"2,0\n", "", "d.csv:2:2: not valid CSV"},
		{"target only", "y\n1\n", "", "no column left for a feature"},
		{"semicolons", "a;y\n1;2\n", "", "separate the cells by commas"},
		{"long target", "a,y\n1," + strings.Repeat("x", 300) + "\n", "", "longer than 256 bytes"},
		{"huge cell", "a,y\n" + strings.Repeat("9", 5000) + "x,1\n", "", `"9999999999999999999999999999999999999999"…`},
	} {
		t.Run(c.name, func(t *testing.T) {
			want := Columns{Target: "y"}
			if c.features != "" {
				want.Features = strings.Split(c.features, ",")
			}
			_, err := readCSV(t.Context(), strings.NewReader(c.text), "d.csv", want)
			var data *DataError
			if !errors.As(err, &data) || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error is %q, want a DataError with %q", err, c.want)
			}
		})
	}
}

// An endless quoted cell must end the read at the limit instead of filling the memory.
func TestReadCSVBoundsARow(t *testing.T) {
	endless := io.MultiReader(strings.NewReader("a,y\n\""), neverEnding('x'))
	_, err := readCSV(t.Context(), endless, "d.csv", Columns{Target: "y"})
	if err == nil || !strings.Contains(err.Error(), "longer than") || !strings.Contains(err.Error(), "never closed") {
		t.Errorf("error is %v, want one about a row that is too long", err)
	}
}

type neverEnding byte

func (b neverEnding) Read(p []byte) (int, error) {
	for i := range p {
		p[i] = byte(b)
	}
	return len(p), nil
}

func TestReadFile(t *testing.T) {
	dir := t.TempDir()
	text := "a,y\n1,0\n2,1\n"
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	if _, err := io.WriteString(z, text); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	write := func(name string, content []byte) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain, err := ReadFile(t.Context(), write("d.csv", []byte(text)), Columns{Target: "y"})
	if err != nil {
		t.Fatal(err)
	}
	// The digest of the file's bytes, as `printf 'a,y\n1,0\n2,1\n' | sha256sum` prints it.
	if want := "sha256:2e3781e3c32f67fc45f7b528a7c0d9a995a0f1956970d89c473fd199e7ce85f1"; plain.Digest != want {
		t.Errorf("digest is %s, want %s", plain.Digest, want)
	}
	packed, err := ReadFile(t.Context(), write("d.csv.gz", zipped.Bytes()), Columns{Target: "y"})
	if err != nil {
		t.Fatal(err)
	}
	if packed.Rows() != 2 || packed.Digest == plain.Digest {
		t.Errorf("the compressed file has %d rows and the digest %s", packed.Rows(), packed.Digest)
	}
	for name, content := range map[string][]byte{
		"empty.csv.gz": nil, "torn.csv.gz": zipped.Bytes()[:zipped.Len()-6], "not.csv.gz": []byte(text),
		"empty.parquet": nil, "not.parquet": []byte(text), "d.xlsx": []byte(text),
	} {
		var data *DataError
		if _, err := ReadFile(t.Context(), write(name, content), Columns{Target: "y"}); !errors.As(err, &data) {
			t.Errorf("%s: error is %v, want a DataError", name, err)
		}
	}
	if _, err := ReadFile(t.Context(), filepath.Join(dir, "absent.csv"), Columns{Target: "y"}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("error is %v, want that the file does not exist", err)
	}
	var data *DataError
	if _, err := ReadFile(t.Context(), dir, Columns{Target: "y"}); !errors.As(err, &data) {
		t.Errorf("error for a directory is %v, want a DataError", err)
	}
}

func FuzzReadCSV(f *testing.F) {
	for _, s := range []string{"a,y\n1,0\n2,1\n", "\ufeffa,\"y\"\n\"1\n\",x\n", "a,y\r\n,NA\r\n", "y,a,b\n0,1e39,\n", "a,y\n1,2,3\n", "\"", "a,a\n"} {
		f.Add([]byte(s), "y")
	}
	f.Fuzz(func(t *testing.T, text []byte, target string) {
		table, err := readCSV(t.Context(), bytes.NewReader(text), "f.csv", Columns{Target: target})
		if err != nil {
			var data *DataError
			if !errors.As(err, &data) {
				t.Fatalf("error %v is no DataError", err)
			}
			return
		}
		checkTable(t, table)
	})
}

// checkTable fails unless every promise of Table holds.
func checkTable(t *testing.T, table *Table) {
	t.Helper()
	if table.Rows() == 0 || len(table.Features) != len(table.Columns) || len(table.Features) == 0 {
		t.Fatalf("%d rows, %d features, %d columns", table.Rows(), len(table.Features), len(table.Columns))
	}
	for f, c := range table.Columns {
		if len(c) != table.Rows() {
			t.Fatalf("column %d has %d of %d rows", f, len(c), table.Rows())
		}
		for _, v := range c {
			if math.IsInf(float64(v), 0) {
				t.Fatalf("column %d is infinite", f)
			}
		}
	}
	for _, l := range table.Labels {
		if isMissing(table.Values[l]) {
			t.Fatal("a target is missing")
		}
	}
}
