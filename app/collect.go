package app

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/principles/experiment"
)

// uploadPatience is how long an upload in parts may take before its parts are collected.
const uploadPatience = 24 * time.Hour

// A CollectionView is what a collection of garbage deleted.
type CollectionView struct {
	experiment.Purged

	Stray     int `json:"stray"`     // files that a crash left without a name, and parts of uploads given up
	Artifacts int `json:"artifacts"` // of versions of models that are deleted
}

// postCollection deletes for good what was deleted at least older_than ago, and the files that nothing names. Others
// read and write meanwhile: each thing goes in a transaction of its own, and its files after it, when no row names them.
func (a *App) postCollection(r *http.Request, caller stoa.Caller) (any, error) {
	var req struct {
		OlderThan string `json:"older_than"`
	}
	if err := readJSON(r, &req); err != nil {
		return nil, err
	}
	age, err := time.ParseDuration(req.OlderThan)
	if err != nil || age < 0 {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonInvalid, Message: "older_than is no age: " + req.OlderThan, Hint: `write it like "720h"`,
		}
	}
	var view CollectionView
	if view.Purged, err = a.rooms.tracking.Purge(r.Context(), caller, time.Now().Add(-age)); err != nil {
		return nil, err
	}
	if view.Stray, err = a.rooms.tracking.Sweep(r.Context(), time.Now().Add(-uploadPatience)); err != nil {
		return nil, err
	}
	if view.Artifacts, err = a.rooms.registry.Sweep(r.Context(), nil); err != nil {
		return nil, err
	}
	return view, nil
}

// heldByVersion says whether a version was registered from a run or a logged model, whose artifacts it then needs. A
// version that is deleted holds nothing.
func (r *rooms) heldByVersion(id string) bool {
	ctx := context.Background() // the registry answers from memory
	list, err := r.registry.Models(ctx)
	if err != nil {
		return true // what cannot be asked is held
	}
	for _, m := range list {
		versions, err := r.registry.Versions(ctx, m.Name)
		if err != nil {
			continue // the model was deleted just now
		}
		for _, v := range versions {
			if v.RunID == id || slices.Contains(strings.Split(v.Source, "/"), id) {
				return true
			}
		}
	}
	return false
}
