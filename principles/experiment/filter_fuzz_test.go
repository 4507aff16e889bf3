package experiment

import (
	"testing"
	"unicode/utf8"
)

// FuzzFilter looks for filters that are read wrongly: what is accepted has a known entity and operator in each clause,
// and nothing panics.
func FuzzFilter(f *testing.F) {
	for _, seed := range []string{
		"metrics.`a b` >= -1.5e3 AND params.\"x\" != 'it''s'", "run_name NOT IN ('a', \"b\")", "tags.a IS NOT NULL",
		"metrics.a > 1 OR", "'", "`", "\"a\".\"b\" = 'c'", "a.b.c.d LIKE '%'", "tags.a RLIKE '('", "é = 'é'", "\xff = 1",
	} {
		f.Add(seed)
	}
	grammars := []*grammar{runGrammar(), experimentGrammar(), modelGrammar(), traceGrammar()}
	f.Fuzz(func(t *testing.T, text string) {
		for _, g := range grammars {
			clauses, err := g.parseFilter(text)
			if err != nil {
				if !isRefusal(err) {
					t.Errorf("%q gives %v", text, err)
				}
				continue
			}
			for _, c := range clauses {
				if c.entity == "" || c.key == "" || c.op == "" {
					t.Errorf("%q has the clause %+v", text, c)
				}
				if utf8.ValidString(text) && !utf8.ValidString(head(c.text)) {
					t.Errorf("%q has the head %q", text, head(c.text))
				}
			}
			if _, err := g.parseOrder([]string{text}); err != nil && !isRefusal(err) {
				t.Errorf("order %q gives %v", text, err)
			}
		}
	})
}

// FuzzArtifactPath looks for paths that leave the root.
func FuzzArtifactPath(f *testing.F) {
	for _, seed := range []string{"1/abc/artifacts/model/MLmodel", "..", "a/../../b", "%2e%2e/x", "%252e%252e/x", "a//b/./c", "/a",
		"a\\..\\b", "c:/x", "file:///etc/passwd", "a\x00b", "é/ü"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		name, err := artifactPath(path)
		if err != nil {
			return
		}
		if !local(name) || name != "" && (name[0] == '/' || name[len(name)-1] == '/') {
			t.Errorf("%q is read as %q", path, name)
		}
		again, err := artifactPath(name)
		if err != nil || again != name {
			t.Errorf("%q is read as %q and then as %q, %v", path, name, again, err)
		}
	})
}
