package registry

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stoaproject/stoa"
)

// Page sizes of the searches, upstream's.
const (
	pageModels      = 100
	pageModelsMax   = 1000
	pageVersions    = 10_000
	pageVersionsMax = 200_000
)

// SearchRegisteredModels is GET registered-models/search.
func (w *Wire) SearchRegisteredModels(
	_ context.Context, _ stoa.Caller, req *SearchRequest,
) (*SearchRegisteredModelsReply, error) {
	limit, err := pageSize(req, pageModels, pageModelsMax)
	if err != nil {
		return nil, err
	}
	found, next, err := search(w.registry.current.Load().allModels(), req, limit, modelGrammar())
	if err != nil {
		return nil, err
	}
	reply := &SearchRegisteredModelsReply{NextPageToken: next}
	for _, f := range found {
		reply.RegisteredModels = append(reply.RegisteredModels, f.model.wire(f.name))
	}
	return reply, nil
}

// SearchModelVersions is GET model-versions/search.
func (w *Wire) SearchModelVersions(
	_ context.Context, _ stoa.Caller, req *SearchRequest,
) (*SearchModelVersionsReply, error) {
	limit, err := pageSize(req, pageVersions, pageVersionsMax)
	if err != nil {
		return nil, err
	}
	found, next, err := search(w.registry.current.Load().allVersions(), req, limit, versionGrammar())
	if err != nil {
		return nil, err
	}
	reply := &SearchModelVersionsReply{NextPageToken: next}
	for _, f := range found {
		reply.ModelVersions = append(reply.ModelVersions, f.version.wire(nil))
	}
	return reply, nil
}

// pageSize reads max_results.
func pageSize(req *SearchRequest, usual, most int64) (int, error) {
	switch {
	case req.MaxResults == nil:
		return int(usual), nil
	case *req.MaxResults < 1:
		return 0, invalid(fmt.Sprintf("Invalid value for max_results. It must be a positive integer, but got %d",
			*req.MaxResults))
	case *req.MaxResults > most:
		return 0, badValue("max_results", *req.MaxResults, fmt.Sprintf("It must be at most %d, but got value %d. See the "+
			"API docs for more information about request parameters.", most, *req.MaxResults))
	}
	return int(*req.MaxResults), nil
}

// A hit is what a search looks at: a model, or a version of one.
type hit struct {
	name    string
	model   *model
	version *version // nil in a search for models
}

func (s *snapshot) allModels() []hit {
	hits := make([]hit, 0, len(s.models))
	for name, m := range s.models {
		hits = append(hits, hit{name: name, model: m})
	}
	return hits
}

func (s *snapshot) allVersions() []hit {
	var hits []hit
	for name, m := range s.models {
		for i := range m.versions {
			if !m.versions[i].deleted {
				hits = append(hits, hit{name: name, model: m, version: &m.versions[i]})
			}
		}
	}
	return hits
}

// tags are the tags that a search compares.
func (h *hit) tags() map[string]string {
	if h.version != nil {
		return h.version.tags
	}
	return h.model.tags
}

// isPrompt reports whether a search leaves the hit out unless it asks for prompts.
func (h *hit) isPrompt() bool {
	return h.model.isPrompt() || h.tags()[promptTag] == "true"
}

// text gives an attribute that compares as a text.
func (h *hit) text(key string) string {
	switch {
	case key == "name":
		return h.name
	case key == "run_id" && h.version != nil:
		return h.version.RunID
	case key == "source_path" && h.version != nil:
		return h.version.Source
	}
	return ""
}

// number gives an attribute that compares as a number.
func (h *hit) number(key string) int64 {
	switch {
	case key == "version_number" && h.version != nil:
		return int64(h.version.Number)
	case key == "creation_timestamp" && h.version != nil:
		return h.version.CreatedAt.UnixMilli()
	case key == "creation_timestamp":
		return h.model.createdAt.UnixMilli()
	case h.version != nil:
		return h.version.updatedAt.UnixMilli()
	}
	return h.model.updatedAt.UnixMilli()
}

// search filters, orders and cuts hits as a request asks.
func search(hits []hit, req *SearchRequest, limit int, g grammar) (page []hit, next string, err error) {
	clauses, err := g.parseFilter(req.Filter)
	if err != nil {
		return nil, "", err
	}
	order, err := g.parseOrder(req.OrderBy)
	if err != nil {
		return nil, "", err
	}
	after, err := readToken(req)
	if err != nil {
		return nil, "", err
	}
	prompts, clauses := asksForPrompts(clauses)
	hits = slices.DeleteFunc(hits, func(h hit) bool {
		// When prompts are wanted their tag is compared like any other.
		if !prompts && h.isPrompt() || after != nil && order.compare(keyOf(&h), *after) <= 0 {
			return true
		}
		return slices.ContainsFunc(clauses, func(c clause) bool { return !c.holds(&h) })
	})
	slices.SortFunc(hits, func(a, b hit) int { return order.compare(keyOf(&a), keyOf(&b)) })
	if len(hits) > limit {
		hits = hits[:limit]
		next = writeToken(req, keyOf(&hits[limit-1]))
	}
	return hits, next, nil
}

// asksForPrompts reports whether a filter wants prompts, which searches hide otherwise; a filter that says that it does
// not want them says what is so already.
func asksForPrompts(clauses []clause) (bool, []clause) {
	at := slices.IndexFunc(clauses, func(c clause) bool { return c.tag && c.key == promptTag })
	if at < 0 {
		return false, clauses
	}
	c := clauses[at]
	wanted := c.operator == "=" && strings.EqualFold(c.text, "true") ||
		c.operator == "!=" && strings.EqualFold(c.text, "false")
	if wanted {
		return true, clauses
	}
	return false, slices.DeleteFunc(clauses, func(c clause) bool { return c.tag && c.key == promptTag })
}

// A sortKey is what orders a hit.
type sortKey struct {
	Name    string `json:"name"`
	Number  int64  `json:"number,omitempty"`
	Created int64  `json:"created"`
	Updated int64  `json:"updated"`
}

func keyOf(h *hit) sortKey {
	key := sortKey{
		Name: h.name, Created: h.number("creation_timestamp"), Updated: h.number("last_updated_timestamp"),
	}
	if h.version != nil {
		key.Number = int64(h.version.Number)
	}
	return key
}

// An ordering is a list of keys, the first counting most.
type ordering []orderKey

type orderKey struct {
	key        string
	descending bool
}

func (o ordering) compare(a, b sortKey) int {
	for _, k := range o {
		var c int
		switch k.key {
		case "name":
			c = cmp.Compare(a.Name, b.Name)
		case "version_number":
			c = cmp.Compare(a.Number, b.Number)
		case "creation_timestamp":
			c = cmp.Compare(a.Created, b.Created)
		default:
			c = cmp.Compare(a.Updated, b.Updated)
		}
		if k.descending {
			c = -c
		}
		if c != 0 {
			return c
		}
	}
	return 0
}
