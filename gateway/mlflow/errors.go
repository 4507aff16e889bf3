package mlflow

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/stoaproject/stoa"
)

// A verdict is how the wire tells a reason.
type verdict struct {
	code   string
	status int
}

// verdicts is the verdict on every reason. The client retries 408, 429 and 5xx other than 501 for minutes, so nothing
// that is the request's own fault may have one of those. It is read only.
var verdicts = map[stoa.Reason]verdict{
	stoa.ReasonUnauthenticated:    {"UNAUTHENTICATED", http.StatusUnauthorized},
	stoa.ReasonForbidden:          {"PERMISSION_DENIED", http.StatusForbidden},
	stoa.ReasonMalformed:          {"INVALID_PARAMETER_VALUE", http.StatusBadRequest},
	stoa.ReasonTooLarge:           {"INVALID_PARAMETER_VALUE", http.StatusBadRequest},
	stoa.ReasonBadShape:           {"INVALID_PARAMETER_VALUE", http.StatusBadRequest},
	stoa.ReasonBadDatatype:        {"INVALID_PARAMETER_VALUE", http.StatusBadRequest},
	stoa.ReasonBadInput:           {"INVALID_PARAMETER_VALUE", http.StatusBadRequest},
	stoa.ReasonNotFinite:          {"INVALID_PARAMETER_VALUE", http.StatusBadRequest},
	stoa.ReasonInvalid:            {"INVALID_PARAMETER_VALUE", http.StatusBadRequest},
	stoa.ReasonUnknownEndpoint:    {"ENDPOINT_NOT_FOUND", http.StatusNotFound},
	stoa.ReasonUnknownModel:       {"RESOURCE_DOES_NOT_EXIST", http.StatusNotFound},
	stoa.ReasonUnknownVersion:     {"RESOURCE_DOES_NOT_EXIST", http.StatusNotFound},
	stoa.ReasonUnknownLabel:       {"RESOURCE_DOES_NOT_EXIST", http.StatusNotFound},
	stoa.ReasonNotFound:           {"RESOURCE_DOES_NOT_EXIST", http.StatusNotFound},
	stoa.ReasonNoVersion:          {"RESOURCE_DOES_NOT_EXIST", http.StatusNotFound},
	stoa.ReasonConflict:           {"RESOURCE_ALREADY_EXISTS", http.StatusBadRequest},
	stoa.ReasonDuplicateLabel:     {"RESOURCE_ALREADY_EXISTS", http.StatusBadRequest},
	stoa.ReasonUnsupported:        {"NOT_IMPLEMENTED", http.StatusNotImplemented},
	stoa.ReasonOverloaded:         {"RESOURCE_EXHAUSTED", http.StatusTooManyRequests},
	stoa.ReasonDraining:           {"TEMPORARILY_UNAVAILABLE", http.StatusServiceUnavailable},
	stoa.ReasonStorageFull:        {"TEMPORARILY_UNAVAILABLE", http.StatusServiceUnavailable},
	stoa.ReasonStorageReadOnly:    {"TEMPORARILY_UNAVAILABLE", http.StatusServiceUnavailable},
	stoa.ReasonStorageLocked:      {"TEMPORARILY_UNAVAILABLE", http.StatusServiceUnavailable},
	stoa.ReasonStorageUnavailable: {"TEMPORARILY_UNAVAILABLE", http.StatusServiceUnavailable},
	stoa.ReasonTimeout:            {"TEMPORARILY_UNAVAILABLE", http.StatusServiceUnavailable},
	stoa.ReasonUnreachable:        {"TEMPORARILY_UNAVAILABLE", http.StatusServiceUnavailable},
	stoa.ReasonTargetError:        {"TEMPORARILY_UNAVAILABLE", http.StatusServiceUnavailable},
	stoa.ReasonBreakerOpen:        {"TEMPORARILY_UNAVAILABLE", http.StatusServiceUnavailable},
	stoa.ReasonRetriesExhausted:   {"TEMPORARILY_UNAVAILABLE", http.StatusServiceUnavailable},
	stoa.ReasonNoCandidate:        {"TEMPORARILY_UNAVAILABLE", http.StatusServiceUnavailable},
	stoa.ReasonCanceled:           {"CANCELLED", 499},
	stoa.ReasonInternal:           {"INTERNAL_ERROR", http.StatusInternalServerError},
}

func verdictOn(reason stoa.Reason) verdict {
	if v, ok := verdicts[reason]; ok {
		return v
	}
	return verdicts[stoa.ReasonInternal]
}

// StatusOf returns the HTTP status that goes with a reason, 500 for one that is not in the closed set.
func StatusOf(reason stoa.Reason) int { return verdictOn(reason).status }

// CodeOf returns the error code that goes with a reason, INTERNAL_ERROR for one that is not in the closed set.
func CodeOf(reason stoa.Reason) string { return verdictOn(reason).code }

// writeError answers with a refusal. Its cause is not told.
func writeError(w http.ResponseWriter, r *stoa.Refusal) {
	v := verdictOn(r.Reason)
	message := r.Message
	if r.Hint != "" {
		message += " (" + r.Hint + ")"
	}
	h := w.Header()
	h.Del("Content-Length")
	h.Set("Content-Type", "application/json")
	if v.status == http.StatusUnauthorized {
		h.Set("WWW-Authenticate", `Basic realm="mlflow"`)
	}
	after := r.RetryAfter
	if after <= 0 && v.status == http.StatusServiceUnavailable {
		after = time.Second
	}
	if after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(after.Seconds()))))
	}
	if r.Reason == stoa.ReasonDraining {
		h.Set("Connection", "close")
	}
	w.WriteHeader(v.status)
	body, err := json.Marshal(struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}{v.code, message})
	if err != nil {
		panic(err) // two strings always encode
	}
	_, _ = w.Write(body) // the client may be gone
}
