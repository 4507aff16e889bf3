package telemetry

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stoaproject/stoa"
)

func scrape(t testing.TB, tel *Telemetry) string {
	t.Helper()
	w := httptest.NewRecorder()
	tel.Handler().ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	body, err := io.ReadAll(w.Body)
	if err != nil || w.Code != 200 {
		t.Fatalf("status %d, %v", w.Code, err)
	}
	return string(body)
}

func wantLines(t *testing.T, metrics string, lines ...string) {
	t.Helper()
	have := strings.Split(metrics, "\n")
	for _, line := range lines {
		if !slices.Contains(have, line) {
			t.Errorf("no line %s", line)
		}
	}
	if t.Failed() {
		for _, line := range have {
			if strings.HasPrefix(line, "stoa_") && !strings.Contains(line, "_bucket") {
				t.Log(line)
			}
		}
	}
}

func ok(target string) *stoa.Outcome {
	return &stoa.Outcome{Status: 200, Latency: 300 * time.Microsecond,
		Answer: &stoa.Answer{Target: target, Model: "price", Version: 3, Role: stoa.RoleChampion, Attempts: 1}}
}

func TestRequestsAreCounted(t *testing.T) {
	tel := New(Config{Build: "v1", Endpoints: []string{"price"}})
	tel.After(&stoa.Call{Endpoint: "price"}, ok("price@champion"))
	fallback := ok("price@previous")
	fallback.Answer.Fallback = stoa.ReasonBreakerOpen
	tel.After(&stoa.Call{Endpoint: "price"}, fallback)
	tel.After(&stoa.Call{Endpoint: "price"}, &stoa.Outcome{Status: 400, Reason: stoa.ReasonBadShape})
	tel.After(&stoa.Call{Endpoint: "price"}, &stoa.Outcome{Status: 500, Reason: "never heard of"})
	tel.After(&stoa.Call{Endpoint: "price"}, &stoa.Outcome{Status: 99, Reason: stoa.ReasonCanceled})
	for i := range 2000 {
		tel.After(&stoa.Call{Endpoint: fmt.Sprintf("made-up-%d", i)}, &stoa.Outcome{Status: 404, Reason: stoa.ReasonUnknownEndpoint})
	}
	metrics := scrape(t, tel)
	wantLines(t, metrics,
		`stoa_build_info{version="v1"} 1`,
		`stoa_request_duration_seconds_count{code="2xx",endpoint="price"} 2`,
		`stoa_request_duration_seconds_bucket{code="2xx",endpoint="price",le="0.00025"} 0`,
		`stoa_request_duration_seconds_bucket{code="2xx",endpoint="price",le="0.0005"} 2`,
		`stoa_request_duration_seconds_count{code="4xx",endpoint="price"} 1`,
		`stoa_request_duration_seconds_count{code="other",endpoint="price"} 1`,
		`stoa_refusals_total{endpoint="price",reason="bad_shape"} 1`,
		`stoa_refusals_total{endpoint="price",reason="internal"} 1`,
		`stoa_refusals_total{endpoint="unknown",reason="unknown_endpoint"} 2000`,
		`stoa_fallbacks_total{endpoint="price",reason="breaker_open"} 1`)
	if strings.Contains(metrics, "made-up") {
		t.Error("an endpoint that a client invented became a label")
	}
	if !strings.Contains(metrics, "go_goroutines") || !strings.Contains(metrics, "process_") {
		t.Error("the collectors of the process are missing")
	}
}

func TestEventsAreShown(t *testing.T) {
	tel := New(Config{})
	tel.Breaker("price@champion", BreakerOpen)
	tel.Drift("price", 12.5, 100)
	tel.AliasMoved("price", "champion")
	tel.Retrained("price", "registered")
	tel.RolledOut("price", "promoted")
	tel.Labels(5, 2, 1)
	tel.Pending(48)
	tel.Dropped("access_log", 7)
	wantLines(t, scrape(t, tel),
		`stoa_breaker_state{target="price@champion"} 2`,
		`stoa_drift_statistic{model="price"} 12.5`,
		`stoa_drift_threshold{model="price"} 100`,
		`stoa_alias_moves_total{alias="champion",model="price"} 1`,
		`stoa_retrains_total{model="price",result="registered"} 1`,
		`stoa_rollouts_total{model="price",outcome="promoted"} 1`,
		`stoa_labels_total{result="joined"} 5`,
		`stoa_labels_total{result="unknown"} 2`,
		`stoa_labels_total{result="duplicate"} 1`,
		`stoa_pending_predictions 48`,
		`stoa_dropped_total{queue="access_log"} 7`)
}

