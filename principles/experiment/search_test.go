package experiment_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/principles/experiment"
)

// named makes runs with what bodies, in the wire's JSON of a batch, say; a run's name is its key.
func (r *room) named(t testing.TB, bodies map[string]string) {
	t.Helper()
	for name, body := range bodies {
		made, err := r.CreateRun(t.Context(), r.caller, &experiment.CreateRunRequest{
			RunName: name, UserID: "ann", StartTime: experiment.Int64(len(name)),
		})
		ok(t, err)
		req := decode[experiment.LogBatchRequest](t, body)
		req.RunID = made.Run.Info.RunID
		_, err = r.LogBatch(t.Context(), r.caller, req)
		ok(t, err)
	}
}

// search gives the names of the runs found, in order.
func (r *room) search(t testing.TB, req *experiment.SearchRunsRequest) string {
	t.Helper()
	if req.ExperimentIDs == nil {
		req.ExperimentIDs = []string{"0"}
	}
	found, err := r.SearchRuns(t.Context(), r.caller, req)
	ok(t, err)
	var names []string
	for _, run := range found.Runs {
		names = append(names, run.Info.RunName)
	}
	return strings.Join(names, " ")
}

func TestSearchRuns(t *testing.T) {
	r := open(t)
	long := strings.Repeat("x", 99)
	r.named(t, map[string]string{
		"a": `{"metrics": [{"key": "acc", "value": 0.5, "timestamp": 1}, {"key": "a b", "value": 1, "timestamp": 1}],
			"params": [{"key": "lr", "value": "0.1"}], "tags": [{"key": "team", "value": "Blue"}]}`,
		"bb": `{"metrics": [{"key": "acc", "value": 0.9, "timestamp": 1}],
			"params": [{"key": "lr", "value": "0.2"}], "tags": [{"key": "team", "value": "blue"}]}`,
		"ccc":  `{"metrics": [{"key": "acc", "value": "NaN", "timestamp": 1}], "tags": [{"key": "team", "value": "it's"}]}`,
		"dddd": `{"params": [{"key": "lr", "value": "` + long + `a"}], "tags": [{"key": "mlflow.x", "value": "100%"}]}`,
		"eeeee": `{"params": [{"key": "lr", "value": "` + long + `b"}],
			"metrics": [{"key": "acc", "value": "-Infinity", "timestamp": 1}]}`,
	})
	for filter, want := range map[string]string{
		"":                                            "eeeee dddd ccc bb a",
		"metrics.acc > 0.5":                           "bb",
		"metrics.acc >= .5 and metric.acc<1e3":        "bb a",
		"metrics.acc = 0":                             "",
		"metrics.acc != 0.5":                          "eeeee ccc bb",
		"metrics.acc < -5":                            "eeeee",
		"metrics.`a b` = 1":                           "a",
		`metrics."a b" = 1`:                           "a",
		"params.lr = '0.1'":                           "a",
		`params.lr = "0.1"`:                           "a",
		"params.lr != '0.1'":                          "eeeee dddd bb",
		"params.lr = '" + long + "a'":                 "dddd",
		"params.lr != '" + long + "a'":                "eeeee bb a",
		"params.lr LIKE '%b'":                         "eeeee",
		"params.lr IS NULL":                           "ccc",
		"params.lr is not null AND tags.team IS NULL": "eeeee dddd",
		"tags.team LIKE 'b%'":                         "bb",
		"tags.team ILIKE 'b%'":                        "bb a",
		"tags.team ILIKE 'b_ue'":                      "bb a",
		"tags.team = 'it''s'":                         "ccc",
		`tags.team = "it's"`:                          "ccc",
		"tags.mlflow.x = '100%'":                      "dddd",
		"tags.`mlflow.x` LIKE '%\\%'":                 "",
		"run_name = 'a'":                              "a",
		"attributes.run_name LIKE '%e%'":              "eeeee",
		"run_name IN ('a', 'bb', 'z')":                "bb a",
		"attr.run_name NOT IN ('a', 'bb')":            "eeeee dddd ccc",
		"run.status = 'RUNNING' AND start_time < 3":   "bb a",
		"`Run name` = 'a'":                            "a",
		"created >= 4":                                "eeeee dddd",
		"end_time > 0":                                "",
		"user_id != 'ann'":                            "",
	} {
		if got := r.search(t, &experiment.SearchRunsRequest{Filter: filter}); got != want {
			t.Errorf("%s: found %q, want %q", filter, got, want)
		}
	}
	for order, want := range map[string]string{
		"metrics.acc":             "eeeee a bb ccc dddd",
		"metrics.acc DESC":        "bb a eeeee ccc dddd",
		"params.lr asc":           "a bb dddd eeeee ccc",
		"tags.`team` DESC":        "ccc bb a eeeee dddd",
		"attributes.start_time":   "a bb ccc dddd eeeee",
		"run_name DESC":           "eeeee dddd ccc bb a",
		"end_time, run_name DESC": "eeeee dddd ccc bb a",
	} {
		if got := r.search(t, &experiment.SearchRunsRequest{OrderBy: strings.Split(order, ", ")}); got != want {
			t.Errorf("by %s: found %q, want %q", order, got, want)
		}
	}
}

