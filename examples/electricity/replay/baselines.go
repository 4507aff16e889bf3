package main

import (
	"context"
	"fmt"
	"net/http"
	"path/filepath"
	"strconv"
)

const week = 7 * perDay

// frozen predicts every row with version 1, asked for by its number, a week at a time.
func (r *replay) frozen(ctx context.Context) ([]string, error) {
	return r.byWeek(ctx, func(int) (string, error) { return endpoint + "/versions/1", nil })
}

// weekly retrains every week on the latest labelled window, whatever the need, and predicts the week that follows.
// The models are registered beside the managed one, under a name of their own, and served by the same process.
func (r *replay) weekly(ctx context.Context) ([]string, error) {
	const model = "weekly"
	version := 0
	return r.byWeek(ctx, func(from int) (string, error) {
		known := from - lateness
		data := filepath.Join(r.srv.dir, "weekly.csv")
		if err := writeFeed(data, r.rows[max(0, known-window):known]); err != nil {
			return "", err
		}
		out := filepath.Join(r.srv.dir, "weekly.onnx")
		if _, err := r.srv.run(ctx, trainArgs(data, out)...); err != nil {
			return "", err
		}
		if _, err := r.srv.run(ctx, "models", "register", model, out); err != nil {
			return "", err
		}
		version++
		return model + "/versions/" + strconv.Itoa(version), nil
	})
}

// byWeek predicts the rows a week at a time with the model that choose names for the week starting at row from. The
// predictions are kept out of monitoring.
func (r *replay) byWeek(ctx context.Context, choose func(from int) (string, error)) ([]string, error) {
	out := make([]string, len(r.rows))
	for from := r.first; from < len(r.rows); from += week {
		to := min(from+week, len(r.rows))
		model, err := choose(from)
		if err != nil {
			return nil, err
		}
		var p prediction
		body := inferBody(nil, "", r.rows[from:to], true)
		if _, err := r.srv.call(ctx, http.MethodPost, "/v2/models/"+model+"/infer", body, &p); err != nil {
			return nil, err
		}
		classes, err := p.classes()
		if err != nil {
			return nil, err
		}
		if len(classes) != to-from {
			return nil, fmt.Errorf("%s: asked for %d rows, got %d", model, to-from, len(classes))
		}
		copy(out[from:to], classes)
	}
	return out, nil
}
