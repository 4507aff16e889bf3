package transfer

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"slices"
)

// Experiments implements [Source].
func (s *Server) Experiments(ctx context.Context, yield func(Experiment) error) error {
	token := ""
	for {
		var page struct {
			Experiments []Experiment `json:"experiments"`
			Next        string       `json:"next_page_token"`
		}
		err := s.post(ctx, "experiments/search", object{
			"max_results": 1000, "view_type": "ACTIVE_ONLY", "order_by": []string{"creation_time ASC"}, "page_token": token,
		}, &page)
		if err != nil {
			return err
		}
		if err := each(page.Experiments, yield); err != nil || page.Next == "" {
			return err
		}
		token = page.Next
	}
}

func each[T any](list []T, yield func(T) error) error {
	for _, one := range list {
		if err := yield(one); err != nil {
			return err
		}
	}
	return nil
}

// Runs implements [Source].
func (s *Server) Runs(ctx context.Context, experiment string, yield func(*Run) error) error {
	return s.searchRuns(ctx, experiment, "", yield)
}

func (s *Server) searchRuns(ctx context.Context, experiment, filter string, yield func(*Run) error) error {
	token := ""
	for {
		var page struct {
			Runs []*Run `json:"runs"`
			Next string `json:"next_page_token"`
		}
		err := s.post(ctx, "runs/search", object{
			"experiment_ids": []string{experiment}, "filter": filter, "max_results": 500, "run_view_type": "ACTIVE_ONLY",
			"order_by": []string{"attributes.start_time ASC"}, "page_token": token,
		}, &page)
		if err != nil {
			return err
		}
		if err := each(page.Runs, yield); err != nil || page.Next == "" {
			return err
		}
		token = page.Next
	}
}

// History implements [Source].
func (s *Server) History(ctx context.Context, run, key string, yield func([]Metric) error) error {
	query := url.Values{"run_id": {run}, "metric_key": {key}, "max_results": {"25000"}}
	for {
		var page struct {
			Metrics []Metric `json:"metrics"`
			Next    string   `json:"next_page_token"`
		}
		if err := s.get(ctx, "metrics/get-history", query, &page); err != nil {
			return err
		}
		for i := range page.Metrics {
			page.Metrics[i].RunID = ""
		}
		for part := range chunks(page.Metrics, 1000) {
			if err := yield(part); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("page_token", page.Next)
	}
}

// LoggedModels implements [Source]. A server from before logged models has none.
func (s *Server) LoggedModels(ctx context.Context, experiment string, yield func(*LoggedModel) error) error {
	token := ""
	for {
		var page struct {
			Models []*LoggedModel `json:"models"`
			Next   string         `json:"next_page_token"`
		}
		err := s.post(ctx, "logged-models/search", object{
			"experiment_ids": []string{experiment}, "max_results": 50, "page_token": token,
			"order_by": []object{{"field_name": "creation_timestamp", "ascending": true}},
		}, &page)
		if answer, ok := asAnswer(err); ok && answer.status == http.StatusNotFound {
			return nil
		}
		if err != nil {
			return err
		}
		if err := each(page.Models, yield); err != nil || page.Next == "" {
			return err
		}
		token = page.Next
	}
}

// Files implements [Source]. It walks the directories of an owner.
func (s *Server) Files(ctx context.Context, of Owner, yield func(File) error) error {
	return s.walk(ctx, of, "", yield)
}

func (s *Server) walk(ctx context.Context, of Owner, dir string, yield func(File) error) error {
	call, query := "artifacts/list", url.Values{"run_id": {of.ID}, "path": {dir}}
	if of.Model {
		call = "logged-models/" + url.PathEscape(of.ID) + "/artifacts/directories"
		query = url.Values{"artifact_directory_path": {dir}}
	}
	for {
		var page struct {
			Files []struct {
				Path string   `json:"path"`
				Dir  bool     `json:"is_dir"`
				Size *integer `json:"file_size"`
			} `json:"files"`
			Next string `json:"next_page_token"`
		}
		if err := s.get(ctx, call, query, &page); err != nil {
			if answer, ok := asAnswer(err); ok {
				return &lostError{fmt.Sprintf("they cannot be listed: %s", answer.message)}
			}
			return err
		}
		for _, f := range page.Files {
			var err error
			if f.Dir {
				err = s.walk(ctx, of, f.Path, yield)
			} else {
				file := File{Path: f.Path, Size: -1, Open: func() (io.ReadCloser, error) { return s.open(ctx, of, f.Path) }}
				if f.Size != nil {
					file.Size = int64(*f.Size)
				}
				err = yield(file)
			}
			if err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("page_token", page.Next)
	}
}

// open fetches one artifact: through the proxy when the server has one before them, else by the routes of its interface.
func (s *Server) open(ctx context.Context, of Owner, file string) (io.ReadCloser, error) {
	if root, proxied := proxyPath(of.Location); proxied {
		return s.do(ctx, http.MethodGet, proxy+escaped(path.Join(root, file)), 0, nil)
	}
	if of.Model {
		return s.do(ctx, http.MethodGet, "/ajax-api/2.0/mlflow/logged-models/"+url.PathEscape(of.ID)+"/artifacts/files?"+
			url.Values{"artifact_file_path": {file}}.Encode(), 0, nil)
	}
	return s.do(ctx, http.MethodGet, "/get-artifact?"+url.Values{"run_id": {of.ID}, "path": {file}}.Encode(), 0, nil)
}

// RegisteredModels implements [Source].
func (s *Server) RegisteredModels(ctx context.Context, yield func(*RegisteredModel) error) error {
	query := url.Values{"max_results": {"100"}}
	for {
		var page struct {
			Models []*RegisteredModel `json:"registered_models"`
			Next   string             `json:"next_page_token"`
		}
		if err := s.get(ctx, "registered-models/search", query, &page); err != nil {
			return err
		}
		for _, r := range page.Models {
			var err error
			if r.Versions, err = s.versions(ctx, r.Name); err != nil {
				return err
			}
			if err := yield(r); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
		query.Set("page_token", page.Next)
	}
}

// versions reads the versions of a registered model, by number.
func (s *Server) versions(ctx context.Context, name string) ([]Version, error) {
	if slices.Contains([]byte(name), '\'') {
		return nil, errors.New("a name with an apostrophe cannot be searched for: " + name)
	}
	query := url.Values{"filter": {"name = '" + name + "'"}, "max_results": {"1000"}}
	var all []Version
	for {
		var page struct {
			Versions []Version `json:"model_versions"`
			Next     string    `json:"next_page_token"`
		}
		if err := s.get(ctx, "model-versions/search", query, &page); err != nil {
			return nil, err
		}
		all = append(all, page.Versions...)
		if page.Next == "" {
			break
		}
		query.Set("page_token", page.Next)
	}
	slices.SortFunc(all, func(a, b Version) int { return int(a.Number - b.Number) })
	return all, nil
}

// Omitted implements [Source].
func (s *Server) Omitted(ctx context.Context) ([]string, error) {
	omitted := []string{"deleted experiments and runs, and traces, if there are any"}
	var prompts struct {
		Models []RegisteredModel `json:"registered_models"`
	}
	query := url.Values{"filter": {"tags.`mlflow.prompt.is_prompt` = 'true'"}, "max_results": {"1000"}}
	err := s.get(ctx, "registered-models/search", query, &prompts)
	if _, ok := asAnswer(err); ok {
		return omitted, nil // a server from before prompts may not know the filter
	}
	for _, p := range prompts.Models {
		omitted = append(omitted, "prompt "+p.Name)
	}
	return omitted, err
}
