package fallback

import (
	"context"
	"errors"

	"github.com/stoaproject/stoa"
)

// A Fault says what follows when an attempt fails for some reason.
type Fault struct {
	Next  bool // the next candidate is asked
	Trip  bool // the candidate's breaker counts it as a failure
	Retry bool // the same candidate may be asked again
}

// Faults is the table of what each reason means; it is read only. A reason that is not in it is the client's: it ends
// the call at once, is not retried, does not fall back and does not count against the candidate.
var Faults = map[stoa.Reason]Fault{
	// The candidate fails now and may not fail in a moment.
	stoa.ReasonTimeout:     {Next: true, Trip: true, Retry: true},
	stoa.ReasonUnreachable: {Next: true, Trip: true, Retry: true},
	stoa.ReasonTargetError: {Next: true, Trip: true, Retry: true},
	stoa.ReasonOverloaded:  {Next: true, Trip: true, Retry: true},

	// The candidate fails, and asking it again at once is of no use.
	stoa.ReasonInternal:           {Next: true, Trip: true},
	stoa.ReasonDraining:           {Next: true, Trip: true},
	stoa.ReasonInvalid:            {Next: true, Trip: true},
	stoa.ReasonStorageFull:        {Next: true, Trip: true},
	stoa.ReasonStorageReadOnly:    {Next: true, Trip: true},
	stoa.ReasonStorageLocked:      {Next: true, Trip: true},
	stoa.ReasonStorageUnavailable: {Next: true, Trip: true},

	// There is nothing behind the candidate that could have failed.
	stoa.ReasonNoVersion:        {Next: true},
	stoa.ReasonUnknownModel:     {Next: true},
	stoa.ReasonUnknownVersion:   {Next: true},
	stoa.ReasonBreakerOpen:      {Next: true},
	stoa.ReasonRetriesExhausted: {Next: true},
	stoa.ReasonNoCandidate:      {Next: true},
}

// absent are the reasons of a first candidate that tell a client more than that no other could answer either: nothing
// has failed, there is just nothing yet.
var absent = map[stoa.Reason]bool{
	stoa.ReasonNoVersion: true, stoa.ReasonUnknownModel: true, stoa.ReasonUnknownVersion: true,
}

// classify turns the error of an attempt into a refusal with a reason. The attempt's own deadline is a timeout of the
// candidate; the call's own end is the call's.
func classify(ctx context.Context, err error) *stoa.Refusal {
	if over := ended(ctx); over != nil {
		return over
	}
	var r *stoa.Refusal
	switch {
	case errors.As(err, &r) && !misplaced[r.Reason]:
		return r
	case r == nil && errors.Is(err, context.DeadlineExceeded):
		return timedOut(err)
	}
	return &stoa.Refusal{Reason: stoa.ReasonTargetError, Message: "the target failed", Err: err}
}

// misplaced are reasons that cannot come from behind a policy: the caller has been admitted, and is still there. A
// target that gives one refuses us, which is its own failure.
var misplaced = map[stoa.Reason]bool{
	stoa.ReasonUnauthenticated: true, stoa.ReasonForbidden: true, stoa.ReasonCanceled: true,
}

// ended returns why a call is over, or nil when it goes on.
func ended(ctx context.Context) *stoa.Refusal {
	err := ctx.Err()
	switch {
	case err == nil:
		return nil
	case errors.Is(err, context.DeadlineExceeded):
		return &stoa.Refusal{Reason: stoa.ReasonTimeout, Message: "the call's deadline has passed", Err: err}
	}
	return &stoa.Refusal{Reason: stoa.ReasonCanceled, Message: "the client went away", Err: err}
}

func timedOut(err error) *stoa.Refusal {
	return &stoa.Refusal{Reason: stoa.ReasonTimeout, Message: "the target did not answer in time", Err: err}
}

func reasonOf(r *stoa.Refusal) stoa.Reason {
	if r == nil {
		return ""
	}
	return r.Reason
}
