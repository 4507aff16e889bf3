package runtime

// walk descends every tree of the block for one row and writes the position of the leaf each ends on, counted within
// the block. cells has room for 256 columns; leaves has room for the padded roots.
func (b *block) walk(cells []int64, leaves []int32) {
	switch {
	case b.wide != nil:
		b.walkWide(cells, leaves)
	default:
		b.walkNarrow((*[maxBlockNodes]int64)(b.nodes), (*[maxNarrowColumns]int64)(cells), leaves)
	}
}

// walkNarrow takes lanes trees down together, so that the loads of one hide the latency of the others.
func (b *block) walkNarrow(nodes *[maxBlockNodes]int64, cells *[maxNarrowColumns]int64, leaves []int32) {
	roots := b.roots
	leaves = leaves[:len(roots)]
	for g, most := range b.most {
		r, l := roots[lanes*g:][:lanes:lanes], leaves[lanes*g:][:lanes:lanes]
		r0, r1, r2, r3 := r[0], r[1], r[2], r[3]
		for {
			r0, r1, r2, r3 = descend(nodes, cells, r0, r1, r2, r3, min(most, stride))
			if most -= stride; most <= 0 || allLeaves(nodes, r0, r1, r2, r3) {
				break
			}
		}
		l[0], l[1], l[2], l[3] = r0, r1, r2, r3
	}
}

// stride is the number of steps after which walkNarrow looks whether all its trees have ended. Most trees are not that
// deep; of those that are, most rows end long before the deepest leaf.
const stride = 8

func allLeaves(nodes *[maxBlockNodes]int64, i0, i1, i2, i3 int32) bool {
	return nodes[uint16(i0)]&nodes[uint16(i1)]&nodes[uint16(i2)]&nodes[uint16(i3)]&leafMark != 0
}

// descend takes depth steps from four nodes. Conversions to uint16 and uint8 keep the indexes within the arrays, so
// that the compiler needs no bounds checks. It is not inlined so that the loop has all registers to itself.
//
//go:noinline
func descend(nodes *[maxBlockNodes]int64, cells *[maxNarrowColumns]int64, r0, r1, r2, r3, depth int32) (
	int32, int32, int32, int32) {
	i0, i1, i2, i3 := uint16(r0), uint16(r1), uint16(r2), uint16(r3)
	for ; depth > 0; depth-- {
		n0, n1 := nodes[i0], nodes[i1]
		i0 = uint16(n0>>childShift) + above(cells[uint8(n0)], n0)
		i1 = uint16(n1>>childShift) + above(cells[uint8(n1)], n1)
		n2, n3 := nodes[i2], nodes[i3]
		i2 = uint16(n2>>childShift) + above(cells[uint8(n2)], n2)
		i3 = uint16(n3>>childShift) + above(cells[uint8(n3)], n3)
	}
	return int32(i0), int32(i1), int32(i2), int32(i3)
}

// above returns 1 when cell is above the key of word, and 0 otherwise. It compiles to a flag and not to a branch, which
// would be mispredicted every other time.
func above(cell, word int64) uint16 {
	var one uint16
	if cell > word {
		one = 1
	}
	return one
}

// walkWide is walkNarrow for blocks of wide nodes.
func (b *block) walkWide(cells []int64, leaves []int32) {
	nodes := b.wide
	for g, most := range b.most {
		i := [lanes]int32(b.roots[lanes*g:])
		for d := most; d > 0; d-- {
			for k := range i {
				n := &nodes[i[k]]
				next := n.child
				if cells[n.column] > n.key {
					next++
				}
				i[k] = next
			}
		}
		copy(leaves[lanes*g:], i[:])
	}
}
