package runtime

// The word of a node, from the high bits down: 32 bits of key, 16 of the position of the true child within the block,
// 7 unused, 1 that marks a leaf, 8 of the column. The false child follows the true one. A leaf has the highest key and
// points at itself, so that further steps stay on it.
const (
	childShift = 16
	leafMark   = 1 << 8

	maxNarrowColumns = 1 << 8
	maxBlockNodes    = 1 << 16 // positions that 16 bits can hold
	cacheNodes       = 3 << 10 // nodes of a block that stay in the first-level cache beside the cells
)

// lanes is the number of trees that descend interleaved.
const lanes = 4

// A forest is a compiled tree ensemble. It is not changed after Load.
type forest struct {
	spec    *forestSpec
	columns []column
	narrow  bool // the columns fit narrow nodes
	blocks  []block
	arena   []int64 // the narrow nodes of all blocks

	// Leaves, by their position over all blocks.
	values []float32 // what the leaf adds, when every tree has one weight per leaf, for one and the same target
	target []int32   // of each tree in that case; nil when there is only one target
	spans  []span    // of the leaf in weights, otherwise
	weight []weight
}

// A span is a range of forest.weight.
type span struct{ first, count int32 }

// A block is a run of trees whose nodes are together.
type block struct {
	first, trees int     // numbers of the trees
	base         int     // position of nodes[0] over all blocks
	nodes        []int64 // narrow words and what follows them, so that no 16-bit position is out of range
	wide         []wide  // instead of nodes, for what narrow words cannot hold
	roots        []int32 // padded with the last one to a multiple of lanes
	most         []int32 // greatest depth of a leaf, for each group of lanes roots
}

// A wide node is a node whose numbers do not fit a narrow word.
type wide struct {
	key    int64 // in the upper half, like a cell, with the lower half full
	child  int32
	column int32
}

// compileForest lays out s. With double set, it compares in double precision. Narrow nodes are used for up to the given
// number of columns, at most maxNarrowColumns.
func compileForest(s *forestSpec, double bool, narrow int) *forest {
	t, tests := newTableau(s, double)
	f := &forest{spec: s, columns: t.columns, narrow: len(t.columns) <= narrow}
	sizes, depths := s.measure()
	for first := 0; first < len(s.roots); {
		nodes, end := sizes[first], first+1
		for end < len(s.roots) && nodes+sizes[end] <= cacheNodes {
			nodes += sizes[end]
			end++
		}
		f.addBlock(tests, first, end, nodes, depths)
		first = end
	}
	f.gatherLeaves()
	return f
}

// measure returns the number of nodes and the depth of each tree.
func (s *forestSpec) measure() ([]int, []int32) {
	type visit struct {
		node  int
		depth int32
	}
	sizes, depths := make([]int, len(s.roots)), make([]int32, len(s.roots))
	var stack []visit
	for t, root := range s.roots {
		for stack = append(stack, visit{root, 0}); len(stack) > 0; {
			v := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			sizes[t]++
			depths[t] = max(depths[t], v.depth)
			if b := &s.nodes[v.node]; b.mode != modeLeaf {
				stack = append(stack, visit{b.no, v.depth + 1}, visit{b.yes, v.depth + 1})
			}
		}
	}
	return sizes, depths
}

// addBlock lays out the trees first to end, which have count nodes.
func (f *forest) addBlock(tests []test, first, end, count int, depths []int32) {
	b := block{first: first, trees: end - first, base: len(f.spans)}
	if f.narrow && count <= maxBlockNodes {
		if f.arena == nil {
			f.arena = make([]int64, len(f.spec.nodes)+maxBlockNodes)
		}
		b.nodes = f.arena[b.base : b.base+maxBlockNodes]
	} else {
		b.wide = make([]wide, count)
	}
	f.spans = append(f.spans, make([]span, count)...)
	next := 0
	for t := first; t < end; t++ {
		b.roots = append(b.roots, int32(next))
		next = f.layTree(&b, tests, f.spec.roots[t], next)
	}
	for len(b.roots)%lanes != 0 {
		b.roots = append(b.roots, b.roots[len(b.roots)-1])
	}
	for g := 0; g < len(b.roots); g += lanes {
		most := int32(0)
		for t := first + g; t < min(first+g+lanes, end); t++ {
			most = max(most, depths[t])
		}
		b.most = append(b.most, most)
	}
	f.blocks = append(f.blocks, b)
}

// layTree places a tree from position next on, children side by side and each subtree behind its parent's pair, and
// returns the position behind it.
func (f *forest) layTree(b *block, tests []test, root, next int) int {
	type place struct{ node, at int }
	stack := []place{{root, next}}
	next++
	for len(stack) > 0 {
		p := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		n := &f.spec.nodes[p.node]
		if n.mode == modeLeaf {
			b.put(p.at, cellHigh, p.at, 0, leafMark)
			f.spans[b.base+p.at] = span{int32(len(f.weight)), int32(len(n.weights))}
			f.weight = append(f.weight, n.weights...)
			continue
		}
		w := tests[p.node]
		yes, no := n.yes, n.no
		if w.swap {
			yes, no = no, yes
		}
		b.put(p.at, int64(w.key)<<32, next, w.column, 0)
		stack = append(stack, place{no, next + 1}, place{yes, next})
		next += 2
	}
	return next
}

// put writes one node.
func (b *block) put(at int, key int64, child, column int, mark int64) {
	if b.wide != nil {
		b.wide[at] = wide{key: key | (1<<32 - 1), child: int32(child), column: int32(column)}
		return
	}
	b.nodes[at] = key | int64(child)<<childShift | mark | int64(column)
}

// gatherLeaves replaces the spans by values when every leaf of a tree has exactly one weight, all for the same target,
// as boosted trees have.
func (f *forest) gatherLeaves() {
	values := make([]float32, len(f.spans))
	target := make([]int32, len(f.spec.roots))
	for bi := range f.blocks {
		b := &f.blocks[bi]
		for t := range b.trees {
			end := len(f.spans)
			if t+1 < b.trees {
				end = b.base + int(b.roots[t+1])
			} else if bi+1 < len(f.blocks) {
				end = f.blocks[bi+1].base
			}
			target[b.first+t] = -1
			for p := b.base + int(b.roots[t]); p < end; p++ {
				if !b.isLeaf(p - b.base) {
					continue
				}
				s := f.spans[p]
				if s.count == 0 && f.spec.targets == 1 {
					continue
				}
				if s.count != 1 {
					return
				}
				w := f.weight[s.first]
				if target[b.first+t] >= 0 && target[b.first+t] != int32(w.target) {
					return
				}
				target[b.first+t], values[p] = int32(w.target), w.value
			}
		}
	}
	f.values = values
	for _, t := range target {
		if t > 0 {
			f.target = target
		}
	}
}

func (b *block) isLeaf(at int) bool {
	if b.wide != nil {
		return b.wide[at].child == int32(at)
	}
	return b.nodes[at]&leafMark != 0
}
