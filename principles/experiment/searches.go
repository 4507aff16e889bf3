package experiment

import (
	"context"
	"slices"
	"strings"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

const (
	defaultSearch = 1000  // results of a page
	maxSearch     = 50000 // results of a page
	defaultModels = 100
	defaultTraces = 100
	maxTraces     = 500
)

// pageSize is how many results a request wants.
func pageSize(wanted *Int64, otherwise, most int) (int, error) {
	if wanted == nil {
		return otherwise, nil
	}
	if *wanted < 1 {
		return 0, invalid("Invalid value %d for parameter 'max_results' supplied. It must be a positive integer", *wanted)
	}
	if *wanted > Int64(most) {
		return 0, invalid("Invalid value %d for parameter 'max_results' supplied. It must be at most %d", *wanted, most)
	}
	return int(*wanted), nil
}

// viewStages are the stages that a view shows.
func viewStages(view Enum) ([]string, error) {
	if view == "" {
		return []string{stageActive}, nil
	}
	name, known := view.oneOf(1, "ACTIVE_ONLY", "DELETED_ONLY", "ALL")
	if !known {
		return nil, invalidValue("view_type", view, "")
	}
	return map[string][]string{
		"ACTIVE_ONLY": {stageActive}, "DELETED_ONLY": {stageDeleted}, "ALL": {stageActive, stageDeleted},
	}[name], nil
}

// numbersOf reads ids of experiments.
func numbersOf(experimentIDs []string) ([]int64, error) {
	var ids []int64
	for _, text := range experimentIDs {
		id, err := parseExperimentID(text)
		if err != nil {
			return nil, err
		}
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}

// newQuery makes a query of what the requests of all searches have.
func newQuery(s *subject, filter string, order []string, limit int, token string) (*query, error) {
	clauses, err := s.grammar.parseFilter(filter)
	if err != nil {
		return nil, err
	}
	keys, err := s.grammar.parseOrder(order)
	if err != nil {
		return nil, err
	}
	q := &query{subject: s, filter: filter, clauses: clauses, order: keys, limit: limit, token: token}
	q.defaultOrder()
	return q, nil
}

// defaultOrder lets the newest come first among what the order keys leave equal.
func (q *query) defaultOrder() {
	for _, key := range q.order {
		if key.entity == entityAttribute && key.key == q.subject.time {
			return
		}
	}
	q.order = append(q.order, orderKey{entity: entityAttribute, key: q.subject.time, descending: true})
}

// SearchRuns gives a page of the runs of experiments that satisfy a filter, in order; without one, the latest start
// first.
func (t *Tracking) SearchRuns(
	ctx context.Context, _ stoa.Caller, req *SearchRunsRequest,
) (*SearchRunsResponse, error) {
	limit, err := pageSize(req.MaxResults, defaultSearch, maxSearch)
	if err != nil {
		return nil, err
	}
	q, err := newQuery(runSubject(), req.Filter, req.OrderBy, limit, req.PageToken)
	if err != nil {
		return nil, err
	}
	if q.stages, err = viewStages(req.RunViewType); err != nil {
		return nil, err
	}
	if q.experiments, err = numbersOf(req.ExperimentIDs); err != nil {
		return nil, err
	}
	found := &SearchRunsResponse{}
	err = t.read(ctx, func(tx *store.Tx) error {
		ids, token, err := q.run(ctx, tx)
		if err != nil {
			return err
		}
		found.NextPageToken = token
		found.Runs, err = readRuns(ctx, tx, ids)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// SearchExperiments gives a page of the experiments that satisfy a filter, in order; without one, the newest first.
func (t *Tracking) SearchExperiments(
	ctx context.Context, _ stoa.Caller, req *SearchExperimentsRequest,
) (*SearchExperimentsResponse, error) {
	limit, err := pageSize(req.MaxResults, defaultSearch, maxSearch)
	if err != nil {
		return nil, err
	}
	order := req.OrderBy
	if len(order) == 0 {
		order = []string{"creation_time DESC", "experiment_id ASC"}
	}
	q, err := newQuery(experimentSubject(), req.Filter, order, limit, req.PageToken)
	if err != nil {
		return nil, err
	}
	// Ids are numbers in texts: the last key orders them as numbers, so an order by the id is that key's direction.
	q.subject.byName = true
	for i, key := range q.order {
		if key.key == q.subject.name {
			q.subject.byName = key.descending
			q.order = q.order[:i]
			break
		}
	}
	if q.stages, err = viewStages(req.ViewType); err != nil {
		return nil, err
	}
	found := &SearchExperimentsResponse{}
	err = t.read(ctx, func(tx *store.Tx) error {
		ids, token, err := q.run(ctx, tx)
		if err != nil {
			return err
		}
		found.NextPageToken = token
		found.Experiments = make([]Experiment, len(ids))
		index := indexOf(ids)
		return inChunks(ids, func(marks string, args []any) error {
			chunk, err := experiments(ctx, tx, "WHERE id IN ("+marks+")", args...)
			for _, e := range chunk {
				id, err := parseExperimentID(e.ExperimentID)
				if err != nil {
					return err
				}
				found.Experiments[index[id]] = e
			}
			return err
		})
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// SearchLoggedModels gives a page of the active logged models of experiments that satisfy a filter, in order; without
// one, the newest first.
func (t *Tracking) SearchLoggedModels(
	ctx context.Context, _ stoa.Caller, req *SearchLoggedModelsRequest,
) (*SearchLoggedModelsResponse, error) {
	if len(req.ExperimentIDs) == 0 {
		return nil, missing("experiment_ids")
	}
	for _, d := range req.Datasets {
		if d.DatasetName == "" {
			return nil, invalid("`dataset_name` in the `datasets` clause must be specified.")
		}
	}
	limit, err := pageSize(req.MaxResults, defaultModels, maxSearch)
	if err != nil {
		return nil, err
	}
	q, err := newQuery(modelSubject(), req.Filter, nil, limit, req.PageToken)
	if err != nil {
		return nil, err
	}
	q.stages, q.datasets, q.order = []string{stageActive}, req.Datasets, nil
	for _, by := range req.OrderBy {
		if strings.Contains(by.FieldName, ".") && !strings.HasPrefix(by.FieldName, "metrics.") {
			return nil, invalid("Invalid order by field name: %s. Only metrics are supported.", by.FieldName)
		}
		key := orderKey{entity: entityMetric, key: strings.TrimPrefix(by.FieldName, "metrics.")}
		if !strings.Contains(by.FieldName, ".") {
			a, known := q.subject.grammar.attributes[by.FieldName]
			if !known {
				return nil, invalid("Invalid order by field name: %s", by.FieldName)
			}
			key = orderKey{entity: entityAttribute, key: a.column}
		}
		key.descending = by.Ascending != nil && !*by.Ascending
		key.dataset = DatasetName{by.DatasetName, by.DatasetDigest}
		q.order = append(q.order, key)
	}
	q.defaultOrder()
	if q.experiments, err = numbersOf(req.ExperimentIDs); err != nil {
		return nil, err
	}
	found := &SearchLoggedModelsResponse{}
	err = t.read(ctx, func(tx *store.Tx) error {
		ids, token, err := q.run(ctx, tx)
		if err != nil {
			return err
		}
		found.NextPageToken = token
		found.Models, err = readModels(ctx, tx, ids)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}
