package manifest

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/stoaproject/stoa"
)

// check reports what one key cannot show: references to what does not exist, and values that contradict each other. w
// may be the result of a file with errors, so nothing in it can be relied on.
func (d *decoder) check(w *Workload) {
	for _, name := range sorted(w.Data) {
		d.checkData(w, "data."+name, w.Data[name])
	}
	for _, name := range sorted(w.Models) {
		if data := w.Models[name].Data; data != "" && w.Data[data] == nil {
			d.reportAt("models."+name+".data", closest(data, sorted(w.Data)), "unknown data set %q", data)
		}
	}
	for _, name := range sorted(w.Endpoints) {
		d.checkEndpoint(w, name)
	}
	for _, name := range sorted(w.Reliability.Retrain) {
		path := "reliability.retrain." + name
		if d.checkModel(w, path, name) {
			d.checkTarget(w, path, name)
		}
		d.checkRetrain(path, w.Reliability.Retrain[name])
	}
	for _, name := range sorted(w.Operations.Monitor) {
		if path := "operations.monitor." + name; d.checkModel(w, path, name) {
			d.checkTarget(w, path, name)
		}
	}
	for _, name := range sorted(w.Operations.Rollout) {
		path := "operations.rollout." + name
		d.checkModel(w, path, name)
		r := w.Operations.Rollout[name]
		if n := r.Shadow.MinLabels; n > r.MaxLabels {
			d.reportAt(path+".shadow.min_labels", "", "min_labels is %d, more than max_labels, %d", n, r.MaxLabels)
		}
		if n := r.Canary.MinLabels; n > r.MaxLabels {
			d.reportAt(path+".canary.min_labels", "", "min_labels is %d, more than max_labels, %d", n, r.MaxLabels)
		}
	}
	for _, name := range sorted(w.Security.Approvers) {
		path := "security.approvers." + name
		d.checkModel(w, path, name)
		d.checkDistinct(path, w.Security.Approvers[name])
	}
	for _, name := range sorted(w.Security.Aliases) {
		path := "security.aliases." + name
		if d.checkModel(w, path, name) {
			for _, alias := range sorted(w.Security.Aliases[name]) {
				d.checkAlias(w, path+"."+alias, name, alias)
			}
		}
	}
	for _, name := range sorted(w.Principles.Gates) {
		if path := "principles.gates." + name; d.checkModel(w, path, name) {
			d.checkTarget(w, path, name)
		}
	}
}

func (d *decoder) checkData(w *Workload, path string, data *Data) {
	if data.Source != "" && w.Dir != "" && leaves(w.Dir, data.Source) {
		d.reportAt(path+".source", "keep the data inside the directory of the workload file",
			"%s.source is %s: a link leads out of the workload's directory", path, quoted(data.Source))
	}
	first := make(map[string]bool)
	for i, f := range data.Features {
		at := fmt.Sprintf("%s.features[%d]", path, i)
		if f.Name != "" && first[f.Name] {
			d.reportAt(at+".name", "", "%s: a second feature %q", path, f.Name)
		}
		first[f.Name] = true
		if (f.Min != nil || f.Max != nil) && f.Type != "number" && f.Type != "integer" {
			d.reportAt(at, "", "%s: a feature of type %s has no range", at, f.Type)
		}
		if f.Min != nil && f.Max != nil && *f.Min > *f.Max {
			d.reportAt(at+".min", "", "%s: min is %v, more than max, %v", at, *f.Min, *f.Max)
		}
	}
	if t := data.Target; t != nil {
		if t.Name != "" && first[t.Name] {
			d.reportAt(path+".target.name", "a model must not see what it predicts", "%s: %q is both feature and target",
				path, t.Name)
		}
		if t.Name != "" && t.Name == data.Time {
			d.reportAt(path+".time", "", "%s: %q is both time and target", path, t.Name)
		}
		d.checkDistinct(path+".target.classes", t.Classes)
	}
}

