package train

// mixedSigns is the weight of the extra leaf that is written when all others are positive or zero. ONNX Runtime reads
// a classifier of two classes with such weights as if they were probabilities rather than log odds; one negative
// weight, far below the resolution of FP32, makes it mean what is written.
const mixedSigns = -1e-30

// A treeAttributes collects the columns in which a TreeEnsemble operator holds its nodes.
type treeAttributes struct {
	treeIDs, nodeIDs, features, trueIDs, falseIDs, missingTrue []int64
	modes                                                      []string
	values                                                     []float32
	leafTrees, leafNodes, leafOutputs                          []int64
	weights                                                    []float32
}

// add appends a tree that adds to an output.
func (a *treeAttributes) add(t tree, output int64) {
	id := int64(0)
	if n := len(a.treeIDs); n > 0 {
		id = a.treeIDs[n-1] + 1
	}
	for i, n := range t {
		a.treeIDs = append(a.treeIDs, id)
		a.nodeIDs = append(a.nodeIDs, int64(i))
		if n.feature < 0 {
			a.node("LEAF", 0, 0, 0, 0, 0)
			a.leafTrees = append(a.leafTrees, id)
			a.leafNodes = append(a.leafNodes, int64(i))
			a.leafOutputs = append(a.leafOutputs, output)
			a.weights = append(a.weights, n.value)
			continue
		}
		missing := int64(0)
		if n.missingLeft {
			missing = 1
		}
		a.node("BRANCH_LEQ", int64(n.feature), n.threshold, int64(n.left), int64(n.right), missing)
	}
}

// node appends what every node has.
func (a *treeAttributes) node(mode string, feature int64, value float32, onTrue, onFalse, missingTrue int64) {
	a.modes = append(a.modes, mode)
	a.features = append(a.features, feature)
	a.values = append(a.values, value)
	a.trueIDs = append(a.trueIDs, onTrue)
	a.falseIDs = append(a.falseIDs, onFalse)
	a.missingTrue = append(a.missingTrue, missingTrue)
}

// treeNode is the ensemble as one operator. The base scores are trees of one leaf each.
func (m *Model) treeNode() message {
	var a treeAttributes
	outputs := len(m.trees.base)
	for k, b := range m.trees.base {
		a.add(tree{{feature: -1, value: float32(b)}}, int64(k))
	}
	for i, t := range m.trees.trees {
		a.add(t, int64(i%outputs))
	}
	if m.task == Classification && outputs == 1 && !a.anyNegative() {
		a.add(tree{{feature: -1, value: mixedSigns}}, 0)
	}
	attributes := []message{
		intsAttribute("nodes_falsenodeids", a.falseIDs), intsAttribute("nodes_featureids", a.features),
		intsAttribute("nodes_missing_value_tracks_true", a.missingTrue), textsAttribute("nodes_modes", a.modes),
		intsAttribute("nodes_nodeids", a.nodeIDs), intsAttribute("nodes_treeids", a.treeIDs),
		intsAttribute("nodes_truenodeids", a.trueIDs), floatsAttribute("nodes_values", a.values),
	}
	if m.task == Regression {
		attributes = append(attributes, intAttribute("n_targets", 1), textAttribute("post_transform", "NONE"),
			intsAttribute("target_ids", a.leafOutputs), intsAttribute("target_nodeids", a.leafNodes),
			intsAttribute("target_treeids", a.leafTrees), floatsAttribute("target_weights", a.weights))
		return operator("TreeEnsembleRegressor", []string{"input"}, []string{"variable"}, attributes...)
	}
	post := "SOFTMAX"
	if outputs == 1 {
		post = "LOGISTIC"
	}
	attributes = append(attributes, intsAttribute("class_ids", a.leafOutputs),
		intsAttribute("class_nodeids", a.leafNodes),
		intsAttribute("class_treeids", a.leafTrees), floatsAttribute("class_weights", a.weights),
		m.classLabels("classlabels_int64s", "classlabels_strings"), textAttribute("post_transform", post))
	return operator("TreeEnsembleClassifier", []string{"input"}, []string{"label", "probabilities"}, attributes...)
}

// anyNegative reports whether some weight is below zero.
func (a *treeAttributes) anyNegative() bool {
	for _, w := range a.weights {
		if w < 0 {
			return true
		}
	}
	return false
}
