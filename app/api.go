package app

import (
	"encoding/json"
	"time"

	"github.com/stoaproject/stoa"
)

// The types below are the JSON of the control interface under /v1: what a handler writes and a client reads. They are
// apart from the rooms' own types, so that a room can change without breaking a client.

// A ModelView is one registered model.
type ModelView struct {
	Name     string         `json:"name"`
	Versions int            `json:"versions"`
	Aliases  map[string]int `json:"aliases"`
}

// A RegisterRequest is the metadata part of a registration; the artifact is the other part of the form.
type RegisterRequest struct {
	Format     string             `json:"format,omitempty"` // "onnx" when empty
	Parent     int                `json:"parent,omitempty"`
	DataDigest string             `json:"data_digest,omitempty"`
	Code       string             `json:"code,omitempty"`
	Parameters map[string]string  `json:"parameters,omitempty"`
	Metrics    map[string]float64 `json:"metrics,omitempty"`
}

// An AliasRequest moves an alias.
type AliasRequest struct {
	Version int    `json:"version"`
	Why     string `json:"why,omitempty"`
}

// A LabelRequest gives the truth about earlier predictions.
type LabelRequest struct {
	Model  string       `json:"model,omitempty"` // for the reader; predictions are found by their id
	Labels []stoa.Label `json:"labels"`
}

// A LabelReport says what became of each label.
type LabelReport struct {
	Joined  int            `json:"joined"`
	Refused []RefusedLabel `json:"refused,omitempty"`
}

// A RefusedLabel is a label that was not joined, and why.
type RefusedLabel struct {
	ID     string      `json:"id"`
	Row    int         `json:"row,omitempty"`
	Reason stoa.Reason `json:"reason"`
}

// A ProposalView is one entry of the ledger.
type ProposalView struct {
	ID         int64           `json:"id"`
	Key        string          `json:"key"`
	Kind       string          `json:"kind"`
	Subject    string          `json:"subject"`
	State      string          `json:"state"`
	Why        string          `json:"why,omitempty"`
	ProposedBy string          `json:"proposed_by"`
	DecidedBy  string          `json:"decided_by,omitempty"`
	Error      string          `json:"error,omitempty"`
	Payload    json.RawMessage `json:"payload,omitempty"`
	Result     json.RawMessage `json:"result,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
	UpdatedAt  time.Time       `json:"updated_at"`
}

// An EventView is one event of the ledger, with a sentence for people.
type EventView struct {
	Seq     int64           `json:"seq"`
	At      time.Time       `json:"at"`
	Entry   int64           `json:"entry,omitempty"`
	Kind    string          `json:"kind,omitempty"`
	What    string          `json:"what"`
	Subject string          `json:"subject"`
	Actor   string          `json:"actor"`
	Text    string          `json:"text"`
	Data    json.RawMessage `json:"data,omitempty"`
}

// A DecisionRequest approves or rejects a proposal.
type DecisionRequest struct {
	Why string `json:"why,omitempty"`
}

// A RetrainRequest proposes a retraining by hand.
type RetrainRequest struct {
	Why string `json:"why,omitempty"`
}

// A FaultRequest makes a candidate of an endpoint fail on purpose.
type FaultRequest struct {
	Candidate string      `json:"candidate"`
	Reason    stoa.Reason `json:"reason"`
	Why       string      `json:"why,omitempty"`
}

// A LifecycleView is where a model stands.
type LifecycleView struct {
	Model      string          `json:"model"`
	Champion   int             `json:"champion"`
	Previous   int             `json:"previous,omitempty"`
	Challenger int             `json:"challenger,omitempty"`
	Settled    bool            `json:"settled"`    // nothing is under way that more traffic should wait for
	Judgements int64           `json:"judgements"` // predictions joined with their labels, folded so far
	Decay      *DecayView      `json:"decay,omitempty"`
	Retraining int64           `json:"retraining,omitempty"` // ledger entry of the retraining under way
	Rollout    *RolloutView    `json:"rollout,omitempty"`
	Counts     LifecycleCounts `json:"counts"`
}

// A DecayView is the state of the sequential test on the champion's errors.
type DecayView struct {
	Test      string  `json:"test"`
	Statistic float64 `json:"statistic"`
	Threshold float64 `json:"threshold"`
	Reference float64 `json:"reference"` // error rate expected
	Labels    int64   `json:"labels"`
	Learning  bool    `json:"learning"` // still learning the reference
}

// A RolloutView is the rollout under way.
type RolloutView struct {
	Entry      int64  `json:"entry"`
	Phase      string `json:"phase"`
	Challenger int    `json:"challenger"`
	Labels     int64  `json:"labels"`
	Detail     string `json:"detail"`
}

// LifecycleCounts are the decisions taken on a model since its first version.
type LifecycleCounts struct {
	Alarms      int `json:"alarms"`
	Retrainings int `json:"retrainings"` // jobs that ended, well or badly
	Failed      int `json:"failed"`      // of these, jobs that failed
	Blocked     int `json:"blocked"`     // candidates that the gate turned away
	Promotions  int `json:"promotions"`
	Withdrawn   int `json:"withdrawn"`   // candidates that the shadow turned away or could not tell apart
	RolledBack  int `json:"rolled_back"` // candidates taken back from live traffic
}

// A UsageView is what one caller used of one version in one hour or longer.
type UsageView struct {
	Caller     string  `json:"caller"`
	Model      string  `json:"model"`
	Version    int     `json:"version"`
	Requests   int64   `json:"requests"`
	Refused    int64   `json:"refused"`
	Rows       int64   `json:"rows"`
	CPUSeconds float64 `json:"cpu_seconds"`
}

// A KeyView is one API key, without its secret.
type KeyView struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Owner     bool      `json:"owner"`
	CreatedAt time.Time `json:"created_at"`
	Revoked   bool      `json:"revoked,omitempty"`
}

// A NewKey is a key just made; the secret is shown this once.
type NewKey struct {
	KeyView
	Secret string `json:"secret"`
}

// An AuditView is the result of verifying the ledger.
type AuditView struct {
	Rows   int64       `json:"rows"`
	Head   string      `json:"head"`
	Broken []BreakView `json:"broken"`
}

// A BreakView is one place where the ledger is not what was written.
type BreakView struct {
	Seq  int64  `json:"seq"`
	What string `json:"what"`
}
