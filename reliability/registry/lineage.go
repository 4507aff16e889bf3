package registry

import "time"

// A Run is what the lineage of a version tells of the tracked run that made it.
type Run struct {
	ID         string             `json:"run_id"`
	Name       string             `json:"name,omitempty"`
	Experiment string             `json:"experiment,omitempty"`
	User       string             `json:"user,omitempty"`
	Status     string             `json:"status,omitempty"`
	StartedAt  time.Time          `json:"started_at,omitzero"`
	EndedAt    time.Time          `json:"ended_at,omitzero"`
	Commit     string             `json:"commit,omitempty"`      // of the code, as the client logged it
	Entry      string             `json:"entry_point,omitempty"` // script or notebook
	Datasets   []Dataset          `json:"datasets,omitempty"`    // what it was trained and tested on
	Parameters map[string]string  `json:"parameters,omitempty"`  // hyperparameters
	Metrics    map[string]float64 `json:"metrics,omitempty"`     // the latest value of each
}

// A Dataset is an input of a run.
type Dataset struct {
	Name    string `json:"name"`
	Digest  string `json:"digest"`
	Context string `json:"context,omitempty"` // training, validation …
}
