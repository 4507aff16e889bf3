package runtime

import (
	"fmt"
	"math"
)

// A mode is how a node compares its feature with its threshold.
type mode uint8

const (
	modeLeaf   mode = iota
	modeLEQ         // feature <= threshold
	modeLT          // feature < threshold
	modeGTE         // feature >= threshold
	modeGT          // feature > threshold
	modeEQ          // feature == threshold
	modeNEQ         // feature != threshold
	modeMember      // feature is one of a set
)

// modeByName maps nodes_modes of the first versions of the tree operators.
func modeByName(name string) (mode, bool) {
	switch name {
	case "LEAF":
		return modeLeaf, true
	case "BRANCH_LEQ":
		return modeLEQ, true
	case "BRANCH_LT":
		return modeLT, true
	case "BRANCH_GTE":
		return modeGTE, true
	case "BRANCH_GT":
		return modeGT, true
	case "BRANCH_EQ":
		return modeEQ, true
	case "BRANCH_NEQ":
		return modeNEQ, true
	}
	return modeLeaf, false
}

// A branch is one node of a tree as the file describes it. Children are indexes into forestSpec.nodes.
type branch struct {
	mode      mode
	missing   bool // a missing value takes the true branch
	feature   int
	threshold float64
	members   []float64 // what the feature may equal: one number for modeEQ and modeNEQ
	yes, no   int
	weights   []weight // of a leaf
}

// A weight is what a leaf adds to the score of one target or class.
type weight struct {
	target int
	value  float32
}

// A forestSpec is a tree ensemble as the file describes it, checked: every tree is a tree, every index in range.
type forestSpec struct {
	nodes     []branch
	roots     []int // one per tree, in the order in which scores accumulate
	targets   int   // number of targets or classes
	width     int   // 1 + the highest feature read
	base      []float32
	aggregate string // SUM, AVERAGE, MIN or MAX
	transform string // NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO or PROBIT
}

// Limits of a forest. Together with the size of the file they bound memory at Load.
const (
	maxFeatures = 1 << 20
	maxTargets  = 1 << 16
)

// parseForest reads a TreeEnsembleClassifier (prefix "class") or TreeEnsembleRegressor (prefix "target").
func parseForest(n *nodeProto, prefix string, targets int) (*forestSpec, error) {
	a := attributes{n}
	s := &forestSpec{targets: targets}
	var err error
	if s.base, err = a.floatsOrTensor("base_values"); err != nil {
		return nil, err
	}
	s.aggregate = a.str("aggregate_function", "SUM")
	s.transform = a.str("post_transform", "NONE")
	if err := s.checkFunctions(); err != nil {
		return nil, err
	}
	index, err := s.parseNodes(a)
	if err != nil {
		return nil, err
	}
	if err := s.parseWeights(a, prefix, index); err != nil {
		return nil, err
	}
	absorbed := s.mergeEqualities()
	return s, s.checkTrees(absorbed)
}

func (s *forestSpec) checkFunctions() error {
	if s.targets < 1 || s.targets > maxTargets {
		return fmt.Errorf("it has %d targets or classes; 1 to %d are possible", s.targets, maxTargets)
	}
	switch s.aggregate {
	case "SUM", "AVERAGE", "MIN", "MAX":
	default:
		return fmt.Errorf("aggregate_function %q is not one of SUM, AVERAGE, MIN and MAX", s.aggregate)
	}
	if err := checkTransform(s.transform); err != nil {
		return err
	}
	if len(s.base) > s.targets && !(len(s.base) == 2 && s.targets == 1) {
		return fmt.Errorf("there are %d base_values for %d targets or classes", len(s.base), s.targets)
	}
	for i, v := range s.base {
		if v != v {
			return fmt.Errorf("base_values[%d] is not a number", i)
		}
	}
	return nil
}

func checkTransform(name string) error {
	switch name {
	case "NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT":
		return nil
	}
	return fmt.Errorf("post_transform %q is not one of NONE, SOFTMAX, LOGISTIC, SOFTMAX_ZERO and PROBIT", name)
}

// A nodeID names a node in the file: the number of its tree and its number within the tree.
type nodeID struct{ tree, node int64 }

