package gateway

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"sync/atomic"
)

// An idSource makes the ids of predictions whose client gave none: 128 random bits, drawn once per process, and a
// counter. They are unique without a lock or a system call, and cannot be guessed from outside; a client that has seen
// one can guess its neighbours, so that an id gives no right to anything.
type idSource struct {
	prefix [33]byte // hexadecimal digits and a dash
	last   atomic.Uint64
}

func newIDSource() *idSource {
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails
	s := new(idSource)
	hex.Encode(s.prefix[:], random[:])
	s.prefix[32] = '-'
	return s
}

// next returns a new id, such as "7f0c…e1-000000000000002a".
func (s *idSource) next() string {
	var count [8]byte
	binary.BigEndian.PutUint64(count[:], s.last.Add(1))
	var id [49]byte
	copy(id[:], s.prefix[:])
	hex.Encode(id[33:], count[:])
	return string(id[:])
}
