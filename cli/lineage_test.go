package cli

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// served answers every GET with one body, and remembers the path.
func served(t *testing.T, body string) *string {
	t.Helper()
	path := new(string)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*path = r.URL.EscapedPath()
		_, _ = w.Write([]byte(body)) // the client may be gone
	}))
	t.Cleanup(server.Close)
	t.Setenv("STOA_URL", server.URL)
	t.Setenv("STOA_KEY", "key")
	return path
}

func TestLineageIsATree(t *testing.T) {
	path := served(t, `{
		"version": {"model": "price", "version": 3, "run_id": "r1", "servable": true,
			"created_at": "2026-03-01T10:00:00Z", "created_by": "ann"},
		"aliases": ["champion"],
		"run": {"run_id": "r1", "name": "night\u001b[31m", "experiment": "prices", "user": "ann"},
		"data": [{"name": "2024", "digest": "d1"}], "commit": "c0ffee",
		"ancestors": [{"version": 2, "created_at": "2026-02-01T10:00:00Z", "created_by": "bob"},
			{"version": 1, "created_at": "2026-01-01T10:00:00Z", "created_by": "bob"}],
		"gates": [{"gate": "quality", "passed": true, "detail": "0.97"}],
		"decisions": [{"entry": 7, "kind": "alias", "state": "done", "proposed_by": "ann", "decided_by": "bob",
			"why": "better", "approvals": [{"by": "ann"}, {"by": "bob"}]}],
		"moves": [{"alias": "champion", "from": 2, "to": 3, "by": "bob", "at": "2026-03-02T10:00:00Z"}]}`)
	const want = `price version 3 (champion)
├─ registered 2026-03-01 by ann
├─ run r1 night [31m of experiment prices by ann
│  ├─ data 2024 d1
│  └─ code c0ffee
├─ parent version 2, registered 2026-02-01 by bob
│  └─ parent version 1, registered 2026-01-01 by bob
├─ evaluation
│  └─ quality passed 0.97
├─ decisions
│  └─ entry 7, alias: done; proposed by ann, decided by ann and bob: better
└─ aliases
   └─ 2026-03-02 champion: from version 2 to version 3 by bob
`
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"lineage", "price@3"}, nil, &stdout, &stderr); code != 0 || stdout.String() != want {
		t.Errorf("code %d\n%s\n%s", code, stdout.String(), stderr.String())
	}
	if *path != "/v1/models/price/versions/3/lineage" {
		t.Errorf("asked for %s", *path)
	}
}

func TestLineageOfTheChampionAsACard(t *testing.T) {
	path := served(t, `{"lineage": {}, "markdown": "# a/b, version 1\n"}`)
	var stdout, stderr bytes.Buffer
	if code := Main([]string{"lineage", "a b", "--card"}, nil, &stdout, &stderr); code != 0 ||
		stdout.String() != "# a/b, version 1\n" {
		t.Errorf("code %d: %q, %s", code, stdout.String(), stderr.String())
	}
	if *path != "/v1/models/a%20b/versions/champion/card" {
		t.Errorf("asked for %s", *path)
	}
	stdout.Reset()
	if code := Main([]string{"lineage", "a b", "--card", "--json"}, nil, &stdout, &stderr); code != 0 ||
		!strings.Contains(stdout.String(), `"markdown"`) {
		t.Errorf("code %d: %q", code, stdout.String())
	}
	if code := Main([]string{"lineage"}, nil, &stdout, &stderr); code != 2 {
		t.Errorf("without a model: code %d", code)
	}
}