// parseNodes reads the nodes_* attributes and returns where each node is in s.nodes.
func (s *forestSpec) parseNodes(a attributes) (map[nodeID]int, error) {
	treeIDs, nodeIDs := a.ints("nodes_treeids"), a.ints("nodes_nodeids")
	features, modes := a.ints("nodes_featureids"), a.strs("nodes_modes")
	yes, no := a.ints("nodes_truenodeids"), a.ints("nodes_falsenodeids")
	missing := a.ints("nodes_missing_value_tracks_true")
	values, err := a.doublesOrFloats("nodes_values")
	if err != nil {
		return nil, err
	}
	count := len(nodeIDs)
	if count == 0 {
		return nil, fmt.Errorf("it has no nodes")
	}
	for name, n := range map[string]int{
		"nodes_treeids": len(treeIDs), "nodes_featureids": len(features), "nodes_modes": len(modes),
		"nodes_truenodeids": len(yes), "nodes_falsenodeids": len(no), "nodes_values": len(values),
	} {
		if n != count {
			return nil, fmt.Errorf("%s has %d elements, nodes_nodeids has %d", name, n, count)
		}
	}
	if len(missing) != 0 && len(missing) != count {
		return nil, fmt.Errorf("nodes_missing_value_tracks_true has %d elements, nodes_nodeids has %d", len(missing), count)
	}
	index := make(map[nodeID]int, count)
	seen := map[int64]bool{}
	for i, id := range nodeIDs {
		key := nodeID{treeIDs[i], id}
		if _, ok := index[key]; ok {
			return nil, fmt.Errorf("tree %d has node %d twice", key.tree, key.node)
		}
		index[key] = i
		if !seen[key.tree] {
			seen[key.tree] = true
			s.roots = append(s.roots, i)
		}
	}
	s.nodes = make([]branch, count)
	for i := range s.nodes {
		b := &s.nodes[i]
		var ok bool
		if b.mode, ok = modeByName(modes[i]); !ok {
			return nil, fmt.Errorf("tree %d node %d: mode %q is unknown", treeIDs[i], nodeIDs[i], modes[i])
		}
		if b.mode == modeLeaf {
			continue
		}
		if b.yes, ok = index[nodeID{treeIDs[i], yes[i]}]; !ok {
			return nil, fmt.Errorf("tree %d node %d: true branch leads to node %d, which does not exist",
				treeIDs[i], nodeIDs[i], yes[i])
		}
		if b.no, ok = index[nodeID{treeIDs[i], no[i]}]; !ok {
			return nil, fmt.Errorf("tree %d node %d: false branch leads to node %d, which does not exist",
				treeIDs[i], nodeIDs[i], no[i])
		}
		if err := s.setTest(b, features[i], values[i]); err != nil {
			return nil, fmt.Errorf("tree %d node %d: %w", treeIDs[i], nodeIDs[i], err)
		}
		b.missing = len(missing) > 0 && missing[i] == 1
	}
	return index, nil
}

// setTest sets the feature and the threshold of b.
func (s *forestSpec) setTest(b *branch, feature int64, threshold float64) error {
	if feature < 0 || feature >= maxFeatures {
		return fmt.Errorf("feature %d is outside 0 to %d", feature, maxFeatures-1)
	}
	if threshold != threshold {
		return fmt.Errorf("the threshold is not a number")
	}
	b.feature, b.threshold = int(feature), threshold
	if b.mode == modeEQ || b.mode == modeNEQ {
		b.members = []float64{threshold}
	}
	s.width = max(s.width, b.feature+1)
	return nil
}

// parseWeights reads the class_* or target_* attributes.
func (s *forestSpec) parseWeights(a attributes, prefix string, index map[nodeID]int) error {
	ids, nodes, trees := a.ints(prefix+"_ids"), a.ints(prefix+"_nodeids"), a.ints(prefix+"_treeids")
	values, err := a.floatsOrTensor(prefix + "_weights")
	if err != nil {
		return err
	}
	if len(nodes) != len(ids) || len(trees) != len(ids) || len(values) != len(ids) {
		return fmt.Errorf("%s_ids, _nodeids, _treeids and _weights have %d, %d, %d and %d elements",
			prefix, len(ids), len(nodes), len(trees), len(values))
	}
	for i, id := range ids {
		at, ok := index[nodeID{trees[i], nodes[i]}]
		if !ok {
			return fmt.Errorf("%s weight %d belongs to node %d of tree %d, which does not exist", prefix, i, nodes[i], trees[i])
		}
		if id < 0 || id >= int64(s.targets) {
			return fmt.Errorf("%s weight %d is for number %d of %d", prefix, i, id, s.targets)
		}
		if values[i] != values[i] {
			return fmt.Errorf("%s weight %d is not a number", prefix, i)
		}
		if b := &s.nodes[at]; b.mode == modeLeaf {
			b.weights = append(b.weights, weight{int(id), values[i]})
		}
	}
	return nil
}

// mergeEqualities turns chains of nodes that compare one feature with one number after another, and that all lead to
// the same node when equal, into one test of membership. Exporters write the categorical splits of LightGBM so; the
// chain is the only place where they let nodes share a child. It returns which nodes have been absorbed.
func (s *forestSpec) mergeEqualities() []bool {
	absorbed := make([]bool, len(s.nodes))
	isSet := func(b *branch) bool { return b.mode == modeEQ || b.mode == modeMember }
	for i := range s.nodes {
		b := &s.nodes[i]
		for isSet(b) && b.no != i && !absorbed[b.no] {
			next := &s.nodes[b.no]
			if !isSet(next) || next.feature != b.feature || next.missing != b.missing || next.yes != b.yes {
				break
			}
			absorbed[b.no] = true
			b.mode = modeMember
			b.members = append(b.members, next.members...)
			b.no = next.no
		}
	}
	return absorbed
}

// checkTrees makes sure that every node is reached from its root on exactly one path, so that no walk can be endless.
func (s *forestSpec) checkTrees(absorbed []bool) error {
	reached := make([]bool, len(s.nodes))
	var stack []int
	count := 0
	for t, root := range s.roots {
		stack = append(stack[:0], root)
		for len(stack) > 0 {
			i := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			if reached[i] {
				return fmt.Errorf("tree %d is cyclic or has a node with two parents", t)
			}
			reached[i] = true
			count++
			if b := &s.nodes[i]; b.mode != modeLeaf {
				stack = append(stack, b.no, b.yes)
			}
		}
	}
	for i := range reached {
		if absorbed[i] && !reached[i] {
			count++
		}
	}
	if count != len(s.nodes) {
		return fmt.Errorf("%d of %d nodes cannot be reached from the first node of their tree",
			len(s.nodes)-count, len(s.nodes))
	}
	return nil
}

// ordered maps a float to an integer such that a <= b exactly when ordered(a) <= ordered(b). Both zeros map to 0. x is
// not NaN.
func ordered(x float32) int32 {
	b := int32(math.Float32bits(x + 0))
	return b ^ (b>>31)&math.MaxInt32
}
