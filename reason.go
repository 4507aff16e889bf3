package stoa

import "time"

// A Reason says why a call was refused, failed or answered by other than its first candidate. The set is closed: the
// reason is the label of the metric, the field of the log and the code of the error.
type Reason string

// Reasons for refusing a request, and for failing one.
const (
	ReasonUnauthenticated    Reason = "unauthenticated"     // no key, or one that is not known
	ReasonForbidden          Reason = "forbidden"           // the caller may not do this
	ReasonMalformed          Reason = "malformed"           // the body is not what the wire format says
	ReasonTooLarge           Reason = "too_large"           // the body or a tensor exceeds its limit
	ReasonBadShape           Reason = "bad_shape"           // a tensor's shape does not fit the model or its data
	ReasonBadDatatype        Reason = "bad_datatype"        // a tensor's datatype does not fit the model or its data
	ReasonBadInput           Reason = "bad_input"           // an input is missing, unknown or given twice
	ReasonNotFinite          Reason = "not_finite"          // NaN or infinity where the model does not take it
	ReasonUnknownEndpoint    Reason = "unknown_endpoint"    // no such endpoint
	ReasonUnknownModel       Reason = "unknown_model"       // no such model
	ReasonUnknownVersion     Reason = "unknown_version"     // no such version or alias
	ReasonUnknownLabel       Reason = "unknown_label"       // a label for a prediction that is not known
	ReasonDuplicateLabel     Reason = "duplicate_label"     // a second label for the same row of a prediction
	ReasonNotFound           Reason = "not_found"           // no such thing
	ReasonConflict           Reason = "conflict"            // the state does not allow it
	ReasonInvalid            Reason = "invalid"             // the artifact, file or value is not valid
	ReasonUnsupported        Reason = "unsupported"         // valid, but nothing here can do it
	ReasonNoVersion          Reason = "no_version"          // the endpoint's model has no version in service yet
	ReasonOverloaded         Reason = "overloaded"          // a bounded queue is full
	ReasonDraining           Reason = "draining"            // the process is stopping
	ReasonStorageFull        Reason = "storage_full"        // the disk is full
	ReasonStorageReadOnly    Reason = "storage_read_only"   // the data directory cannot be written
	ReasonStorageLocked      Reason = "storage_locked"      // another process owns the data directory
	ReasonStorageUnavailable Reason = "storage_unavailable" // the database cannot be reached
	ReasonTimeout            Reason = "timeout"             // the target did not answer in time
	ReasonUnreachable        Reason = "unreachable"         // the target could not be reached
	ReasonTargetError        Reason = "target_error"        // the target failed
	ReasonBreakerOpen        Reason = "breaker_open"        // the target's circuit breaker is open
	ReasonRetriesExhausted   Reason = "retries_exhausted"   // the retry budget is spent
	ReasonNoCandidate        Reason = "no_candidate"        // every candidate failed
	ReasonCanceled           Reason = "canceled"            // the client went away
	ReasonInternal           Reason = "internal"            // a fault of Stoa's own
)

// A Refusal is an error with a reason from the closed set. Message and Hint are shown to the client; Err is not.
type Refusal struct {
	Reason     Reason
	Message    string        // what is wrong
	Hint       string        // what to do next; may be empty
	RetryAfter time.Duration // when to try again; 0 when trying again does not help
	Err        error         // cause, for the log; may be nil
}

// Error returns the message, the hint and the cause.
func (r *Refusal) Error() string {
	s := string(r.Reason) + ": " + r.Message
	if r.Hint != "" {
		s += " (" + r.Hint + ")"
	}
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (r *Refusal) Unwrap() error { return r.Err }
