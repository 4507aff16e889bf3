package registry

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stoaproject/stoa"
)

// shelf is a snapshot of three models and a prompt.
func shelf() *snapshot {
	at := func(second int64) time.Time { return time.Unix(second, 0).UTC() }
	one := func(model string, number int, updated int64, run, source string, tags map[string]string) version {
		return version{
			Version: stoa.Version{Model: model, Number: number, RunID: run, Source: source, CreatedAt: at(int64(number))},
			stage:   stageNone, tags: tags, updatedAt: at(updated),
		}
	}
	gone := one("price", 3, 99, "r9", "runs:/r9/m", nil)
	gone.deleted = true
	return &snapshot{models: map[string]*model{
		"price": {about: about{tags: map[string]string{"team": "Alpha", "tier": "1"}, updatedAt: at(10)}, versions: []version{
			one("price", 1, 5, "r1", "runs:/r1/m", map[string]string{"team": "Alpha"}),
			one("price", 2, 7, "r2", "runs:/r2/it's", map[string]string{"team": "beta", "my key": "v"}), gone,
		}},
		"Cost":   {about: about{tags: map[string]string{"team": "beta"}, updatedAt: at(30)}},
		"demand": {about: about{updatedAt: at(20)}, versions: []version{one("demand", 1, 7, "", "models:/price/1", nil)}},
		"prompt": {about: about{tags: map[string]string{promptTag: "true", "team": "Alpha"}, updatedAt: at(40)},
			versions: []version{one("prompt", 1, 50, "", "dummy-source", map[string]string{promptTag: "true"})}},
	}}
}

// names says which hits a search finds, in their order.
func names(t testing.TB, hits []hit, filter string, g grammar, order ...string) string {
	t.Helper()
	found, _, err := search(hits, &SearchRequest{Filter: filter, OrderBy: order}, 100, g)
	if err != nil {
		return err.Error()
	}
	var list []string
	for _, h := range found {
		if h.version != nil {
			h.name += fmt.Sprint(h.version.Number)
		}
		list = append(list, h.name)
	}
	return strings.Join(list, " ")
}

func TestSearchForModels(t *testing.T) {
	for filter, want := range map[string]string{
		"": "Cost demand price", "  ": "Cost demand price",
		"name = 'price'": "price", `name="price"`: "price", "attribute.name = 'price'": "price",
		"name != 'price'": "Cost demand", "name LIKE '%c%'": "price", "name ilike '%C%'": "Cost price",
		"name LIKE 'p_ice'": "price", "name LIKE 'p_'": "", "name LIKE '%'": "Cost demand price",
		"name IN ('price', 'Cost')": "Cost price", "name NOT IN ('price',)": "Cost demand",
		"tags.team = 'Alpha'": "price", "tag.team != 'Alpha'": "Cost", "tags.`team` LIKE '%a'": "Cost price",
		`tags."team" ILIKE 'ALPHA'`: "price", "tags.team = 'Alpha' AND tags.tier = '1'": "price",
		"tags.team = 'Alpha' and name = 'Cost'":                "",
		"tags.`mlflow.prompt.is_prompt` = 'true'":              "prompt",
		"tags.`mlflow.prompt.is_prompt` != 'true'":             "Cost demand price",
		"tags.mlflow.prompt.is_prompt = 'false'":               "Cost demand price",
		"tags.`mlflow.prompt.is_prompt` = 'true' AND name='x'": "",
	} {
		if got := names(t, shelf().allModels(), filter, modelGrammar()); got != want {
			t.Errorf("%s: found %q, want %q", filter, got, want)
		}
	}
}

func TestSearchForVersions(t *testing.T) {
	const all = "demand1 price2 price1"
	for filter, want := range map[string]string{
		"": all, "run_id = 'r1'": "price1", "run_id IN ('r1','r2')": "price2 price1", "run_id NOT IN ('r1')": "demand1 price2",
		"source_path LIKE 'runs:%'": "price2 price1", "source_path = \"runs:/r2/it's\"": "price2",
		"source_path = 'runs:/r2/it''s'": "price2", "version_number > 1": "price2", "version_number <= '1'": "demand1 price1",
		"version_number != 1 AND name = 'price'": "price2", "tags.`my key` = 'v'": "price2", "tags.team ILIKE 'a%'": "price1",
		"tag.mlflow.prompt.is_prompt = 'true'": "prompt1", "name = 'prompt'": "", "run_id = 'r9'": "",
	} {
		if got := names(t, shelf().allVersions(), filter, versionGrammar()); got != want {
			t.Errorf("%s: found %q, want %q", filter, got, want)
		}
	}
}