func TestSearchRefused(t *testing.T) {
	r := open(t)
	for filter, want := range map[string]string{
		"metrics.acc > 0.5 OR metrics.acc < 1": "Invalid clause(s) in filter string: 'OR' (at position 19)",
		"metrics.acc >":                        "Expected numeric value type for metric: acc. Found  (at position 14)",
		"metrics.acc > 'a'":                    "Expected numeric value type for metric: acc. Found 'a' (at position 15)",
		"metrics.acc LIKE 'a'":                 "Invalid comparator 'LIKE' not one of",
		"params.a > 'b'":                       "Invalid comparator '>' not one of",
		"params.a = 1":                         "Expected a quoted string value for parameter (e.g. 'my-value'). Got value 1",
		"params.é = b AND":                     "(at position 12)",
		"bad.a = 'b'":                          "Invalid entity type 'bad'. Valid values are ['attribute', 'dataset', 'metric',",
		"nope = 'b'":                           "Invalid attribute key 'nope' specified. Valid keys are ['Created',",
		"dataset.size = 'b'":                   "Invalid dataset key 'size' specified.",
		"params.a = 'b' AND":                   "expected a comparison after AND (at position 19)",
		"(params.a = 'b')":                     "Invalid clause(s) in filter string: '(' (at position 1)",
		"run_name IN ('a' 'b')":                "expected ',' or ')', found ''b'' (at position 18)",
		"run_name IN 'a'":                      "expected '('",
		"params.a IS 3":                        "Expected NULL after IS, found '3' (at position 13)",
		"run_name IS NULL":                     "Invalid comparator 'IS NULL'",
		"params.a = 'b":                        "Got value 'b (at position 12)",
		"1 = 1":                                "Expected 'Identifier' found '1' (at position 1)",
	} {
		_, err := r.SearchRuns(t.Context(), r.caller, &experiment.SearchRunsRequest{ExperimentIDs: []string{"0"}, Filter: filter})
		refused(t, err, stoa.ReasonInvalid, want)
	}
	for order, want := range map[string]string{
		"metrics.a UP":            "Invalid ordering key in order_by clause 'metrics.a UP'.",
		"'a'":                     "Could not be parsed.",
		"metrics.a DESC x":        "Could not be parsed.",
		"metrics.a,metric.a DESC": "`order_by` contains duplicate fields",
		"datasets.name":           "Invalid order_by entity type",
	} {
		_, err := r.SearchRuns(t.Context(), r.caller, &experiment.SearchRunsRequest{OrderBy: strings.Split(order, ",")})
		refused(t, err, stoa.ReasonInvalid, want)
	}
	for _, wrong := range []experiment.Int64{0, -1, 50001} {
		_, err := r.SearchRuns(t.Context(), r.caller, &experiment.SearchRunsRequest{MaxResults: &wrong})
		refused(t, err, stoa.ReasonInvalid, "max_results")
	}
	_, err := r.SearchRuns(t.Context(), r.caller, &experiment.SearchRunsRequest{PageToken: "§"})
	refused(t, err, stoa.ReasonInvalid, "Invalid page token")
}

