package train

import (
	"math"
	"math/rand/v2"
	"strconv"
	"testing"
)

// synthetic makes a table of numeric columns that decide the class with some noise. A tenth of the first column is
// missing, the second has few values, and the third is constant.
func synthetic(t testing.TB, rows, features, classes int, name func(k int) string) *Table {
	t.Helper()
	random := rand.New(rand.NewPCG(7, uint64(rows)))
	columns, names := make([][]float32, features), make([]string, features)
	for f := range columns {
		names[f] = "f" + strconv.Itoa(f)
		columns[f] = make([]float32, rows)
	}
	labels := make([]string, rows)
	for i := range rows {
		score := 0.4 * random.NormFloat64()
		for f := range columns {
			v := random.NormFloat64()
			switch f {
			case 1:
				v = math.Round(v)
			case 2:
				v = 3
			}
			columns[f][i] = float32(v)
			if f != 2 {
				score += math.Sin(v*float64(f+1)) + v/2
			}
		}
		if random.IntN(10) == 0 {
			columns[0][i] = float32(math.NaN())
		}
		k := int(math.Floor((score + 1.5) / 3 * float64(classes)))
		labels[i] = name(min(max(k, 0), classes-1))
	}
	table, err := NewTable("class", names, columns, labels)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// color names a class as text.
func color(k int) string { return []string{"red", "green", "blue", "black"}[k] }

// fit fails the test unless the model can be fitted.
func fit(t testing.TB, table *Table, o Options) *Model {
	t.Helper()
	m, err := Fit(t.Context(), table, o)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// artifact fails the test unless the model can be written.
func artifact(t testing.TB, m *Model) []byte {
	t.Helper()
	b, err := m.ONNX()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// rowAt copies a row.
func rowAt(table *Table, i int) []float32 {
	row := make([]float32, len(table.Columns))
	for f, c := range table.Columns {
		row[f] = c[i]
	}
	return row
}

// options are the defaults of an algorithm, changed.
func options(algorithm string, change func(o *Options)) Options {
	o := Defaults(algorithm)
	if change != nil {
		change(&o)
	}
	return o
}