// leaves reports whether source, inside dir by its name, is a link that leads out of it. A file that does not exist
// leads nowhere.
func leaves(dir, source string) bool {
	real, err := filepath.EvalSymlinks(filepath.Join(dir, filepath.FromSlash(source)))
	if os.IsNotExist(err) {
		return false
	}
	realDir, dirErr := filepath.EvalSymlinks(dir)
	if err != nil || dirErr != nil {
		return true
	}
	rel, err := filepath.Rel(realDir, real)
	return err != nil || !filepath.IsLocal(rel)
}

// checkDistinct reports empty and repeated items of a list of texts.
func (d *decoder) checkDistinct(path string, items []string) {
	if items != nil && len(items) == 0 {
		d.reportAt(path, "leave the key out instead", "%s is an empty list", path)
	}
	for i, s := range items {
		at := fmt.Sprintf("%s[%d]", path, i)
		if strings.TrimSpace(s) == "" {
			d.reportAt(at, "", "%s is empty", at)
		} else if slices.Contains(items[:i], s) {
			d.reportAt(at, "", "%s: %q is there twice", path, s)
		}
	}
}

// checkModel reports a reference to a model that does not exist.
func (d *decoder) checkModel(w *Workload, path, model string) bool {
	if model == "" || w.Models[model] != nil {
		return model != ""
	}
	d.reportAt(path, closest(model, sorted(w.Models)), "unknown model %q", model)
	return false
}

// checkAlias reports conditions that nobody can meet.
func (d *decoder) checkAlias(w *Workload, path, model, alias string) {
	rule := w.Security.Aliases[model][alias]
	d.checkDistinct(path+".movers", rule.Movers)
	d.checkDistinct(path+".gates", rule.Gates)
	movers := rule.Movers
	if protected := alias == stoa.AliasChampion || alias == stoa.AliasPrevious; protected && movers == nil {
		if movers = w.Security.Approvers[model]; movers == nil {
			movers = []string{"owner"}
		}
	}
	if movers != nil && rule.People > len(movers) {
		d.reportAt(path+".people", "name more of them under movers", "%s.people is %d, and only %s may move it", path,
			rule.People, strings.Join(movers, ", "))
	}
}

// checkTarget reports a model whose labels cannot be known.
func (d *decoder) checkTarget(w *Workload, path, model string) {
	if data := w.Models[model].Data; data != "" && w.Data[data] == nil {
		return // reported as an unknown data set
	}
	if data := w.DataOf(model); data == nil || data.Target == nil {
		d.reportAt(path, fmt.Sprintf("give models.%s a data set with a target", model),
			"%s needs to know the target of model %q", path, model)
	}
}

func (d *decoder) checkEndpoint(w *Workload, name string) {
	path, e := "endpoints."+name, w.Endpoints[name]
	if len(e.Targets) == 0 {
		d.reportAt(path, "name a model under targets", "%s has no targets, and no model has its name", path)
	}
	total := 0
	for i, t := range e.Targets {
		at := fmt.Sprintf("%s.targets[%d]", path, i)
		d.checkModel(w, at+".model", t.Model)
		total += t.Weight
		for _, other := range e.Targets[:i] {
			if t.Model != "" && other.Model == t.Model && other.Version == t.Version {
				d.reportAt(at, "add up their weights", "%s: a second target on %s@%s", path, t.Model, t.Version)
			}
		}
	}
	if len(e.Targets) > 0 && total == 0 {
		d.reportAt(path+".targets", "give at least one target a weight", "%s: the weights are all zero", path)
	}
	for i, f := range e.Fallback {
		d.checkFallback(w, fmt.Sprintf("%s.fallback[%d]", path, i), e, f)
	}
}

