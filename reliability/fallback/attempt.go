package fallback

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stoaproject/stoa"
)

// A job is an attempt on a goroutine of the pool. It is used again unless it was given up on.
type job struct {
	ctx    *attemptContext
	target stoa.Target
	call   *stoa.Call
	health *health

	answer *stoa.Answer
	err    error

	settled atomic.Bool   // set by whichever is first: the worker with a result, or the caller that gives up
	done    chan struct{} // one message, when the worker was first
	timer   *time.Timer   // the caller's
}

// run makes the attempt, on the worker's goroutine.
func (j *job) run() {
	j.answer, j.err = guarded(j.ctx, j.target, j.call)
	if j.settled.CompareAndSwap(false, true) {
		j.done <- struct{}{}
		return
	}
	j.health.abandoned.Add(-1)
}

// attempt makes one attempt at one candidate.
func (p *Policy) attempt(ctx context.Context, c *candidate, call *stoa.Call) (*stoa.Answer, *stoa.Refusal) {
	if broken := c.health.broken.Load(); broken != nil {
		return nil, &stoa.Refusal{Reason: broken.reason, Message: "the candidate " + c.Name + " fails on purpose"}
	}
	var answer *stoa.Answer
	var err error
	if c.Timeout <= 0 {
		answer, err = guarded(ctx, c.Target, call)
	} else {
		answer, err = p.timed(ctx, c, call)
	}
	if err != nil {
		return nil, classify(ctx, err)
	}
	if answer.Target == "" {
		answer.Target = c.Name
	}
	return answer, nil
}

// timed makes an attempt on a goroutine of the pool and waits for it no longer than the candidate's timeout.
func (p *Policy) timed(ctx context.Context, c *candidate, call *stoa.Call) (*stoa.Answer, error) {
	j, _ := p.workers.spare.Get().(*job)
	if j == nil {
		j = &job{done: make(chan struct{}, 1), timer: time.NewTimer(c.Timeout)}
	} else {
		j.timer.Reset(c.Timeout)
	}
	j.ctx = &attemptContext{parent: ctx, deadline: time.Now().Add(c.Timeout)}
	j.target, j.call, j.health = c.Target, call, c.health
	p.workers.submit(j)
	select {
	case <-j.done:
		return p.collect(j)
	case <-j.timer.C:
	case <-ctx.Done():
	}
	c.health.abandoned.Add(1)
	if !j.settled.CompareAndSwap(false, true) {
		c.health.abandoned.Add(-1) // the result came at the last moment
		<-j.done
		return p.collect(j)
	}
	j.timer.Stop()
	// The attempt's context ends by itself, and for the right reason: its deadline is now, or the call's end is its own.
	if over := ended(ctx); over != nil {
		p.tell(Abandoned, c, over.Reason)
		return nil, over
	}
	p.tell(Abandoned, c, stoa.ReasonTimeout)
	return nil, context.DeadlineExceeded
}

// collect takes the result of a job that is done and keeps the job for another attempt.
func (p *Policy) collect(j *job) (*stoa.Answer, error) {
	answer, err := j.answer, j.err
	j.timer.Stop()
	j.ctx.release()
	j.ctx, j.target, j.call, j.health, j.answer, j.err = nil, nil, nil, nil, nil, nil
	j.settled.Store(false)
	p.workers.spare.Put(j)
	return answer, err
}

// guarded asks a target and turns a panic, or no answer at all, into an error.
func guarded(ctx context.Context, t stoa.Target, call *stoa.Call) (answer *stoa.Answer, err error) {
	defer func() {
		if v := recover(); v != nil {
			answer, err = nil, &stoa.Refusal{
				Reason: stoa.ReasonTargetError, Message: "the target failed",
				Err: fmt.Errorf("panic: %v\n%s", v, debug.Stack()),
			}
		}
	}()
	answer, err = t.Infer(ctx, call)
	if err == nil && answer == nil {
		err = &stoa.Refusal{Reason: stoa.ReasonTargetError, Message: "the target gave neither an answer nor an error"}
	}
	return answer, err
}

// maxIdle is the number of goroutines that a policy keeps for later.
const maxIdle = 128

// workers are a policy's goroutines. One that waits takes the next job; when none waits, a new one starts.
type workers struct {
	jobs  chan *job
	quit  chan struct{}
	once  sync.Once
	idle  atomic.Int64
	spare sync.Pool // of *job
}

func newWorkers() *workers {
	return &workers{jobs: make(chan *job), quit: make(chan struct{})}
}

// submit hands over a job without waiting.
func (w *workers) submit(j *job) {
	select {
	case w.jobs <- j:
	default:
		go w.work(j)
	}
}

func (w *workers) work(j *job) {
	for {
		j.run()
		if w.idle.Add(1) > maxIdle {
			w.idle.Add(-1)
			return
		}
		select {
		case j = <-w.jobs:
			w.idle.Add(-1)
		case <-w.quit:
			return
		}
	}
}

func (w *workers) close() { w.once.Do(func() { close(w.quit) }) }

// An attemptContext is the call's context with the deadline of one attempt. It costs one small allocation as long as
// nobody asks for its channel, which a target in this process seldom does; a real context is made when somebody does.
type attemptContext struct {
	parent   context.Context
	deadline time.Time

	mu     sync.Mutex
	real   context.Context
	cancel context.CancelFunc
	over   bool
}

// Deadline returns the earlier of the attempt's and the call's.
func (a *attemptContext) Deadline() (time.Time, bool) {
	if d, ok := a.parent.Deadline(); ok && d.Before(a.deadline) {
		return d, true
	}
	return a.deadline, true
}

// Done returns a channel that closes at the deadline, when the call ends or when the attempt is over.
func (a *attemptContext) Done() <-chan struct{} {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.real == nil {
		a.real, a.cancel = context.WithDeadline(a.parent, a.deadline)
		if a.over {
			a.cancel()
		}
	}
	return a.real.Done()
}

// Err returns why the context is done, or nil.
func (a *attemptContext) Err() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.real != nil:
		return a.real.Err()
	case a.parent.Err() != nil:
		return a.parent.Err()
	case !time.Now().Before(a.deadline):
		return context.DeadlineExceeded
	case a.over:
		return context.Canceled
	}
	return nil
}

// Value returns the call's value for the key. It asks the real context when there is one, so that a context derived
// from this one finds it and need not start a goroutine.
func (a *attemptContext) Value(key any) any {
	a.mu.Lock()
	from := a.parent
	if a.real != nil {
		from = a.real
	}
	a.mu.Unlock()
	return from.Value(key)
}

// release ends the context.
func (a *attemptContext) release() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.over = true
	if a.cancel != nil {
		a.cancel()
	}
}
