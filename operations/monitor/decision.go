package monitor

import (
	"strconv"
	"strings"

	"github.com/stoaproject/stoa"
)

// decisions reads the class decided for each row of an answer without copying the answer.
type decisions struct {
	rows    int
	labels  *stoa.Tensor // INT64 or BYTES; nil when scores are used
	scores  *stoa.Tensor // FP32 or FP64 of shape [rows, len(classes)]
	classes []string
}

// readDecisions finds where an answer says its decision: the tensor named label or output_label, else the first matrix
// of scores with a column for each class. It reports false when there is neither.
func readDecisions(answer *stoa.Answer, classes []string) (decisions, bool) {
	for i := range answer.Outputs {
		t := &answer.Outputs[i]
		if t.Name != "label" && t.Name != "output_label" {
			continue
		}
		switch data := t.Data.(type) {
		case []int64:
			return decisions{rows: len(data), labels: t, classes: classes}, true
		case []string:
			return decisions{rows: len(data), labels: t, classes: classes}, true
		}
	}
	for i := range answer.Outputs {
		t := &answer.Outputs[i]
		if len(classes) == 0 || len(t.Shape) != 2 || t.Shape[1] != int64(len(classes)) {
			continue
		}
		switch data := t.Data.(type) {
		case []float32:
			return decisions{rows: len(data) / len(classes), scores: t, classes: classes}, true
		case []float64:
			return decisions{rows: len(data) / len(classes), scores: t, classes: classes}, true
		}
	}
	return decisions{}, false
}

// at returns the class decided for a row, or "" when every score of the row is NaN. The string does not share memory
// with the answer.
func (d *decisions) at(row int) string {
	if d.labels != nil {
		switch data := d.labels.Data.(type) {
		case []int64:
			return d.intern(strconv.FormatInt(data[row], 10))
		case []string:
			return d.intern(data[row])
		}
	}
	n := len(d.classes)
	best := -1
	switch data := d.scores.Data.(type) {
	case []float32:
		best = argmax(data[row*n : row*n+n])
	case []float64:
		best = argmax(data[row*n : row*n+n])
	}
	if best < 0 {
		return ""
	}
	return d.classes[best]
}

// intern returns the class name equal to s, so that recording a known class keeps no memory of the answer alive.
func (d *decisions) intern(s string) string {
	for _, c := range d.classes {
		if c == s {
			return c
		}
	}
	return strings.Clone(s)
}

// argmax returns the index of the first largest score that is a number, or -1.
func argmax[F float32 | float64](scores []F) int {
	best := -1
	for i, s := range scores {
		if s == s && (best < 0 || s > scores[best]) {
			best = i
		}
	}
	return best
}
