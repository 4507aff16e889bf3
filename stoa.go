// Package stoa is the foyer of the house: the vocabulary that every room shares.
//
// It imports the standard library only and holds types and constants. There is no behaviour here beyond the methods
// that make a type satisfy an interface of the standard library, and no interface with more than one method. A room
// (a package under the heading of the document that names it) imports this package, store and ledger, and nothing else
// of the house; what it needs from elsewhere it declares itself, as a func field or as a small interface.
//
// A request is a [Call]. It passes the [Stage]s that run before it, is answered by a [Target], and its [Outcome] reaches
// every [Observer] exactly once.
package stoa

import (
	"context"
	"time"
)

// A Datatype is the name of a tensor's element type in the Open Inference Protocol.
type Datatype string

// The datatypes of the Open Inference Protocol, and the Go type of [Tensor.Data] for each.
const (
	Bool   Datatype = "BOOL"   // []bool
	Uint8  Datatype = "UINT8"  // []uint8
	Uint16 Datatype = "UINT16" // []uint16
	Uint32 Datatype = "UINT32" // []uint32
	Uint64 Datatype = "UINT64" // []uint64
	Int8   Datatype = "INT8"   // []int8
	Int16  Datatype = "INT16"  // []int16
	Int32  Datatype = "INT32"  // []int32
	Int64  Datatype = "INT64"  // []int64
	FP32   Datatype = "FP32"   // []float32
	FP64   Datatype = "FP64"   // []float64
	Bytes  Datatype = "BYTES"  // []string
)

// A TensorSpec describes one input or output of a model. A dimension of -1 may have any size; the first is the batch.
type TensorSpec struct {
	Name     string
	Datatype Datatype
	Shape    []int64
}

// A Tensor is a named array in row-major order. Data is a slice of the Go type that belongs to Datatype, and its length
// is the product of Shape.
type Tensor struct {
	Name     string
	Datatype Datatype
	Shape    []int64
	Data     any
}

// A Caller is who sent a request, as established by access control.
type Caller struct {
	ID    string // stable identifier of the key or subject, never the secret itself
	Name  string // name to show
	Owner bool   // may do everything
}

// A Call is one inference request on its way through the gateway. Stages may change it before it is sent; a Target must
// not.
type Call struct {
	ID         string    // prediction id: the client's own, or one made by the gateway
	Endpoint   string    // endpoint named in the URL
	Version    string    // version or alias named in the URL; empty leaves the choice to the endpoint
	Caller     Caller    // set by access control
	Inputs     []Tensor  // in the order of the request
	Outputs    []string  // outputs wanted, in order; empty means all
	Rows       int       // size of the first dimension
	Received   time.Time // when the gateway read the request
	Unrecorded bool      // the client asked that this prediction be kept out of monitoring
}

// An Answer is what a Target gave.
type Answer struct {
	Target   string        // target that gave the answer, e.g. "price@champion"
	Model    string        // model that gave the answer; empty for a fixed answer
	Version  int           // version that gave the answer; 0 when there is none
	Role     Role          // in which role the version answered
	Outputs  []Tensor      // in the order wanted
	Fallback Reason        // why the first candidate did not answer; empty when it did
	Attempts int           // attempts made over all candidates
	Compute  time.Duration // time spent computing, as the target measured it
}

// A Role says why a version was asked.
type Role string

// The roles of a version in a prediction.
const (
	RoleChampion Role = "champion" // the version in service
	RoleCanary   Role = "canary"   // a challenger on its share of live traffic
	RoleShadow   Role = "shadow"   // a challenger whose answer nobody receives
	RoleFallback Role = "fallback" // answered because the first candidate could not
	RolePinned   Role = "pinned"   // named in the URL by the client
)

// A Target answers calls: a model in process, a remote server, a fixed answer, or a policy over other targets. The
// outputs of an Answer belong to the caller. An error is a *[Refusal] when the call is at fault or the reason is known.
type Target interface {
	Infer(ctx context.Context, call *Call) (*Answer, error)
}

// A Stage acts on a call before it is sent. An error, normally a *[Refusal], ends the call.
type Stage interface {
	Before(ctx context.Context, call *Call) error
}

// An Outcome is the end of a call, whatever it was.
type Outcome struct {
	Answer  *Answer       // nil when refused or failed
	Err     error         // nil when answered
	Reason  Reason        // empty when answered by the first candidate
	Status  int           // HTTP status sent
	Latency time.Duration // from receipt to the last byte
}

// An Observer learns the outcome of every call exactly once, refusals included. It must not block or keep call.
type Observer interface {
	After(call *Call, outcome *Outcome)
}

// A Version is one immutable registered version of a model.
type Version struct {
	Model      string             `json:"model"`
	Number     int                `json:"version"`               // from 1, without gaps
	Digest     string             `json:"digest"`                // "sha256:" and 64 hex digits, of the artifact; empty when not servable
	Size       int64              `json:"size"`                  // bytes
	Format     string             `json:"format"`                // "onnx"
	Parent     int                `json:"parent,omitempty"`      // version that was in service when this one was trained; 0 when none
	DataDigest string             `json:"data_digest,omitempty"` // digest of the training data
	Code       string             `json:"code,omitempty"`        // what trained it: a command line or a code reference
	Parameters map[string]string  `json:"parameters,omitempty"`
	Metrics    map[string]float64 `json:"metrics,omitempty"`
	Inputs     []TensorSpec       `json:"inputs"`
	Outputs    []TensorSpec       `json:"outputs"`
	Source     string             `json:"source,omitempty"` // what it was registered from, e.g. "runs:/…/model"
	RunID      string             `json:"run_id,omitempty"` // tracked run that made it
	Servable   bool               `json:"servable"`         // the artifact can be served in this process
	Unservable string             `json:"unservable_because,omitempty"`
	CreatedAt  time.Time          `json:"created_at"`
	CreatedBy  string             `json:"created_by"`
}

// The aliases that Stoa moves by itself. A model may have others.
const (
	AliasChampion   = "champion"   // in service; moves only by a rollout or a named approver
	AliasChallenger = "challenger" // candidate of the rollout under way
	AliasPrevious   = "previous"   // the champion before this one
)

// An Alarm says that something moved, significantly and by enough to matter.
type Alarm struct {
	Model     string    `json:"model"`
	Version   int       `json:"version"`
	Signal    string    `json:"signal"`    // what moved, e.g. "error_rate"
	Test      string    `json:"test"`      // name of the statistical test
	Statistic float64   `json:"statistic"` // its value
	Threshold float64   `json:"threshold"` // the value at which it alarms
	Reference float64   `json:"reference"` // the rate expected
	Observed  float64   `json:"observed"`  // the rate seen since Since
	Labels    int64     `json:"labels"`    // labels seen since Since
	Since     time.Time `json:"since"`     // estimated start of the change
	At        time.Time `json:"at"`
}

// A Label is the truth about one row of one prediction, learned later.
type Label struct {
	ID    string `json:"id"`            // prediction id
	Row   int    `json:"row,omitempty"` // row within the prediction, from 0
	Value string `json:"label"`         // the true class
}

// A Judgement is one prediction joined with its label.
type Judgement struct {
	Seq      int64 // position in the durable order of judgements, from 1
	ID       string
	Row      int
	Model    string
	Version  int
	Role     Role
	Decision string // class predicted
	Truth    string // class that came true
	At       time.Time
}
