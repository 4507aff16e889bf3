package train

import (
	"context"
	"math"
	"math/rand/v2"
)

const maxFloat32 = float32(math.MaxFloat32)

// The streams of random numbers, so that a draw of one kind does not shift those of another.
const (
	streamBins = iota + 1
	streamRows
	streamColumns
)

// An ensemble is a sum of trees: tree i adds to output i modulo the number of outputs.
type ensemble struct {
	base  []float64 // score of each output before any tree
	trees []tree
}

// boost fits an ensemble to the first rows of the columns.
func boost(ctx context.Context, columns [][]float32, t *target, rows int, o Options) (*ensemble, error) {
	b := newBooster(columns, t, rows, o)
	for round := range o.Rounds {
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if !b.round() {
			if o.Progress != nil {
				o.Progress(o.Rounds, o.Rounds)
			}
			break // no leaf can be split within the bounds: further rounds would not differ
		}
		if o.Progress != nil {
			o.Progress(round+1, o.Rounds)
		}
	}
	return &b.ensemble, nil
}

// A booster holds the state of boosting between rounds.
type booster struct {
	ensemble
	options   Options
	columns   [][]float32
	loss      loss
	grower    *grower
	workers   int
	rows      int
	scores    [][]float64
	gradients [][]gradient
	pickRows  *rand.Rand
	pickCols  *rand.Rand
}

// newBooster bins the columns and starts every score at the target's average.
func newBooster(columns [][]float32, t *target, rows int, o Options) *booster {
	workers := o.workers()
	b := &booster{
		options: o, columns: columns, loss: newLoss(t, rows), workers: workers, rows: rows,
		pickRows: rand.New(rand.NewPCG(o.Seed, streamRows)),
		pickCols: rand.New(rand.NewPCG(o.Seed, streamColumns)),
		grower: &grower{
			data:     bin(columns, rows, o.MaxBins, o.Seed, workers),
			splitter: splitter{l2: o.L2, minData: int64(o.MinDataInLeaf)}, maxLeaves: o.MaxLeaves, maxDepth: o.MaxDepth,
			workers: workers, rows: make([]int32, rows), moved: make([]int32, rows), ordered: make([]gradient, rows),
		},
	}
	b.grower.data.bundle(workers)
	b.base = b.loss.initial()
	for _, base := range b.base {
		s := make([]float64, rows)
		for i := range s {
			s[i] = base
		}
		b.scores = append(b.scores, s)
		b.gradients = append(b.gradients, make([]gradient, rows))
	}
	return b
}

// round adds a tree per output. It returns false, and adds nothing, when none of them can split.
func (b *booster) round() bool {
	blocks(b.workers, b.rows, func(_, from, to int) { b.loss.gradients(b.scores, b.gradients, from, to) })
	sample := b.sample()
	trees := make([]tree, len(b.scores))
	grown := false
	for k := range b.scores {
		rows := b.grower.rows[:cap(b.grower.rows)]
		if sample == nil {
			for i := range rows {
				rows[i] = int32(i)
			}
		} else {
			rows = rows[:copy(rows, sample)]
		}
		b.grower.rows = rows
		t, leaves := b.grower.grow(b.gradients[k], sample == nil, b.features())
		grown = grown || len(t) > 1
		b.finish(t, leaves)
		b.addScores(t, leaves, b.scores[k], sample != nil)
		trees[k] = t
	}
	if grown {
		b.trees = append(b.trees, trees...)
	}
	return grown
}

// sample draws the rows of a round; nil is all.
func (b *booster) sample() []int32 {
	if b.options.Subsample >= 1 {
		return nil
	}
	return drawRows(b.pickRows, b.rows, max(1, int(math.Round(b.options.Subsample*float64(b.rows)))))
}

// features draws the features of a tree, ascending, among those that have more than one bin.
func (b *booster) features() []int {
	var usable []int
	for i := range b.grower.data.features {
		if b.grower.data.features[i].size() > 1 {
			usable = append(usable, i)
		}
	}
	if b.options.ColumnSample >= 1 || len(usable) == 0 {
		return usable
	}
	want := max(1, int(math.Round(b.options.ColumnSample*float64(len(usable)))))
	var drawn []int
	for _, i := range drawRows(b.pickCols, len(usable), want) {
		drawn = append(drawn, usable[i])
	}
	return drawn
}

// finish sets the values of the leaves: the Newton step, shrunk by the learning rate. A tree that is only a leaf adds
// nothing, because the average has been taken already.
func (b *booster) finish(t tree, leaves []leaf) {
	if len(t) == 1 {
		return
	}
	for i := range leaves {
		l := &leaves[i]
		t[l.node].value = float32(-b.options.LearningRate * l.sum.g / (l.sum.h + b.options.L2))
	}
}

// addScores adds the tree to the scores of its rows, and of the rows that the round did not draw when sampled.
func (b *booster) addScores(t tree, leaves []leaf, scores []float64, sampled bool) {
	if len(t) == 1 {
		return
	}
	if sampled {
		blocks(b.workers, b.rows, func(_, from, to int) {
			for i := from; i < to; i++ {
				at := t.leafOf(func(f int32) float32 { return b.columns[f][i] })
				scores[i] += float64(t[at].value)
			}
		})
		return
	}
	parallel(b.workers, len(leaves), func(i int) {
		value := float64(t[leaves[i].node].value)
		for _, r := range b.grower.rows[leaves[i].from:leaves[i].to] {
			scores[r] += value
		}
	})
}

// predict writes the scores of one row into out, which has one element per output.
func (e *ensemble) predict(row []float32, out []float64) {
	copy(out, e.base)
	outputs := len(e.base)
	at := func(f int32) float32 { return row[f] }
	for i, t := range e.trees {
		out[i%outputs] += float64(t[t.leafOf(at)].value)
	}
}
