package main

import (
	"bufio"
	"bytes"
	"compress/gzip"
	_ "embed"
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"
)

const perDay = 48 // half-hours

// firstDay is the day of the first row.
var firstDay = time.Date(1996, time.May, 7, 0, 0, 0, 0, time.UTC)

// header names the columns of the feed, in the order of the file.
var header = []string{"period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer", "class"}

// A row is one half-hour of the market.
type row struct {
	features [6]float32
	text     string // the features as in the file, comma separated
	class    string // UP or DOWN
}

// readMarket decodes the compressed file that ships with the example.
func readMarket(compressed []byte) ([]row, error) {
	zr, err := gzip.NewReader(bytes.NewReader(compressed))
	if err != nil {
		return nil, fmt.Errorf("elec.csv.gz: %w", err)
	}
	r := csv.NewReader(bufio.NewReader(zr))
	r.FieldsPerRecord = len(header)
	if _, err := r.Read(); err != nil {
		return nil, fmt.Errorf("elec.csv.gz: %w", err)
	}
	var rows []row
	for {
		rec, err := r.Read()
		if err == io.EOF {
			return rows, nil
		}
		if err != nil {
			return nil, fmt.Errorf("elec.csv.gz: %w", err)
		}
		one := row{text: strings.Join(rec[:6], ","), class: "DOWN"}
		for i, s := range rec[:6] {
			v, err := strconv.ParseFloat(s, 32)
			if err != nil {
				return nil, fmt.Errorf("elec.csv.gz: %w", err)
			}
			one.features[i] = float32(v)
		}
		if rec[6] == "1" {
			one.class = "UP"
		}
		rows = append(rows, one)
	}
}

// feed renders rows as lines of the labelled feed, without the header.
func feed(rows []row) []byte {
	var b bytes.Buffer
	for _, r := range rows {
		b.WriteString(r.text)
		b.WriteByte(',')
		b.WriteString(r.class)
		b.WriteByte('\n')
	}
	return b.Bytes()
}

// dateOf is the calendar day of row i.
func dateOf(i int) time.Time { return firstDay.AddDate(0, 0, i/perDay) }
