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

// walkNarrow takes lanes trees down together, so that the loads of one hide the latency of the others. Conversions to
// uint16 and uint8 keep the indexes within the arrays, so that the compiler needs no bounds checks. The step
//
//	if cell > word { i++ }
//
// compiles to a flag and an addition, not to a branch.
func (b *block) walkNarrow(nodes *[maxBlockNodes]int64, cells *[maxNarrowColumns]int64, leaves []int32) {
	roots, least, most := b.roots, b.least, b.most
	leaves = leaves[:len(roots)]
	for g := 0; lanes*g+3 < len(roots) && g < len(most) && g < len(least); g++ {
		r := roots[lanes*g : lanes*g+4 : lanes*g+4]
		i0, i1, i2, i3 := uint16(r[0]), uint16(r[1]), uint16(r[2]), uint16(r[3])
		for d := most[g]; d > 0; d-- {
			n0, n1, n2, n3 := nodes[i0], nodes[i1], nodes[i2], nodes[i3]
			i0 = uint16(n0>>childShift) + above(cells[uint8(n0)], n0)
			i1 = uint16(n1>>childShift) + above(cells[uint8(n1)], n1)
			i2 = uint16(n2>>childShift) + above(cells[uint8(n2)], n2)
			i3 = uint16(n3>>childShift) + above(cells[uint8(n3)], n3)
		}
		l := leaves[lanes*g : lanes*g+4 : lanes*g+4]
		l[0], l[1], l[2], l[3] = int32(i0), int32(i1), int32(i2), int32(i3)
	}
}

// above returns 1 when cell is above the key of word, and 0 otherwise.
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
