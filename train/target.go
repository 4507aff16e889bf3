package train

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
)

// A target is the column to predict in the form that a loss takes.
type target struct {
	task     string
	classes  []string  // of classification, in the order of the model's outputs
	integers []int64   // the classes as numbers, when all are whole numbers
	class    []int32   // per row an index into classes, of classification; -1 for a class never seen in training
	value    []float32 // per row, of regression
}

// outputs is the number of scores: one for two classes or a quantity, else one per class.
func (t *target) outputs() int {
	if len(t.classes) > 2 {
		return len(t.classes)
	}
	return 1
}

// newTarget decides the task and encodes the first rows of the table's target, which are trained on; the classes are
// those found there. Later rows are encoded too, for measuring.
func newTarget(t *Table, task string, rows int) (*target, error) {
	numbers, fractional := numericValues(t.Values)
	if task == Auto {
		task = Classification
		if numbers != nil && (fractional || len(t.Values) > maxAutoClasses) {
			task = Regression
		}
	}
	if task == Regression {
		if numbers == nil {
			return nil, fmt.Errorf("the target %q has values that are no finite numbers: take the task %s",
				t.Target, Classification)
		}
		out := &target{task: task, value: make([]float32, t.Rows())}
		for i, l := range t.Labels {
			out.value[i] = float32(numbers[l])
		}
		return out, nil
	}
	return newClasses(t, numbers, fractional, rows)
}

// numericValues returns the distinct targets as numbers, or nil when one of them is none.
func numericValues(values []string) (numbers []float64, fractional bool) {
	for _, v := range values {
		x, err := strconv.ParseFloat(v, 64)
		if err != nil || math.Abs(x) > math.MaxFloat32 || x != x {
			return nil, false
		}
		fractional = fractional || x != math.Trunc(x)
		numbers = append(numbers, x)
	}
	return numbers, fractional
}

// newClasses encodes a target of classes. Whole numbers are int64 classes in their order, anything else is text in
// lexical order.
func newClasses(t *Table, numbers []float64, fractional bool, rows int) (*target, error) {
	const exact = 1 << 53 // above it a float64 skips integers
	whole := numbers != nil && !fractional
	for _, x := range numbers {
		whole = whole && math.Abs(x) < exact
	}
	seen := make([]bool, len(t.Values))
	for _, l := range t.Labels[:rows] {
		seen[l] = true
	}
	out := &target{task: Classification, class: make([]int32, t.Rows())}
	names := slices.Clone(t.Values)
	for i := range names {
		if whole {
			names[i] = strconv.FormatInt(int64(numbers[i]), 10) // 1 and 1.0 are one class
		}
		if seen[i] && !slices.Contains(out.classes, names[i]) {
			if out.classes = append(out.classes, names[i]); len(out.classes) > maxClasses {
				return nil, fmt.Errorf("the target %q has more than %d classes: is it the right column, "+
					"or a task of %s?",
					t.Target, maxClasses, Regression)
			}
		}
	}
	if len(out.classes) < 2 {
		return nil, fmt.Errorf("the target %q has one class only, %s, in the %d rows to train on: "+
			"add rows of another class, or check --holdout", t.Target, excerpt(out.classes[0]), rows)
	}
	if whole {
		slices.SortFunc(out.classes, func(a, b string) int { return cmp.Compare(integer(a), integer(b)) })
		for _, c := range out.classes {
			out.integers = append(out.integers, integer(c))
		}
	} else {
		slices.Sort(out.classes)
	}
	codes := make([]int32, len(names))
	for i, n := range names {
		codes[i] = int32(slices.Index(out.classes, n))
	}
	for i, l := range t.Labels {
		out.class[i] = codes[l]
	}
	return out, nil
}

// maxClasses bounds the classes, because every class costs a tree per round.
const maxClasses = 1000

// integer reads a class that was written by strconv.FormatInt.
func integer(s string) int64 {
	n, _ := strconv.ParseInt(s, 10, 64) // cannot fail: newClasses formatted it
	return n
}
