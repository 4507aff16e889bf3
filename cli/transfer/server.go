package transfer

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// A Server is a running server that speaks MLflow's wire.
type Server struct {
	// Base is its address, like http://127.0.0.1:5000.
	Base string

	// Authorization is the header of every request; empty sends none.
	Authorization string

	HTTP *http.Client
}

// An answerError is an answer of 400 or above.
type answerError struct {
	status  int
	code    string
	message string
}

func (e *answerError) Error() string {
	return fmt.Sprintf("the server answered %d: %s", e.status, e.message)
}

func asAnswer(err error) (*answerError, bool) {
	var answer *answerError
	ok := errors.As(err, &answer)
	return answer, ok
}

// attempts is how often a request is sent that a busy server turns away.
const attempts = 6

// do sends a request and returns the body of a good answer. One that a busy server turned away is sent again, when it
// can be: body is called for each attempt.
func (s *Server) do(ctx context.Context, method, target string, size int64, body func() io.Reader) (io.ReadCloser, error) {
	for attempt := 1; ; attempt++ {
		var reader io.Reader
		if body != nil {
			reader = body()
		}
		req, err := http.NewRequestWithContext(ctx, method, s.Base+target, reader)
		if err != nil {
			return nil, err
		}
		if reader != nil {
			req.ContentLength = size
			req.Header.Set("Content-Type", "application/json")
		}
		if s.Authorization != "" {
			req.Header.Set("Authorization", s.Authorization)
		}
		resp, err := s.HTTP.Do(req)
		if err != nil {
			return nil, err
		}
		if resp.StatusCode < http.StatusBadRequest {
			return resp.Body, nil
		}
		text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return nil, err
		}
		busy := resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusServiceUnavailable
		if !busy || attempt == attempts || method == http.MethodPut {
			return nil, answered(resp.StatusCode, text)
		}
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-time.After(time.Duration(1<<attempt) * 100 * time.Millisecond):
		}
	}
}

func answered(status int, text []byte) error {
	var wire struct {
		Code    string `json:"error_code"`
		Message string `json:"message"`
	}
	if json.Unmarshal(text, &wire) != nil || wire.Message == "" {
		wire.Message = strings.TrimSpace(string(text[:min(len(text), 300)]))
	}
	return &answerError{status: status, code: wire.Code, message: wire.Message}
}

// send makes a call with a JSON body and decodes the answer into out, unless that is nil.
func (s *Server) send(ctx context.Context, method, call string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	body, err := s.do(ctx, method, "/api/2.0/mlflow/"+call, int64(len(raw)), func() io.Reader { return bytes.NewReader(raw) })
	if err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	return receive(body, call, out)
}

func (s *Server) post(ctx context.Context, call string, in, out any) error {
	return s.send(ctx, http.MethodPost, call, in, out)
}

func (s *Server) get(ctx context.Context, call string, query url.Values, out any) error {
	body, err := s.do(ctx, http.MethodGet, "/api/2.0/mlflow/"+call+"?"+query.Encode(), 0, nil)
	if err != nil {
		return fmt.Errorf("%s: %w", call, err)
	}
	return receive(body, call, out)
}

func receive(body io.ReadCloser, call string, out any) error {
	defer body.Close()
	if out == nil {
		_, err := io.Copy(io.Discard, body)
		return err
	}
	if err := json.NewDecoder(body).Decode(out); err != nil {
		return fmt.Errorf("the answer to %s is not MLflow's: %w", call, err)
	}
	_, err := io.Copy(io.Discard, body)
	return err
}

// experiment finds the experiment of the same name, or makes it, and returns its id.
func (s *Server) experiment(ctx context.Context, e Experiment) (string, error) {
	var found struct {
		Experiment Experiment `json:"experiment"`
	}
	err := s.get(ctx, "experiments/get-by-name", url.Values{"experiment_name": {e.Name}}, &found)
	if err == nil && found.Experiment.Stage != "active" {
		return "", errors.New("it is deleted on the receiving server; restore or rename it there")
	}
	id := found.Experiment.ID
	if answer, ok := asAnswer(err); ok && answer.status == http.StatusNotFound {
		var made Experiment
		err = s.post(ctx, "experiments/create", object{"name": e.Name}, &made)
		id = made.ID
	}
	if err != nil {
		return "", err
	}
	for _, t := range e.Tags {
		err := s.post(ctx, "experiments/set-experiment-tag", object{"experiment_id": id, "key": t.Key, "value": t.Value}, nil)
		if err != nil {
			return "", err
		}
	}
	return id, nil
}

