package transfer

import (
	"context"
	"fmt"
	"strings"
)

// registered copies a registered model, its versions and its aliases.
func (m *mover) registered(ctx context.Context, r *RegisteredModel) error {
	m.say("registered model " + r.Name)
	if err := m.to.registeredModel(ctx, r); err != nil {
		return m.refused(err, "registered model %s", r.Name)
	}
	m.report.Models++
	copies := map[string]int64{} // number of the copy by tag
	versions, err := m.to.versions(ctx, r.Name)
	if err != nil {
		return err
	}
	for _, v := range versions {
		if t := tagsNamed(v.Tags, tagVersion); t != nil {
			copies[t[0].Value] = int64(v.Number)
		}
	}
	numbers := map[integer]int64{} // number of the copy by number
	for _, v := range r.Versions {
		origin := fmt.Sprintf("%d@%d", v.Number, v.Created)
		if number, ok := copies[origin]; ok {
			numbers[v.Number] = number
			continue
		}
		number, err := m.version(ctx, r.Name, origin, v)
		if err != nil {
			if err := m.refused(err, "version %d of %s", v.Number, r.Name); err != nil {
				return err
			}
			continue
		}
		m.report.Versions++
		numbers[v.Number] = number
		if number != int64(v.Number) {
			m.lost("the number of version %d of %s: it is %d now", v.Number, r.Name, number)
		}
	}
	for _, a := range r.Aliases {
		number, ok := numbers[a.Version]
		if !ok {
			m.lost("alias %s of %s: its version %d was not copied", a.Alias, r.Name, a.Version)
			continue
		}
		err := m.to.post(ctx, "registered-models/alias", object{
			"name": r.Name, "alias": a.Alias, "version": fmt.Sprint(number),
		}, nil)
		if err != nil {
			if err := m.refused(err, "alias %s of %s", a.Alias, r.Name); err != nil {
				return err
			}
			continue
		}
		m.report.Aliases++
	}
	return nil
}

// refused notes what the receiving server does not take; any other error is returned.
func (m *mover) refused(err error, format string, args ...any) error {
	why, lost := asLost(err)
	if !lost {
		answer, ok := asAnswer(err)
		if !ok || answer.status >= 500 || answer.status == 401 {
			return fmt.Errorf(format+": %w", append(args, err)...)
		}
		why = answer.message
	}
	m.lost("%s: %s", fmt.Sprintf(format, args...), why)
	return nil
}

// version copies one version and returns its new number.
func (m *mover) version(ctx context.Context, name, origin string, v Version) (int64, error) {
	source, err := m.source(v)
	if err != nil {
		return 0, err
	}
	request := object{
		"name": name, "source": source, "description": v.Description,
		"tags": append([]Tag{{tagVersion, origin}}, without(v.Tags, tagVersion)...),
	}
	if run, ok := m.runs[v.RunID]; ok {
		request["run_id"] = run
	}
	if model, ok := strings.CutPrefix(source, "models:/m-"); ok {
		request["model_id"] = "m-" + model
	}
	var made struct {
		Version Version `json:"model_version"`
	}
	if err := m.to.post(ctx, "model-versions/create", request, &made); err != nil {
		return 0, err
	}
	number := int64(made.Version.Number)
	if v.Stage == "" || v.Stage == "None" {
		return number, nil
	}
	err = m.to.post(ctx, "model-versions/transition-stage", object{
		"name": name, "version": fmt.Sprint(number), "stage": v.Stage, "archive_existing_versions": false,
	}, nil)
	if err != nil {
		err = m.refused(err, "stage %s of version %d of %s", v.Stage, v.Number, name)
	}
	return number, err
}

// source rewrites the source of a version to the new ids. A source that names no copied run and no copied logged model
// is not carried: nothing would be behind it.
func (m *mover) source(v Version) (string, error) {
	if id, ok := strings.CutPrefix(v.Source, "models:/"); ok {
		if model, ok := m.models[id]; ok {
			return "models:/" + model, nil
		}
	}
	if rest, ok := strings.CutPrefix(v.Source, "runs:/"); ok {
		id, path, _ := strings.Cut(rest, "/")
		if run, ok := m.runs[id]; ok {
			return "runs:/" + run + "/" + path, nil
		}
	}
	// The location of a logged model or of a run's artifact names its id as a part of the path.
	parts := strings.Split(strings.TrimRight(v.Source, "/"), "/")
	for i, part := range parts {
		if model, ok := m.models[part]; ok {
			return "models:/" + model, nil
		}
		if run, ok := m.runs[part]; ok && i+2 < len(parts) && parts[i+1] == "artifacts" {
			return "runs:/" + run + "/" + strings.Join(parts[i+2:], "/"), nil
		}
	}
	return "", &lostError{fmt.Sprintf("its source %q is in no run and no logged model that was copied", v.Source)}
}

func without(tags []Tag, key string) []Tag {
	var rest []Tag
	for _, t := range tags {
		if t.Key != key {
			rest = append(rest, t)
		}
	}
	return rest
}
