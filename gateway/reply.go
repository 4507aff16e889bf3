package gateway

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway/oip"
)

// StatusCanceled is the status, known from nginx, of a request whose client went away.
const StatusCanceled = 499

// statuses is the status of every reason. It is read only.
var statuses = map[stoa.Reason]int{
	stoa.ReasonUnauthenticated:    http.StatusUnauthorized,
	stoa.ReasonForbidden:          http.StatusForbidden,
	stoa.ReasonMalformed:          http.StatusBadRequest,
	stoa.ReasonTooLarge:           http.StatusRequestEntityTooLarge,
	stoa.ReasonBadShape:           http.StatusBadRequest,
	stoa.ReasonBadDatatype:        http.StatusBadRequest,
	stoa.ReasonBadInput:           http.StatusBadRequest,
	stoa.ReasonNotFinite:          http.StatusBadRequest,
	stoa.ReasonUnknownEndpoint:    http.StatusNotFound,
	stoa.ReasonUnknownModel:       http.StatusNotFound,
	stoa.ReasonUnknownVersion:     http.StatusNotFound,
	stoa.ReasonUnknownLabel:       http.StatusNotFound,
	stoa.ReasonDuplicateLabel:     http.StatusConflict,
	stoa.ReasonNotFound:           http.StatusNotFound,
	stoa.ReasonConflict:           http.StatusConflict,
	stoa.ReasonInvalid:            http.StatusBadRequest,
	stoa.ReasonUnsupported:        http.StatusBadRequest,
	stoa.ReasonNoVersion:          http.StatusServiceUnavailable,
	stoa.ReasonOverloaded:         http.StatusServiceUnavailable,
	stoa.ReasonDraining:           http.StatusServiceUnavailable,
	stoa.ReasonStorageFull:        http.StatusInsufficientStorage,
	stoa.ReasonStorageReadOnly:    http.StatusServiceUnavailable,
	stoa.ReasonStorageLocked:      http.StatusServiceUnavailable,
	stoa.ReasonStorageUnavailable: http.StatusServiceUnavailable,
	stoa.ReasonTimeout:            http.StatusGatewayTimeout,
	stoa.ReasonUnreachable:        http.StatusBadGateway,
	stoa.ReasonTargetError:        http.StatusBadGateway,
	stoa.ReasonBreakerOpen:        http.StatusServiceUnavailable,
	stoa.ReasonRetriesExhausted:   http.StatusServiceUnavailable,
	stoa.ReasonNoCandidate:        http.StatusServiceUnavailable,
	stoa.ReasonCanceled:           StatusCanceled,
	stoa.ReasonInternal:           http.StatusInternalServerError,
}

// Status returns the HTTP status that goes with a reason, 500 for one that is not in the closed set.
func Status(reason stoa.Reason) int {
	if s, ok := statuses[reason]; ok {
		return s
	}
	return http.StatusInternalServerError
}

// jsonType is shared by all replies; net/http reads it only.
var jsonType = []string{"application/json"}

// AppendError writes the body of an error onto the end of dst: {"error", "reason" and, unless empty, "hint"}. The cause
// of the refusal is left out.
func AppendError(dst []byte, r *stoa.Refusal) []byte {
	dst = append(dst, `{"error":`...)
	dst = oip.AppendString(dst, r.Message)
	dst = append(dst, `,"reason":`...)
	dst = oip.AppendString(dst, string(r.Reason))
	if r.Hint != "" {
		dst = append(dst, `,"hint":`...)
		dst = oip.AppendString(dst, r.Hint)
	}
	return append(dst, '}')
}

// WriteError answers a request with an error. A *[stoa.Refusal] anywhere in err says what the client is told; any other
// error is told as internal, without its text.
func WriteError(w http.ResponseWriter, err error) {
	r := refusalOf(err, false)
	writeRefusal(w, Status(r.Reason), r)
}

// writeRefusal answers with a refusal and a status, and the headers that go with them.
func writeRefusal(w http.ResponseWriter, status int, r *stoa.Refusal) {
	h := w.Header()
	h["Content-Type"] = jsonType
	if status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", "Bearer")
	}
	if after := retryAfter(status, r); after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	if r.Reason == stoa.ReasonDraining {
		h.Set("Connection", "close")
	}
	w.WriteHeader(status)
	_, _ = w.Write(AppendError(make([]byte, 0, 256), r)) // the client may be gone
}

// retryAfter is when to try again: what the refusal says, and a second for any other 503.
func retryAfter(status int, r *stoa.Refusal) time.Duration {
	if r.RetryAfter > 0 || status != http.StatusServiceUnavailable {
		return r.RetryAfter
	}
	return time.Second
}

func methodNotAllowed(w http.ResponseWriter, r *http.Request, allow string) {
	status, refused := wrongMethod(w, r, allow)
	writeRefusal(w, status, refused)
}

// wrongMethod says which methods the path takes.
func wrongMethod(w http.ResponseWriter, r *http.Request, allow string) (int, *stoa.Refusal) {
	w.Header().Set("Allow", allow)
	return http.StatusMethodNotAllowed, &stoa.Refusal{
		Reason: stoa.ReasonUnsupported, Message: fmt.Sprintf("the method %.16s does not fit the path", r.Method),
		Hint: "use " + allow,
	}
}

// marshal encodes a value of this package's own; none of them can fail.
func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("gateway: encode %T: %v", v, err))
	}
	return b
}

func stack() string { return string(debug.Stack()) }
