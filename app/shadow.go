package app

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/stoaproject/stoa"
)

// shadowQueue bounds the calls that wait for their shadow answer.
const shadowQueue = 1024

// shadows answers calls a second time, with the version that the caller did not get, in the background: the caller
// never waits for it and never sees it. When the queue is full a call goes without its shadow, and is counted.
type shadows struct {
	record  func(*stoa.Call, *stoa.Answer)
	lg      *slog.Logger
	queue   chan shadow
	open    atomic.Int64 // calls offered and not yet recorded
	dropped atomic.Int64
	wg      sync.WaitGroup

	mu     sync.RWMutex // held for reading by offer, so that no call is offered to a closed queue
	closed bool
}

type shadow struct {
	call *stoa.Call
	by   *served
}

func newShadows(lg *slog.Logger, record func(*stoa.Call, *stoa.Answer)) *shadows {
	s := &shadows{record: record, lg: lg, queue: make(chan shadow, shadowQueue)}
	s.wg.Add(1)
	go s.run()
	return s
}

// offer asks for by's answer to call. It does not block, and keeps a copy of what it needs of call.
func (s *shadows) offer(call *stoa.Call, by *served) {
	if call.Unrecorded {
		return
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed || len(s.queue) == cap(s.queue) {
		s.dropped.Add(1)
		return
	}
	copied := *call
	copied.Inputs = slices.Clone(call.Inputs)
	copied.Outputs = nil
	s.open.Add(1)
	select {
	case s.queue <- shadow{&copied, by}:
	default:
		s.open.Add(-1)
		s.dropped.Add(1)
	}
}

func (s *shadows) run() {
	defer s.wg.Done()
	for one := range s.queue {
		answer, err := one.by.infer(one.call, "shadow", stoa.RoleShadow)
		if err != nil {
			s.lg.Warn("shadow failed", "model", one.by.version.Model, "version", one.by.version.Number, "err", err)
		} else {
			s.record(one.call, answer)
		}
		s.open.Add(-1)
	}
}

// idle reports that every call offered has been answered or dropped.
func (s *shadows) idle() bool { return s.open.Load() == 0 }

// close answers what is queued and stops.
func (s *shadows) close(context.Context) error {
	s.mu.Lock()
	s.closed = true
	close(s.queue)
	s.mu.Unlock()
	s.wg.Wait()
	if n := s.dropped.Load(); n > 0 {
		s.lg.Warn("calls went without their shadow, because the queue was full", "calls", n)
	}
	return nil
}
