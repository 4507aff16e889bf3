package monitor

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/stoaproject/stoa/store"
)

// segmentSize is how many predictions share a row of the database. A row for each prediction, with an index by id,
// costs 13 µs of CPU a prediction, a fifth of serving it; a shared one costs less than 1 µs.
const segmentSize = 512

// A filter is a Bloom filter of the prediction ids of a segment: 16 bits for each, of which 6 are set, so that one of
// some 1,000 ids that are not there seems to be. Filters stay in memory, 2 MB for a million predictions.
type filter [segmentSize * 16 / 64]uint64

// bits calls f with the place of each bit that belongs to an id's slot.
func (*filter) bits(slot int64, f func(word int, mask uint64) bool) bool {
	const probes = 6
	h := uint64(slot)
	h = (h ^ h>>33) * 0xff51afd7ed558ccd // FNV's high bits are weak; mix as MurmurHash3 does
	step := h>>32 | 1
	for range probes {
		bit := h % (segmentSize * 16)
		if !f(int(bit/64), 1<<(bit%64)) {
			return false
		}
		h += step
	}
	return true
}

func (f *filter) add(slot int64) {
	f.bits(slot, func(word int, mask uint64) bool { f[word] |= mask; return true })
}

// may reports whether an id with this slot may be in the segment.
func (f *filter) may(slot int64) bool {
	return f.bits(slot, func(word int, mask uint64) bool { return f[word]&mask != 0 })
}

func (f *filter) encode() []byte {
	text := make([]byte, 0, len(f)*8)
	for _, word := range f {
		text = binary.LittleEndian.AppendUint64(text, word)
	}
	return text
}

func (f *filter) decode(text []byte) error {
	if len(text) != len(f)*8 {
		return fmt.Errorf("a filter of %d bytes", len(text))
	}
	for i := range f {
		f[i] = binary.LittleEndian.Uint64(text[i*8:])
	}
	return nil
}

// A segment is what memory knows of a row of predictions. It is never changed, only replaced.
type segment struct {
	seq     int64
	entries int
	waiting int64 // rows of its predictions without a label
	last    int64 // time of its newest prediction
	filter  filter
}

// segments is the list of all segments, oldest first, and the body of the last one while it is being filled. The list
// is never changed in place: a transaction works on a copy that replaces it on commit.
type segments struct {
	list []*segment
	tail []byte // nil when the next prediction begins a new segment
}

func (s segments) clone() segments {
	return segments{list: slices.Clone(s.list), tail: slices.Clip(s.tail)}
}

// loadSegments reads everything but the bodies.
func loadSegments(ctx context.Context, tx *store.Tx) (segments, error) {
	rows, err := tx.Query(ctx, `SELECT seq, entries, waiting, last_at, filter FROM monitor_segments ORDER BY seq`)
	if err != nil {
		return segments{}, fmt.Errorf("read segments: %w", err)
	}
	defer rows.Close()
	var s segments
	for rows.Next() {
		var (
			g    segment
			text []byte
		)
		if err := rows.Scan(&g.seq, &g.entries, &g.waiting, &g.last, &text); err != nil {
			return segments{}, fmt.Errorf("read segments: %w", err)
		}
		if err := g.filter.decode(text); err != nil {
			return segments{}, fmt.Errorf("segment %d: %w", g.seq, err)
		}
		s.list = append(s.list, &g)
	}
	return s, rows.Err()
}

// A stored is one prediction of a segment.
type stored struct {
	id        string
	number    int64 // of its series
	at        int64
	decisions []string
}

// appendStored encodes a prediction: lengths and numbers as varints, texts as they are.
func appendStored(body []byte, id []byte, number, at int64, decisions []string) []byte {
	body = binary.AppendUvarint(body, uint64(len(id)))
	body = append(body, id...)
	body = binary.AppendUvarint(body, uint64(number))
	body = binary.AppendVarint(body, at)
	body = binary.AppendUvarint(body, uint64(len(decisions)))
	for _, d := range decisions {
		body = binary.AppendUvarint(body, uint64(len(d)))
		body = append(body, d...)
	}
	return body
}

var errSegment = errors.New("the segment is damaged")

// scanStored calls f with each prediction of a body until it returns false. Decisions are decoded only when f asks for
// them by returning true from want.
func scanStored(body []byte, want func(id []byte) bool, f func(stored)) error {
	r := segmentReader{rest: body}
	for len(r.rest) > 0 && !r.bad {
		id := r.text()
		wanted := want(id)
		p := stored{number: int64(r.number())}
		at, n := binary.Varint(r.rest)
		r.skip(n)
		p.at = at
		rows := r.number()
		if rows > uint64(len(r.rest)) { // each decision has a byte at least
			return errSegment
		}
		for range rows {
			d := r.text()
			if wanted {
				p.decisions = append(p.decisions, string(d))
			}
		}
		if wanted && !r.bad {
			p.id = string(id)
			f(p)
		}
	}
	if r.bad {
		return errSegment
	}
	return nil
}

// A segmentReader reads a body and remembers when it was not one.
type segmentReader struct {
	rest []byte
	bad  bool
}

func (r *segmentReader) skip(n int) {
	if n <= 0 || n > len(r.rest) {
		r.bad, r.rest = true, nil
		return
	}
	r.rest = r.rest[n:]
}

func (r *segmentReader) number() uint64 {
	v, n := binary.Uvarint(r.rest)
	r.skip(n)
	return v
}

func (r *segmentReader) text() []byte {
	n := r.number()
	if n > uint64(len(r.rest)) {
		r.bad, r.rest = true, nil
		return nil
	}
	text := r.rest[:n]
	r.rest = r.rest[n:]
	return text
}