func TestOrder(t *testing.T) {
	for _, test := range []struct {
		versions bool
		order    []string
		want     string
	}{
		{false, nil, "Cost demand price"},
		{false, []string{"name DESC"}, "price demand Cost"},
		{false, []string{"timestamp"}, "price demand Cost"},
		{false, []string{"`last_updated_timestamp` desc", "name ASC"}, "Cost demand price"},
		{false, []string{"creation_timestamp"}, "Invalid order by key 'creation_timestamp' specified. Valid keys are " +
			"'{'last_updated_timestamp', 'name', 'timestamp'}'"},
		{false, []string{"timestamp", "last_updated_timestamp"},
			"`order_by` contains duplicate fields: ['timestamp', 'last_updated_timestamp']"},
		{false, []string{"name up"}, "Invalid ordering key in order_by clause 'name up'."},
		{false, []string{"name ASC x"}, "Invalid order_by clause 'name ASC x'. Could not be parsed."},
		{false, []string{""}, "Invalid order_by clause ''. Could not be parsed."},
		{true, []string{"version_number"}, "demand1 price1 price2"},
		{true, []string{"name DESC", "attribute.version_number ASC"}, "price1 price2 demand1"},
		{true, []string{"creation_timestamp DESC"}, "price2 demand1 price1"},
	} {
		hits, g := shelf().allModels(), modelGrammar()
		if test.versions {
			hits, g = shelf().allVersions(), versionGrammar()
		}
		if got := names(t, hits, "", g, test.order...); !strings.HasSuffix(got, test.want) {
			t.Errorf("%q: %q, want %q", test.order, got, test.want)
		}
	}
}

func TestWhereAFilterIsWrong(t *testing.T) {
	for filter, want := range map[string]string{
		"name":                               "Expected comparison found '' (at position 5)",
		"name = ":                            "Got value  (at position 8)",
		"name = price":                       "Got value price (at position 8)",
		"= 'x'":                              "Expected 'Identifier' found '=' (at position 1)",
		"name = 'x' OR name = 'y'":           "Invalid clause(s) in filter string: OR; expected AND (at position 12)",
		"name = 'x' AND":                     "",
		"name = 'x' name = 'y'":              "expected AND (at position 12)",
		"name = 'x":                          "the quote ' is not closed (at position 8)",
		"(name = 'x')":                       "found '(' (at position 1)",
		"name = 'x'; DROP TABLE x":           "Invalid clause(s) in filter string: ; (at position 11)",
		"size = 'x'":                         "Invalid attribute key 'size' specified",
		"params.x = 'x'":                     "Invalid entity type 'params'. Valid entity types are ('attribute', 'tag', 'tags') (at position 1)",
		"name > 'x'":                         "Invalid comparator for attribute: > (at position 6)",
		"tags.x > 'x'":                       "Invalid comparator for tag: > (at position 8)",
		"tags.x IN ('x')":                    "Invalid comparator for tag: IN (at position 8)",
		"tags.x = 1":                         "Expected a quoted string value for tag (e.g. 'my-value'). Got value 1 (at position 10)",
		"name = 1":                           "Got value 1 (at position 8)",
		"version_number LIKE '1'":            "Invalid comparator for attribute version_number: LIKE (at position 16)",
		"version_number = 1.5":               "Invalid value for numeric attribute 'version_number': 1.5 (at position 18)",
		"version_number IN (1)":              "Invalid comparator for attribute version_number: IN (at position 16)",
		"source_path IN ('x')":               "attributes support comparison with a list of quoted string values. (at position 16)",
		"run_id IN ()":                       "ill-formed list. (at position 12)",
		"run_id IN ('a' 'b')":                "ill-formed list. (at position 16)",
		"run_id IN (1)":                      "ill-formed list. (at position 12)",
		"run_id IN 'a'":                      "ill-formed list. (at position 11)",
		"name = 'x' AND é = 'x'":             "Invalid attribute key 'é' specified",
		"name = 'é' AND name ~ 'x'":          "Invalid clause(s) in filter string: ~ (at position 21)",
		"tags.`a = 'x'":                      "the quote ` is not closed (at position 6)",
		strings.Repeat("name='a' AND ", 3e3): "",
	} {
		clauses, err := versionGrammar().parseFilter(filter)
		var refusal *stoa.Refusal
		switch {
		case want == "": // a last AND with nothing after it is let pass, as upstream does
			if err != nil || len(clauses) == 0 {
				t.Errorf("%.80s: %d clauses, %v", filter, len(clauses), err)
			}
		case !errors.As(err, &refusal) || refusal.Reason != stoa.ReasonInvalid || !strings.Contains(refusal.Message, want):
			t.Errorf("%.80s: %v, want %s", filter, err, want)
		}
	}
}