// A duplicate is the copy of a run.
type duplicate struct {
	id       string
	complete bool
}

// copies finds the runs of an experiment that a transfer made, by their old ids.
func (s *Server) copies(ctx context.Context, experiment string) (map[string]duplicate, error) {
	found := map[string]duplicate{}
	err := s.searchRuns(ctx, experiment, "tags.`"+tagRun+"` != ''", func(r *Run) error {
		old := tagsNamed(r.Data.Tags, tagRun)
		found[old[0].Value] = duplicate{id: r.Info.ID, complete: tagsNamed(r.Data.Tags, tagComplete) != nil}
		return nil
	})
	return found, err
}

func (s *Server) createRun(ctx context.Context, experiment string, r *Run) (string, error) {
	var made struct {
		Run Run `json:"run"`
	}
	err := s.post(ctx, "runs/create", object{
		"experiment_id": experiment, "user_id": r.Info.User, "run_name": r.Info.Name, "start_time": r.Info.StartTime,
		"tags": []Tag{{tagRun, r.Info.ID}},
	}, &made)
	return made.Run.Info.ID, err
}

func (s *Server) runLocation(ctx context.Context, id string) (string, error) {
	var found struct {
		Run Run `json:"run"`
	}
	err := s.get(ctx, "runs/get", url.Values{"run_id": {id}}, &found)
	return found.Run.Info.ArtifactURI, err
}

func (s *Server) createModel(ctx context.Context, experiment, run string, l *LoggedModel) (*LoggedModel, error) {
	var made struct {
		Model LoggedModel `json:"model"`
	}
	params := l.Data.Params
	err := s.post(ctx, "logged-models", object{
		"experiment_id": experiment, "name": l.Info.Name, "model_type": l.Info.ModelType, "source_run_id": run,
		"params": params[:min(len(params), 100)], "tags": append([]Tag{{tagModel, l.Info.ID}}, without(l.Info.Tags, tagModel)...),
	}, &made)
	if err != nil {
		return nil, err
	}
	for part := range chunks(params[min(len(params), 100):], 100) {
		call := "logged-models/" + url.PathEscape(made.Model.Info.ID) + "/params"
		if err := s.post(ctx, call, object{"params": part}, nil); err != nil {
			return nil, err
		}
	}
	return &made.Model, nil
}

func (s *Server) finalizeModel(ctx context.Context, id, status string) error {
	return s.send(ctx, http.MethodPatch, "logged-models/"+url.PathEscape(id), object{"model_id": id, "status": status}, nil)
}

// registeredModel makes a registered model unless it is there.
func (s *Server) registeredModel(ctx context.Context, r *RegisteredModel) error {
	err := s.post(ctx, "registered-models/create", object{
		"name": r.Name, "description": r.Description, "tags": r.Tags,
	}, nil)
	if answer, ok := asAnswer(err); ok && answer.code == "RESOURCE_ALREADY_EXISTS" {
		return nil
	}
	return err
}

// proxyScheme begins the URI of artifacts that a server passes on.
const proxyScheme = "mlflow-artifacts:"

// proxyPath is the path of a location behind the artifact proxy; false when it is elsewhere.
func proxyPath(location string) (string, bool) {
	u, err := url.Parse(location)
	if err != nil || u.Scheme+":" != proxyScheme {
		return "", false
	}
	return strings.Trim(u.Path, "/"), true
}

// escaped makes a path safe for a URL, segment by segment.
func escaped(p string) string {
	parts := strings.Split(p, "/")
	for i := range parts {
		parts[i] = url.PathEscape(parts[i])
	}
	return strings.Join(parts, "/")
}

const proxy = "/api/2.0/mlflow-artifacts/artifacts/"

// upload sends one artifact.
func (s *Server) upload(ctx context.Context, location, file string, body io.Reader, size int64) error {
	root, _ := proxyPath(location)
	if size == 0 {
		body = http.NoBody
	}
	answer, err := s.do(ctx, http.MethodPut, proxy+escaped(path.Join(root, file)), size, func() io.Reader { return body })
	if err != nil {
		return err
	}
	return receive(answer, "the upload", nil)
}
