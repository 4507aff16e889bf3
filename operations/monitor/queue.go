package monitor

import (
	"sync"

	"github.com/stoaproject/stoa"
)

// A Series is one version in one role: what predictions and judgements are counted by.
type Series struct {
	Model   string    `json:"model"`
	Version int       `json:"version"`
	Role    stoa.Role `json:"role"`
}

// An entry is one prediction in a batch. Its id and decisions lie in the batch's arenas.
type entry struct {
	series       Series
	at           int64 // microseconds since 1970
	idFrom, idTo int
	from, to     int // decisions
}

// entrySize approximates the bytes of an entry itself and of one decision, for the bound of the queue.
const (
	entrySize    = 80
	decisionSize = 16
)

// A batch is an arena of predictions that is written and then used again.
type batch struct {
	ids       []byte
	entries   []entry
	decisions []string
	written   int // entries already durable
}

func (b *batch) bytes() int {
	return len(b.ids) + len(b.entries)*entrySize + len(b.decisions)*decisionSize
}

func (b *batch) reset() {
	clear(b.decisions) // a decision outside the known classes would otherwise live on
	clear(b.entries)
	b.ids, b.entries, b.decisions, b.written = b.ids[:0], b.entries[:0], b.decisions[:0], 0
}

// A queue collects predictions until the flusher takes them. It is bounded in bytes.
type queue struct {
	limit int
	ready chan struct{} // holds one token when the queue is half full

	mu      sync.Mutex
	filling batch
	spare   batch // the arena that was written last
	dropped int64
}

// put copies a prediction into the queue, or drops it when the queue is full.
func (q *queue) put(id string, series Series, d decisions, at int64) {
	q.mu.Lock()
	b := &q.filling
	size := b.bytes()
	if size+len(id)+entrySize+d.rows*decisionSize > q.limit {
		q.dropped++
		q.mu.Unlock()
		q.wake()
		return
	}
	e := entry{series: series, at: at, idFrom: len(b.ids), from: len(b.decisions)}
	b.ids = append(b.ids, id...)
	for row := range d.rows {
		b.decisions = append(b.decisions, d.at(row))
	}
	e.idTo, e.to = len(b.ids), len(b.decisions)
	b.entries = append(b.entries, e)
	q.mu.Unlock()
	if size > q.limit/2 {
		q.wake()
	}
}

func (q *queue) wake() {
	select {
	case q.ready <- struct{}{}:
	default:
	}
}

// take returns what the queue holds, and nil when it is empty. Give the batch back once it is written.
func (q *queue) take() *batch {
	q.mu.Lock()
	defer q.mu.Unlock()
	if len(q.filling.entries) == 0 {
		return nil
	}
	full := q.filling
	q.filling, q.spare = q.spare, batch{}
	return &full
}

// give returns a written batch, so that its memory is used again.
func (q *queue) give(b *batch) {
	b.reset()
	q.mu.Lock()
	defer q.mu.Unlock()
	q.spare = *b
}

func (q *queue) stats() (queued int, dropped int64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.filling.entries), q.dropped
}
