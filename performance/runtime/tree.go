package runtime

import (
	"slices"
	"strconv"
)

// labels are the classes of a classifier: strings, or integers when there are none.
type labels struct {
	strs []string
	ints []int64
}

func (l *labels) count() int { return max(len(l.strs), len(l.ints)) }

// texts returns the classes as text.
func (l *labels) texts() []string {
	if len(l.strs) > 0 {
		return slices.Clone(l.strs)
	}
	out := make([]string, len(l.ints))
	for i, x := range l.ints {
		out[i] = strconv.FormatInt(x, 10)
	}
	return out
}

// open gives out the shape [rows] and the type of the labels.
func (l *labels) open(out *value, rows int) error {
	var err error
	if len(l.strs) > 0 {
		_, err = fill[string](out, rows)
	} else {
		_, err = fill[int64](out, rows)
	}
	return err
}

// set writes class k into row of out.
func (l *labels) set(out *value, row, k int) {
	if len(l.strs) > 0 {
		out.strs[row] = l.strs[k]
	} else {
		out.i64[row] = l.ints[k]
	}
}

// buildTreeRegressor builds the kernel of TreeEnsembleRegressor.
func buildTreeRegressor(n *nodeProto) (kernel, error) {
	targets := attributes{n}.integer("n_targets", 1)
	if targets < 1 || targets > maxTargets {
		return nil, invalid("n_targets is %d; 1 to %d are possible", targets, maxTargets)
	}
	s, err := parseForest(n, "target", int(targets))
	if err != nil {
		return nil, err
	}
	e := newEnsemble(s)
	return func(in, out []*value) error {
		rows, width, err := in[0].rowsAndColumns()
		if err != nil {
			return err
		}
		y, err := fill[float32](out[0], rows, s.targets)
		if err != nil {
			return err
		}
		return e.run(in[0], rows, width, &regression{s, y})
	}, nil
}

// A regression finishes the rows of a TreeEnsembleRegressor.
type regression struct {
	spec *forestSpec
	y    []float32
}

func (r *regression) finish(row int, scores []float32, _ []bool) {
	s := r.spec
	if s.aggregate == "AVERAGE" {
		for i := range scores {
			scores[i] /= float32(len(s.roots))
		}
	}
	out := r.y[row*s.targets : (row+1)*s.targets]
	if s.targets == 1 {
		out[0] = scores[0]
		if len(s.base) == 1 {
			out[0] += s.base[0]
		}
		if s.transform == "PROBIT" {
			out[0] = probit(out[0])
		}
		return
	}
	copy(out, scores)
	if len(s.base) == s.targets {
		for i, b := range s.base {
			out[i] += b
		}
	}
	transform(s.transform, out)
}

// A classification finishes the rows of a TreeEnsembleClassifier.
type classification struct {
	spec     *forestSpec
	labels   labels
	binary   bool // two classes, and all weights are for one of them
	positive bool // no weight is negative
	label    *value
	scores   []float32
}

// buildTreeClassifier builds the kernel of TreeEnsembleClassifier.
func buildTreeClassifier(n *nodeProto) (kernel, *labels, error) {
	a := attributes{n}
	c := classification{labels: labels{strs: a.strs("classlabels_strings"), ints: a.ints("classlabels_int64s")}}
	if len(c.labels.strs) > 0 && len(c.labels.ints) > 0 {
		return nil, nil, invalid("it has both classlabels_strings and classlabels_int64s")
	}
	s, err := parseForest(n, "class", c.labels.count())
	if err != nil {
		return nil, nil, err
	}
	if s.aggregate != "SUM" {
		return nil, nil, invalid("aggregate_function %q is not possible in a classifier", s.aggregate)
	}
	c.spec = s
	c.binary, c.positive = s.targets == 2, true
	first := -1
	for i := range s.nodes {
		for _, w := range s.nodes[i].weights {
			if first < 0 {
				first = w.target
			}
			c.binary = c.binary && w.target == first
			c.positive = c.positive && !(w.value < 0)
		}
	}
	c.binary = c.binary && first >= 0
	e := newEnsemble(s)
	return func(in, out []*value) error {
		rows, width, err := in[0].rowsAndColumns()
		if err != nil {
			return err
		}
		run := c
		run.label = out[0]
		if err := c.labels.open(out[0], rows); err != nil {
			return err
		}
		if run.scores, err = fill[float32](out[1], rows, s.targets); err != nil {
			return err
		}
		return e.run(in[0], rows, width, &run)
	}, &c.labels, nil
}

func (c *classification) finish(row int, scores []float32, seen []bool) {
	s := c.spec
	out := c.scores[row*s.targets : (row+1)*s.targets]
	if s.targets > 2 {
		for k, b := range s.base {
			scores[k] += b
			seen[k] = true
		}
		best := 0
		for k, x := range scores {
			if seen[k] && (!seen[best] || x > scores[best]) {
				best = k
			}
		}
		c.labels.set(c.label, row, best)
		copy(out, scores)
		transform(s.transform, out)
		return
	}
	c.finishBinary(row, scores, seen, out)
}

// finishBinary finishes a row of at most two classes. The meaning of base_values and of a single score follows ONNX
// Runtime, where the specification of the operator leaves both open.
func (c *classification) finishBinary(row int, scores []float32, seen []bool, out []float32) {
	s := c.spec
	how := secondNone
	both := s.targets == 2 && seen[1]
	switch {
	case s.targets == 1 && len(s.base) == 2:
		scores[0] += s.base[1]
	case s.targets == 2 && len(s.base) == 2 && both:
		scores[1] = s.base[1] + scores[0]
		scores[0] = -scores[1]
	case s.targets == 2 && len(s.base) == 2:
		scores[1] += s.base[1]
		scores[0] += s.base[0]
	case len(s.base) == 1:
		scores[0] += s.base[0]
	case s.targets == 2:
		how = secondOpposite
	}
	deciding := scores[0]
	if both {
		deciding = scores[1]
	}
	winner := 0
	threshold := float32(0)
	if c.binary && c.positive {
		threshold = 0.5
	}
	if deciding > threshold {
		winner = 1
	}
	switch {
	case c.binary && c.positive:
		how = secondComplement
	case c.binary:
		how = secondOpposite
	}
	if !c.binary && len(c.labels.strs) == 0 {
		c.label.i64[row] = int64(winner) // whatever classlabels_int64s says
	} else {
		c.labels.set(c.label, row, min(winner, c.labels.count()-1))
	}
	if both || (s.targets == 2 && len(s.base) == 2) {
		copy(out, scores)
		transform(s.transform, out)
		return
	}
	spread(s.transform, scores[0], how, out)
}
