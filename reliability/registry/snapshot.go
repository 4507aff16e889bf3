package registry

import (
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/stoaproject/stoa"
)

// A snapshot is everything the registry knows at one moment, the artifacts apart. It is never changed.
type snapshot struct {
	generation uint64
	models     map[string]*model
}

// A model is one model in a snapshot. It is never changed.
type model struct {
	versions []stoa.Version // version n is at n-1
	aliases  map[string]int
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

// find gives the version that ref names: a number, an alias or a digest.
func (m *model) find(ref string) (stoa.Version, bool) {
	if strings.HasPrefix(ref, "sha256:") {
		at := slices.IndexFunc(m.versions, func(v stoa.Version) bool { return v.Digest == ref })
		if at < 0 {
			return stoa.Version{}, false
		}
		return m.versions[at], true
	}
	number, err := strconv.Atoi(ref)
	if err != nil || strconv.Itoa(number) != ref {
		number = m.aliases[ref]
	}
	if number < 1 || number > len(m.versions) {
		return stoa.Version{}, false
	}
	return m.versions[number-1], true
}

// aliasNames lists the aliases for a hint.
func (m *model) aliasNames() string {
	if len(m.aliases) == 0 {
		return "none"
	}
	return strings.Join(slices.Sorted(maps.Keys(m.aliases)), ", ")
}

// with gives the next snapshot, in which the model name is m.
func (s *snapshot) with(name string, m *model) *snapshot {
	models := maps.Clone(s.models)
	models[name] = m
	return &snapshot{generation: s.generation + 1, models: models}
}

// withVersion gives the next snapshot, which has v as well.
func (s *snapshot) withVersion(v stoa.Version) *snapshot {
	next := &model{aliases: map[string]int{}}
	if before, found := s.models[v.Model]; found {
		// Each snapshot has one successor, so that appending touches nothing that an older one can see.
		next = &model{versions: before.versions, aliases: before.aliases}
	}
	next.versions = append(next.versions, v)
	return s.with(v.Model, next)
}

// withAliases gives the next snapshot, in which the aliases of a model that there is are these.
func (s *snapshot) withAliases(name string, aliases map[string]int) *snapshot {
	return s.with(name, &model{versions: s.models[name].versions, aliases: aliases})
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
