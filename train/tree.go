package train

// A node of a tree. It is a leaf when feature is negative.
type node struct {
	feature     int32
	threshold   float32 // a value goes left when it is at most the threshold
	missingLeft bool    // where a missing value goes
	left, right int32   // indexes within the tree
	value       float32 // of a leaf, learning rate included
}

// A tree has its root at index 0, and every child after its parent.
type tree []node

// leafOf returns the index of the leaf that a row falls into; at gives the row's value of a feature.
func (t tree) leafOf(at func(feature int32) float32) int32 {
	i := int32(0)
	for t[i].feature >= 0 {
		i = t[i].next(at(t[i].feature))
	}
	return i
}

// next returns the child that a value goes to.
func (n *node) next(v float32) int32 {
	if v <= n.threshold || (n.missingLeft && v != v) {
		return n.left
	}
	return n.right
}