func TestPagesOfRuns(t *testing.T) {
	r, ctx := open(t), t.Context()
	bodies := map[string]string{}
	for i := range 23 {
		bodies[fmt.Sprintf("run%02d", i)] = fmt.Sprintf(`{"metrics": [{"key": "m", "value": %d, "timestamp": 1}]}`, i%4)
	}
	r.named(t, bodies)
	seen := map[string]int{}
	size := experiment.Int64(5)
	req := &experiment.SearchRunsRequest{ExperimentIDs: []string{"0"}, OrderBy: []string{"metrics.m DESC"}, MaxResults: &size}
	for page := 0; ; page++ {
		found, err := r.SearchRuns(ctx, r.caller, req)
		ok(t, err)
		for _, run := range found.Runs {
			seen[run.Info.RunName]++
		}
		if page == 1 {
			// What comes and goes between pages moves nothing else.
			r.run(t, "0")
			_, err := r.DeleteRun(ctx, r.caller, &experiment.RunRequest{RunID: found.Runs[0].Info.RunID})
			ok(t, err)
		}
		if req.PageToken = found.NextPageToken; req.PageToken == "" {
			break
		}
	}
	for name := range bodies {
		if seen[name] != 1 {
			t.Errorf("%s was on %d pages", name, seen[name])
		}
	}
	first, err := r.SearchRuns(ctx, r.caller, &experiment.SearchRunsRequest{ExperimentIDs: []string{"0"}, MaxResults: &size})
	ok(t, err)
	_, err = r.SearchRuns(ctx, r.caller, &experiment.SearchRunsRequest{
		ExperimentIDs: []string{"0"}, Filter: "run_name = 'a'", PageToken: first.NextPageToken,
	})
	refused(t, err, stoa.ReasonInvalid, "Invalid page token: it is of another search")
}

func TestSearchExperiments(t *testing.T) {
	r, ctx := open(t), t.Context()
	for i := range 12 {
		_, err := r.CreateExperiment(ctx, r.caller, &experiment.CreateExperimentRequest{
			Name: fmt.Sprintf("e%d", i), Tags: []experiment.Tag{{Key: "odd", Value: fmt.Sprint(i % 2)}},
		})
		ok(t, err)
	}
	_, err := r.DeleteExperiment(ctx, r.caller, &experiment.GetExperimentRequest{ExperimentID: "1"})
	ok(t, err)
	for _, c := range []struct {
		req  experiment.SearchExperimentsRequest
		want string
	}{
		{experiment.SearchExperimentsRequest{}, "0 2 3 4 5 6 7 8 9 10 11 12"},
		{experiment.SearchExperimentsRequest{ViewType: "DELETED_ONLY"}, "1"},
		{experiment.SearchExperimentsRequest{ViewType: "3", OrderBy: []string{"experiment_id DESC"}}, "12 11 10 9 8 7 6 5 4 3 2 1 0"},
		{experiment.SearchExperimentsRequest{Filter: "tags.odd = '1' AND name LIKE 'e1%'", ViewType: "2"}, ""},
		{experiment.SearchExperimentsRequest{Filter: "tag.odd = '1' AND attribute.name LIKE 'e1%'"}, "2 12"},
		{experiment.SearchExperimentsRequest{Filter: "creation_time > 5 AND experiment_id IN ('3', '12')"}, "3 12"},
		{experiment.SearchExperimentsRequest{Filter: "experiment_id = '7'"}, "7"},
		{experiment.SearchExperimentsRequest{Filter: "tags.odd IS NULL"}, "0"},
		{experiment.SearchExperimentsRequest{Filter: "name ILIKE 'E_'", OrderBy: []string{"name DESC"}}, "10 9 8 7 6 5 4 3 2"},
	} {
		var got []string
		size := experiment.Int64(4)
		for c.req.MaxResults = &size; ; {
			found, err := r.SearchExperiments(ctx, r.caller, &c.req)
			ok(t, err)
			for _, e := range found.Experiments {
				got = append(got, e.ExperimentID)
			}
			if c.req.PageToken = found.NextPageToken; c.req.PageToken == "" {
				break
			}
		}
		if s := strings.Join(got, " "); s != c.want {
			t.Errorf("%+v: found %s, want %s", c.req, s, c.want)
		}
	}
}
