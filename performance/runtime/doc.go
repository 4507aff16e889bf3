// Package runtime runs ONNX models made of trees and linear pieces in pure Go.
//
// It is meant for the models that scikit-learn, LightGBM and XGBoost export: tree ensembles, linear models and the
// preprocessing around them. [Load] does everything that can be done once. It decodes the file, checks all of it
// (indexes, lengths, types, acyclicity), compiles every ensemble into a compact form, and turns the graph into a list
// of kernels bound to numbered slots. What Load accepts, [Model.Run] can execute without further checks of the model:
// a request can only fail on its own shapes, datatypes and values.
//
// # Trees
//
// A node is one 64-bit word: the threshold as an order-preserving integer in the upper half, the position of the
// children and the column in the lower. The features of a row are turned once into integers of the same order, so that
// a step down a tree is an integer comparison and an addition without a branch that could be mispredicted. All six
// comparison modes are rewritten at Load into "less or equal"; where a missing value goes is decided by the column the
// node reads, since a column that may hold NaN exists in up to two versions, one sorting it below and one above all
// numbers. Leaves point at themselves, so that several trees descend in step, interleaved.
//
// # Graph
//
// Every value of the graph has a slot in a frame; frames are pooled and their buffers reused, so that a run allocates
// little more than its outputs. Scores accumulate in float32 in the order of the trees, as in ONNX Runtime.
//
// # Differences from ONNX Runtime
//
// ZipMap is flattened to a tensor of shape [N, classes]; [Model.Classes] names the classes. An input that wants FP32
// also takes FP64, since clients that write JSON often cannot tell; every other datatype must match exactly.
package runtime
