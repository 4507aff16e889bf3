// Package train is the built-in trainer: tables in, ONNX out, so that a model can be retrained on a machine that has
// nothing but Stoa.
//
// It fits two families. Histogram gradient-boosted trees ([GBDT]) follow LightGBM: features are cut into at most 255
// bins of about equal counts, trees grow leaf by leaf (the split of largest gain first) within a bound on leaves and
// on depth, the histogram of the larger child is its parent's less its sibling's, and the first score is the target's
// average. Sparse features that exclude each other, such as the columns of a category, share one column of bins; the
// trees are those that there would be without. Logistic regression ([Logistic]) standardises inside, fills a missing
// cell with the column's mean, and minimises the penalised log loss by L-BFGS.
//
// Three rules hold everywhere:
//
//   - The input of the model is FP32, so training sees FP32 too: a [Table] holds float32, and the threshold of a
//     split lies between two float32 values. What was learned is therefore what is served, to the last comparison.
//   - The same rows, options and seed give the same bytes of ONNX, whatever the number of threads: every sum is taken
//     in an order that does not depend on who computes it (one column's histogram is filled by one worker; sums over
//     rows are taken per block of fixed size, and the blocks are added in order).
//   - Nothing is guessed about the data. A cell that is not a number, a target that is missing, a column named twice
//     are errors that say where ([DataError]), and a missing cell of a feature is NaN, whose side at each split is
//     learned.
//
// The path through the package: [ReadFile] → [Fit] (binned → boost → grower, or logistic) → [Model.ONNX].
package train
