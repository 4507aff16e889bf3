package registry_test

import (
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/fstest"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/reliability/registry"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/blob"
	"github.com/stoaproject/stoa/store/storetest"
)

// TestRegistryFromBeforeMLflow opens a database of the first version of the tables.
func TestRegistryFromBeforeMLflow(t *testing.T) {
	db := storetest.Open(t)
	first, err := os.ReadFile("migrations/00001_registry.sql")
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Migrate(t.Context(), "registry", fstest.MapFS{"00001_registry.sql": {Data: first}}); err != nil {
		t.Fatal(err)
	}
	blobs := blob.Memory()
	err = db.Write(t.Context(), func(tx *store.Tx) error {
		for number := range 2 {
			digest, size, err := blobs.Put(t.Context(), strings.NewReader(fmt.Sprint("model ", number)))
			if err != nil {
				return err
			}
			if _, err := tx.Exec(t.Context(), "INSERT INTO registry_version VALUES ('price', ?, ?, ?, 'onnx', ?, 'd', 'c', "+
				`'{"k":"v"}', '{"auc":0.9}', '[]', '[]', ?, 'ada')`, number+1, digest, size, number, 1e6*(number+1)); err != nil {
				return err
			}
		}
		_, err := tx.Exec(t.Context(), "INSERT INTO registry_alias VALUES ('price', 'champion', 2)")
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	h, err := build(t.Context(), db, blobs)
	if err != nil {
		t.Fatal(err)
	}
	v, err := h.Version(t.Context(), "price", "champion")
	if err != nil || v.Number != 2 || !v.Servable || v.Parent != 1 || v.Metrics["auc"] != 0.9 || v.CreatedBy != "ada" {
		t.Errorf("%+v, %v", v, err)
	}
	shown := call(t, h.Wire().GetRegisteredModel, &registry.GetRegisteredModelRequest{Name: "price"}).RegisteredModel
	if shown.CreationTimestamp != 1000 || shown.LastUpdatedTimestamp != 2000 || len(shown.LatestVersions) != 1 {
		t.Errorf("%+v", shown)
	}
	h.sound(t)
}

// TestConcurrentVersions registers over both ways at once: the numbers have no gap, and a version each.
func TestConcurrentVersions(t *testing.T) {
	h, w := tracked(t)
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			if _, err := h.Register(t.Context(), candidate("price", fmt.Sprint("model ", i))); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			req := &registry.CreateModelVersionRequest{Name: "price", Source: "runs:/r1/model"}
			if _, err := w.CreateModelVersion(t.Context(), ann, req); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			req := &registry.SetRegisteredModelTagRequest{Name: "price", Key: fmt.Sprint("k", i), Value: "v"}
			if _, err := w.SetRegisteredModelTag(t.Context(), ann, req); err != nil {
				t.Error(err)
			}
		})
		group.Go(func() {
			if _, err := w.SearchModelVersions(t.Context(), ann, &registry.SearchRequest{}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	versions, err := h.Versions(t.Context(), "price")
	if err != nil || len(versions) != 16 || versions[15].Number != 16 {
		t.Errorf("%d versions, %v", len(versions), err)
	}
	if tags := call(t, w.GetRegisteredModel, &registry.GetRegisteredModelRequest{Name: "price"}).RegisteredModel.Tags; len(tags) != 8 {
		t.Errorf("tags %v", tags)
	}
	h.sound(t)
}

// TestPromptsAreHidden proves that prompts, which ride on the registry, are no models.
func TestPromptsAreHidden(t *testing.T) {
	h, w := tracked(t)
	mark := []registry.Tag{{Key: "mlflow.prompt.is_prompt", Value: "true"}}
	call(t, w.CreateRegisteredModel, &registry.CreateRegisteredModelRequest{Name: "greeting", Tags: mark})
	text := append(mark, registry.Tag{Key: "mlflow.prompt.text", Value: "Hello {{ name }}"})
	for source, want := range map[string]stoa.Reason{"dummy-source": "", "prompt-template": "", "runs:/r1/m": stoa.ReasonInvalid} {
		req := &registry.CreateModelVersionRequest{Name: "greeting", Source: source, Tags: text}
		if _, err := w.CreateModelVersion(t.Context(), ann, req); reason(err) != want {
			t.Errorf("%s: %v", source, err)
		}
	}
	models, err := h.Models(t.Context())
	if err != nil || len(models) != 1 || models[0].Name != "price" {
		t.Errorf("%+v, %v", models, err)
	}
	for filter, want := range map[string]int{"": 0, "name = 'greeting'": 0, "tags.`mlflow.prompt.is_prompt` = 'true'": 2} {
		found := call(t, w.SearchModelVersions, &registry.SearchRequest{Filter: filter})
		if len(found.ModelVersions) != want {
			t.Errorf("%q finds %d", filter, len(found.ModelVersions))
		}
	}
	move := registry.Move{Model: "greeting", Alias: "champion", Version: 1, By: "approver of greeting"}
	if err := h.MoveAlias(t.Context(), move); reason(err) != stoa.ReasonInvalid {
		t.Errorf("a prompt in service: %v", err)
	}
	req := &registry.CreateModelVersionRequest{Name: "price", Source: "models:/greeting/1"}
	if _, err := w.CreateModelVersion(t.Context(), ann, req); reason(err) != stoa.ReasonInvalid {
		t.Errorf("a copy of a prompt: %v", err)
	}
	h.sound(t)
}

// TestBrokenResolverLeavesNothing has the source break off while it is read.
func TestBrokenResolverLeavesNothing(t *testing.T) {
	h, w := tracked(t, func(c *registry.Config) { c.Blobs = failing{c.Blobs} })
	req := &registry.CreateModelVersionRequest{Name: "price", Source: "runs:/r1/model"}
	if _, err := w.CreateModelVersion(t.Context(), ann, req); err == nil {
		t.Error("registered with a full disk")
	}
	if versions, err := h.Versions(t.Context(), "price"); err != nil || len(versions) != 0 {
		t.Errorf("%+v, %v", versions, err)
	}
	if entries, err := h.ledger.Events(t.Context(), 0, 0); err != nil || len(entries) != 1 || entries[0].What != "model.create" {
		t.Errorf("%+v, %v", entries, err)
	}
	h.sound(t)
}
