package registry

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
)

// A snapshot is everything the registry knows at one moment, the artifacts apart. It is never changed.
type snapshot struct {
	generation uint64
	models     map[string]*model
}

// A model is one model in a snapshot. It is never changed.
type model struct {
	about
	versions []version // version n is at n-1, deleted ones included
	aliases  map[string]int
}

// about is what people write about a model.
type about struct {
	description          string
	tags                 map[string]string
	createdAt, updatedAt time.Time
}

// A version is a [stoa.Version], which never changes, with what people and gates say of it, which does.
type version struct {
	stoa.Version
	modelID, runLink, storage string
	description               *string
	stage                     string
	tags                      map[string]string
	gates                     map[string]Gate // the newest result of each gate
	updatedAt                 time.Time
	deleted                   bool
}

// model finds a model by its name.
func (s *snapshot) model(name string) (*model, error) {
	if m, found := s.models[name]; found {
		return m, nil
	}
	return nil, &stoa.Refusal{
		Reason:  stoa.ReasonUnknownModel,
		Message: "there is no model " + strconv.QuoteToASCII(name[:min(len(name), 140)]),
		Hint:    "register a version of it first",
	}
}

// at gives the version with a number, unless it is deleted.
func (m *model) at(number int) (version, bool) {
	if number < 1 || number > len(m.versions) || m.versions[number-1].deleted {
		return version{}, false
	}
	return m.versions[number-1], true
}

// find gives the version that ref names: a number, an alias or a digest. Of several with one digest it is the oldest.
func (m *model) find(ref string) (version, bool) {
	if strings.HasPrefix(ref, "sha256:") {
		at := slices.IndexFunc(m.versions, func(v version) bool { return v.Digest == ref && !v.deleted })
		return m.at(at + 1)
	}
	number, err := strconv.Atoi(ref)
	if err != nil || strconv.Itoa(number) != ref {
		number = m.aliases[ref]
	}
	return m.at(number)
}

// aliasNames lists the aliases for a hint.
func (m *model) aliasNames() string {
	if len(m.aliases) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(m.aliases)), ", ")
}

// aliasesOf lists the aliases that point at a version.
func (m *model) aliasesOf(number int) []string {
	var names []string
	for alias, at := range m.aliases {
		if at == number {
			names = append(names, alias)
		}
	}
	slices.Sort(names)
	return names
}

// isPrompt reports whether the model is a text for a language model, which rides on MLflow's registry.
func (a *about) isPrompt() bool { return strings.EqualFold(a.tags[promptTag], "true") }

// with gives the next snapshot, in which the model name is m; nil takes it out.
func (s *snapshot) with(name string, m *model) *snapshot {
	models := maps.Clone(s.models)
	if m == nil {
		delete(models, name)
	} else {
		models[name] = m
	}
	return &snapshot{generation: s.generation + 1, models: models}
}

// withVersion gives the model after v has been added to it, or has taken the place of the version with its number.
func (m *model) withVersion(v version) *model {
	next := *m
	if v.Number <= len(m.versions) {
		next.versions = slices.Clone(m.versions)
		next.versions[v.Number-1] = v
		return &next
	}
	// Each snapshot has one successor, so that appending touches nothing that an older one can see.
	next.versions = append(m.versions, v)
	return &next
}

// withAliases gives the model with other aliases.
func (m *model) withAliases(aliases map[string]int) *model {
	next := *m
	next.aliases = aliases
	return &next
}

// withAbout gives the model with something else said about it.
func (m *model) withAbout(a about) *model {
	next := *m
	next.about = a
	return &next
}

// clone copies what a caller could change.
func clone(v stoa.Version) stoa.Version {
	v.Parameters, v.Metrics = maps.Clone(v.Parameters), maps.Clone(v.Metrics)
	v.Inputs, v.Outputs = cloneSpecs(v.Inputs), cloneSpecs(v.Outputs)
	return v
}

func cloneSpecs(specs []stoa.TensorSpec) []stoa.TensorSpec {
	specs = slices.Clone(specs)
	for i := range specs {
		specs[i].Shape = slices.Clone(specs[i].Shape)
	}
	return specs
}