func TestNamesAreBounded(t *testing.T) {
	tel := New(Config{})
	for i := range maxNames + 500 {
		tel.AliasMoved("m", fmt.Sprintf("alias-%d", i))
	}
	metrics := scrape(t, tel)
	wantLines(t, metrics, `stoa_alias_moves_total{alias="other",model="m"} 500`)
	if n := strings.Count(metrics, "\nstoa_alias_moves_total{"); n != maxNames+1 {
		t.Errorf("%d series", n)
	}
}

func TestTwoInOneProcess(t *testing.T) {
	a, b := New(Config{Endpoints: []string{"price"}}), New(Config{Endpoints: []string{"price"}})
	a.After(&stoa.Call{Endpoint: "price"}, ok("x"))
	if strings.Contains(scrape(t, b), `_count{code="2xx",endpoint="price"} 1`) {
		t.Error("two telemetries share a counter")
	}
}

func TestServeKeepsWhatWasCounted(t *testing.T) {
	tel := New(Config{Endpoints: []string{"a"}})
	refused := &stoa.Outcome{Status: 429, Reason: stoa.ReasonOverloaded}
	tel.After(&stoa.Call{Endpoint: "a"}, refused)
	tel.After(&stoa.Call{Endpoint: "b"}, refused)
	tel.Serve([]string{"a", "b"})
	tel.After(&stoa.Call{Endpoint: "a"}, refused)
	tel.After(&stoa.Call{Endpoint: "b"}, refused)
	tel.Serve([]string{"b"})
	tel.After(&stoa.Call{Endpoint: "a"}, refused)
	tel.Serve([]string{"a", "b"})
	tel.After(&stoa.Call{Endpoint: "a"}, refused)
	wantLines(t, scrape(t, tel),
		`stoa_refusals_total{endpoint="a",reason="overloaded"} 3`,
		`stoa_refusals_total{endpoint="b",reason="overloaded"} 1`,
		`stoa_refusals_total{endpoint="unknown",reason="overloaded"} 2`)
}

func TestConcurrentUse(t *testing.T) {
	tel := New(Config{Endpoints: []string{"a"}})
	var group sync.WaitGroup
	for i := range 4 {
		group.Go(func() {
			for j := range 500 {
				tel.After(&stoa.Call{Endpoint: "a"}, &stoa.Outcome{Status: 429, Reason: stoa.ReasonOverloaded})
				switch {
				case i == 0 && j%100 == 0:
					tel.Serve([]string{"a", strconv.Itoa(j)})
				case i == 1 && j%100 == 0:
					scrape(t, tel)
				}
			}
		})
	}
	group.Wait()
	wantLines(t, scrape(t, tel), `stoa_refusals_total{endpoint="a",reason="overloaded"} 2000`)
}

// A reason that the foyer gains must be counted under its name.
func TestAllReasonsAreKnown(t *testing.T) {
	file, err := parser.ParseFile(token.NewFileSet(), "../../reason.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	known := allReasons()
	found := 0
	ast.Inspect(file, func(n ast.Node) bool {
		spec, isSpec := n.(*ast.ValueSpec)
		if !isSpec || !strings.HasPrefix(spec.Names[0].Name, "Reason") {
			return true
		}
		found++
		value, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(known, stoa.Reason(value)) {
			t.Errorf("allReasons lacks %s", spec.Names[0].Name)
		}
		return true
	})
	if found != len(known) {
		t.Errorf("the foyer has %d reasons, allReasons %d", found, len(known))
	}
}

func TestCountingDoesNotAllocate(t *testing.T) {
	tel := New(Config{Endpoints: []string{"price"}})
	call := &stoa.Call{Endpoint: "price"}
	fallback := ok("price@previous")
	fallback.Answer.Fallback = stoa.ReasonBreakerOpen
	for _, outcome := range []*stoa.Outcome{ok("x"), fallback, {Status: 400, Reason: stoa.ReasonBadShape}} {
		tel.After(call, outcome)
		if n := testing.AllocsPerRun(1000, func() { tel.After(call, outcome) }); n != 0 {
			t.Errorf("%v allocations", n)
		}
	}
}

func BenchmarkAfter(b *testing.B) {
	tel := New(Config{Endpoints: []string{"price"}})
	call := &stoa.Call{Endpoint: "price"}
	fallback := ok("price@previous")
	fallback.Answer.Fallback = stoa.ReasonBreakerOpen
	for name, outcome := range map[string]*stoa.Outcome{
		"answered": ok("x"), "fallback": fallback, "refused": {Status: 400, Reason: stoa.ReasonBadShape}} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tel.After(call, outcome)
			}
		})
	}
}
