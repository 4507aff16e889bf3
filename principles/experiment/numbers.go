package experiment

import "math/bits"

// numbers is a set of numbers from 0, one bit each.
type numbers struct{ words []uint64 }

func (n *numbers) insert(id int64) {
	word := int(id >> 6)
	for word >= len(n.words) {
		n.words = append(n.words, make([]uint64, max(word+1-len(n.words), len(n.words), 16))...)
	}
	n.words[word] |= 1 << (id & 63)
}

func (n *numbers) has(id int64) bool {
	word := int(id >> 6)
	return word < len(n.words) && n.words[word]&(1<<(id&63)) != 0
}

// keep removes what other does not have.
func (n *numbers) keep(other *numbers) {
	n.words = n.words[:min(len(n.words), len(other.words))]
	for i := range n.words {
		n.words[i] &= other.words[i]
	}
}

// remove removes what other has.
func (n *numbers) remove(other *numbers) {
	for i := range min(len(n.words), len(other.words)) {
		n.words[i] &^= other.words[i]
	}
}

// add inserts what other has.
func (n *numbers) add(other *numbers) {
	for len(n.words) < len(other.words) {
		n.words = append(n.words, 0)
	}
	for i, word := range other.words {
		n.words[i] |= word
	}
}

func (n *numbers) count() int {
	total := 0
	for _, word := range n.words {
		total += bits.OnesCount64(word)
	}
	return total
}

func (n *numbers) empty() bool {
	for _, word := range n.words {
		if word != 0 {
			return false
		}
	}
	return true
}

// list gives the numbers in order.
func (n *numbers) list() []int64 {
	all := make([]int64, 0, n.count())
	for i, word := range n.words {
		for ; word != 0; word &= word - 1 {
			all = append(all, int64(i)<<6+int64(bits.TrailingZeros64(word)))
		}
	}
	return all
}