func (d *decoder) checkFallback(w *Workload, path string, e *Endpoint, f *Fallback) {
	set := 0
	for _, is := range []bool{f.Model != "", f.Rule != nil, f.Answer != nil} {
		if is {
			set++
		}
	}
	if set != 1 {
		d.reportAt(path, "", "%s needs exactly one of model, rule and answer", path)
	}
	if f.Version != "" && f.Model == "" {
		d.reportAt(path+".version", "", "%s.version goes with model", path)
	}
	d.checkModel(w, path+".model", f.Model)
	if f.Rule == nil && f.Answer == nil {
		return
	}
	data := d.endpointData(w, path, e)
	if data == nil {
		return
	}
	if f.Answer != nil {
		d.checkClass(path+".answer.label", f.Answer.Label, data)
	}
	if f.Rule != nil {
		d.checkClass(path+".rule.then", f.Rule.Then, data)
		d.checkClass(path+".rule.else", f.Rule.Else, data)
		d.checkFeature(path+".rule.feature", f.Rule.Feature, data)
	}
}

// endpointData returns the data set whose classes and features an endpoint's rules speak of, or nil.
func (d *decoder) endpointData(w *Workload, path string, e *Endpoint) *Data {
	var names []string
	for _, t := range e.Targets {
		m := w.Models[t.Model]
		if m == nil || m.Data != "" && w.Data[m.Data] == nil {
			return nil // reported already
		}
		if !slices.Contains(names, m.Data) {
			names = append(names, m.Data)
		}
	}
	switch {
	case len(names) == 0:
		return nil
	case len(names) > 1:
		d.reportAt(path, "", "%s: the endpoint's models have different data sets, so a rule or answer cannot fit all", path)
		return nil
	case names[0] == "" || w.Data[names[0]].Target == nil:
		d.reportAt(path, "give the endpoint's model a data set with a target",
			"%s: the classes that it may answer are not known", path)
		return nil
	}
	return w.Data[names[0]]
}

func (d *decoder) checkClass(path, label string, data *Data) {
	if label != "" && !slices.Contains(data.Target.Classes, label) {
		d.reportAt(path, closest(label, data.Target.Classes), "%s is %s: not a class of target %q", path, quoted(label),
			data.Target.Name)
	}
}

func (d *decoder) checkFeature(path, name string, data *Data) {
	if name == "" {
		return
	}
	var names []string
	for _, f := range data.Features {
		if f.Name == name {
			if f.Type != "number" && f.Type != "integer" {
				d.reportAt(path, "", "%s: feature %q is of type %s; a rule compares numbers", path, name, f.Type)
			}
			return
		}
		names = append(names, f.Name)
	}
	d.reportAt(path, closest(name, names), "unknown feature %q", name)
}

// The placeholders of a retraining command.
const placeholders = "data model metrics workdir"

func (d *decoder) checkRetrain(path string, r *Retrain) {
	if r.WindowRows > 0 && float64(r.WindowRows)*min(r.Holdout, 1-r.Holdout) < 1 {
		d.reportAt(path+".holdout", "", "%s: a hold-out of %v of %d rows leaves less than one row", path, r.Holdout, r.WindowRows)
	}
	known := strings.Fields(placeholders)
	written := make(map[string]bool)
	placeholder := regexp.MustCompile(`\{([a-zA-Z_]*)\}`)
	for i, arg := range r.Command {
		at := fmt.Sprintf("%s.command[%d]", path, i)
		if i == 0 && strings.TrimSpace(arg) == "" {
			d.reportAt(at, "", "%s: the program has no name", path)
		}
		for _, match := range placeholder.FindAllStringSubmatch(arg, -1) {
			written[match[1]] = true
			if !slices.Contains(known, match[1]) {
				d.reportAt(at, closest(match[1], known), "%s: unknown placeholder %s", path, match[0])
			}
		}
	}
	for _, need := range []string{"data", "model"} {
		if len(r.Command) > 0 && !written[need] {
			d.reportAt(path+".command", "add {"+need+"} where the program expects the file",
				"%s.command does not use {%s}", path, need)
		}
	}
}

func sorted[T any](m map[string]T) []string { return slices.Sorted(maps.Keys(m)) }