// TestPagesHaveEveryHitOnce reads a search page by page, while models come and go between the pages.
func TestPagesHaveEveryHitOnce(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := &snapshot{models: map[string]*model{}}
		for _, name := range rapid.SliceOfNDistinct(rapid.StringMatching("[a-z]{1,3}"), 0, 30, rapid.ID).Draw(t, "names") {
			s.models[name] = &model{about: about{updatedAt: time.Unix(rapid.Int64Range(0, 5).Draw(t, "at"), 0)}}
		}
		order := rapid.SampledFrom([][]string{nil, {"name DESC"}, {"timestamp"}, {"timestamp DESC"}}).Draw(t, "order")
		limit := rapid.IntRange(1, 7).Draw(t, "limit")
		req := &SearchRequest{OrderBy: order}
		var read []string
		for page := 0; ; page++ {
			hits, next, err := search(s.allModels(), req, limit, modelGrammar())
			if err != nil || len(hits) > limit {
				t.Fatalf("page %d of %d hits, %v", page, len(hits), err)
			}
			for _, h := range hits {
				read = append(read, h.name)
			}
			if next == "" {
				break
			}
			req.PageToken = next
			delete(s.models, read[0]) // what goes must not hide what is to come
		}
		slices.Sort(read)
		if n := len(slices.Compact(slices.Clone(read))); n != len(read) {
			t.Fatalf("a hit is there twice: %q", read)
		}
		for name := range s.models {
			if _, found := slices.BinarySearch(read, name); !found {
				t.Fatalf("%s is missing in %q", name, read)
			}
		}
	})
}

func TestTokensOfOtherSearches(t *testing.T) {
	_, next, err := search(shelf().allModels(), &SearchRequest{}, 1, modelGrammar())
	if err != nil || next == "" {
		t.Fatal(next, err)
	}
	for _, req := range []*SearchRequest{
		{PageToken: next, Filter: "name != 'x'"}, {PageToken: next, OrderBy: []string{"name"}},
		{PageToken: "%%%"}, {PageToken: "bm8="}, {PageToken: next[4:]},
	} {
		var refusal *stoa.Refusal
		if _, _, err := search(shelf().allModels(), req, 1, modelGrammar()); !errors.As(err, &refusal) {
			t.Errorf("%+v: %v", req, err)
		}
	}
}

// TestLike compares the matcher with the meaning of a pattern, spelled out.
func TestLike(t *testing.T) {
	var means func(text, pattern string) bool
	means = func(text, pattern string) bool {
		switch {
		case pattern == "":
			return text == ""
		case pattern[0] == '%':
			return means(text, pattern[1:]) || text != "" && means(text[1:], pattern)
		}
		return text != "" && (pattern[0] == '_' || pattern[0] == text[0]) && means(text[1:], pattern[1:])
	}
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching("[ab]{0,8}").Draw(t, "text")
		pattern := rapid.StringMatching("[ab%_]{0,8}").Draw(t, "pattern")
		if got := like([]rune(text), []rune(pattern)); got != means(text, pattern) {
			t.Errorf("%q like %q: %v", text, pattern, got)
		}
	})
}

func FuzzFilter(f *testing.F) {
	for _, filter := range []string{"name = 'a' AND tags.`b c` ILIKE \"%x%\"", "run_id IN ('a','b')", "version_number >= -3"} {
		f.Add(filter)
	}
	f.Fuzz(func(t *testing.T, filter string) {
		for _, g := range []grammar{modelGrammar(), versionGrammar()} {
			clauses, err := g.parseFilter(filter)
			var refusal *stoa.Refusal
			if err != nil && !errors.As(err, &refusal) {
				t.Fatalf("%q: %v", filter, err)
			}
			for _, h := range shelf().allVersions() {
				for _, c := range clauses {
					c.holds(&h)
				}
			}
		}
	})
}

func FuzzSource(f *testing.F) {
	for _, text := range []string{"runs:/r1/model", "models:/price@champion", "mlflow-artifacts:/a/%2e%2e/b", "models:/m-1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		src, err := parseSource(text)
		if err != nil {
			return
		}
		if _, rest, _ := strings.Cut(text, ":"); climbs(rest) || strings.HasPrefix(rest, "//") {
			t.Errorf("%q climbs, and is taken for %+v", text, src)
		}
		if !slices.Contains([]string{"runs", "models", "mlflow-artifacts"}, src.scheme) {
			t.Errorf("%q is taken for %+v", text, src)
		}
	})
}

func FuzzPageToken(f *testing.F) {
	f.Add(writeToken(&SearchRequest{}, sortKey{Name: "a"}))
	f.Fuzz(func(t *testing.T, text string) {
		if _, _, err := search(shelf().allVersions(), &SearchRequest{PageToken: text}, 2, versionGrammar()); err != nil {
			var refusal *stoa.Refusal
			if !errors.As(err, &refusal) {
				t.Error(err)
			}
		}
	})
}
