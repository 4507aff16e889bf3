package app_test

import (
	"encoding/json"
	"net/http"
	"testing"

	"github.com/stoaproject/stoa/app"
)

// TestCollectionHoldsWhatAVersionNeeds deletes two runs, one of them with a registered version.
func TestCollectionHoldsWhatAVersionNeeds(t *testing.T) {
	s := newServer(t, workload).start()
	call := func(method, path string, body any) answer {
		t.Helper()
		a := s.do(method, path, body)
		if a.status != http.StatusOK {
			t.Fatalf("%s %s: %d: %s", method, path, a.status, a.body)
		}
		return a
	}
	collect := func(olderThan string) (v app.CollectionView) {
		t.Helper()
		if err := json.Unmarshal(call("POST", "/v1/gc", map[string]string{"older_than": olderThan}).body, &v); err != nil {
			t.Fatal(err)
		}
		return v
	}
	type object = map[string]any
	var runs []string
	for _, text := range []string{"one", "two"} {
		var made struct {
			Run struct {
				Info struct {
					ID string `json:"run_id"`
				} `json:"info"`
			} `json:"run"`
		}
		a := call("POST", "/api/2.0/mlflow/runs/create", object{"experiment_id": "0", "start_time": 1})
		if err := json.Unmarshal(a.body, &made); err != nil {
			t.Fatal(err)
		}
		id := made.Run.Info.ID
		runs = append(runs, id)
		for _, name := range []string{"same", text} {
			call("PUT", "/api/2.0/mlflow-artifacts/artifacts/0/"+id+"/artifacts/model/"+name, name)
		}
	}
	call("POST", "/api/2.0/mlflow/registered-models/create", object{"name": "kept"})
	call("POST", "/api/2.0/mlflow/model-versions/create",
		object{"name": "kept", "source": "runs:/" + runs[0] + "/model", "run_id": runs[0]})
	for _, id := range runs {
		call("POST", "/api/2.0/mlflow/runs/delete", object{"run_id": id})
	}

	if v := collect("1h"); v.Runs != 0 || v.Held != 0 || v.Blobs != 0 {
		t.Errorf("an hour too early, %+v was collected", v)
	}
	if v := collect("0s"); v.Runs != 1 || v.Held != 1 || v.Blobs != 1 {
		t.Errorf("collected %+v, want one run with its own file, and the other held", v)
	}
	for _, name := range []string{"same", "one"} {
		if a := call("GET", "/api/2.0/mlflow-artifacts/artifacts/0/"+runs[0]+"/artifacts/model/"+name, nil); string(a.body) != name {
			t.Errorf("%s of the run that is held is %q", name, a.body)
		}
	}
	call("DELETE", "/api/2.0/mlflow/model-versions/delete", object{"name": "kept", "version": "1"})
	if v := collect("0s"); v.Runs != 1 || v.Held != 0 || v.Blobs != 2 {
		t.Errorf("collected %+v after the version had gone, want the run with two files", v)
	}
	if a := s.do("POST", "/v1/gc", map[string]string{"older_than": "yesterday"}); a.status != http.StatusBadRequest &&
		a.status != http.StatusUnprocessableEntity {
		t.Errorf("an age that is none: %d %s", a.status, a.body)
	}
}
