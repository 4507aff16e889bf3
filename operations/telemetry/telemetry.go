// Package telemetry shows what the house does: metrics for Prometheus, and structured logs.
//
// A [Telemetry] owns its registry; nothing is registered globally. It is a [stoa.Observer] of every request and offers a
// setter for each thing that other rooms have to tell. The names of the metrics are a promise to dashboards: they are
// declared in one place, in metrics.go.
//
// An [AccessLog] is a [stoa.Observer] that writes one line per request. The line is encoded when the request ends, into a
// buffer of bounded size that a goroutine of its own empties; what does not fit is dropped and counted. No request waits
// for the log's disk.
//
// Labels are bounded: a name that a client can invent (an endpoint, a model) is shown as "unknown", and a name that only
// the operator can invent is shown as "other" beyond the first [maxNames]. Values never reach a label.
//
// [NewLogger] makes the logger of the process. It replaces secrets by "<secret>", by the name of the attribute and by the
// form of an API key in the value.
package telemetry

import (
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/stoaproject/stoa"
)

// Config is what [New] needs.
type Config struct {
	Build     string   // version of the program, shown as the label of stoa_build_info
	Endpoints []string // endpoints of the workload, see [Telemetry.Serve]
}

// Telemetry holds the metrics of one process. It is safe for concurrent use.
type Telemetry struct {
	registry  *prometheus.Registry
	metrics   *metrics
	reasons   map[stoa.Reason]int // positions of the reasons in a row's counters
	endpoints atomic.Pointer[table]
	names     names
	serving   sync.Mutex // held while endpoints is replaced
}

// A table holds the rows of the endpoints. It is replaced whole.
type table struct {
	rows    map[string]*row
	unknown *row
}

// A row holds the metrics of one endpoint, so that an observation costs no lookup of labels. A counter is made when it is
// first needed: most pairs of endpoint and reason never happen.
type row struct {
	name      string
	latency   [codeClasses]prometheus.Observer
	refusals  []atomic.Pointer[prometheus.Counter] // by reason
	fallbacks []atomic.Pointer[prometheus.Counter] // by reason
}

// New makes the metrics.
func New(config Config) *Telemetry {
	t := &Telemetry{
		registry: prometheus.NewRegistry(),
		metrics:  newMetrics(),
		reasons:  make(map[stoa.Reason]int),
		names:    names{limit: maxNames, known: make(map[kindName]bool), count: make(map[string]int)},
	}
	for i, reason := range allReasons() {
		t.reasons[reason] = i
	}
	t.registry.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	t.registry.MustRegister(t.metrics.all()...)
	t.metrics.build.WithLabelValues(config.Build).Set(1)
	t.Serve(config.Endpoints)
	return t
}

// Handler answers with the metrics in the format that the client asks for.
func (t *Telemetry) Handler() http.Handler {
	return promhttp.HandlerFor(t.registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 10 * time.Second})
}

// Serve says which endpoints there are, from now on; requests for others are counted as "unknown". What was counted for
// an endpoint that is gone stays.
func (t *Telemetry) Serve(endpoints []string) {
	t.serving.Lock()
	defer t.serving.Unlock()
	before := t.endpoints.Load()
	next := &table{rows: make(map[string]*row, len(endpoints))}
	if before != nil {
		next.unknown = before.unknown
	} else {
		next.unknown = t.row(unknown)
	}
	for _, name := range endpoints {
		if before != nil && before.rows[name] != nil {
			next.rows[name] = before.rows[name]
		} else {
			next.rows[name] = t.row(t.names.bound(kindEndpoint, name))
		}
	}
	t.endpoints.Store(next)
}

func (t *Telemetry) row(name string) *row {
	r := &row{
		name:      name,
		refusals:  make([]atomic.Pointer[prometheus.Counter], len(t.reasons)),
		fallbacks: make([]atomic.Pointer[prometheus.Counter], len(t.reasons)),
	}
	for class := range r.latency {
		r.latency[class] = t.metrics.latency.WithLabelValues(name, codeClass(class).String())
	}
	return r
}

// After counts a call. It implements [stoa.Observer].
func (t *Telemetry) After(call *stoa.Call, outcome *stoa.Outcome) {
	endpoints := t.endpoints.Load()
	r := endpoints.rows[call.Endpoint]
	if r == nil {
		r = endpoints.unknown
	}
	r.latency[classOf(outcome.Status)].Observe(outcome.Latency.Seconds())
	switch {
	case outcome.Answer == nil:
		t.count(r.refusals, t.metrics.refusals, r.name, outcome.Reason)
	case outcome.Answer.Fallback != "":
		t.count(r.fallbacks, t.metrics.fallbacks, r.name, outcome.Answer.Fallback)
	}
}

// count adds one to the counter of a reason, making it when need be. A reason outside the closed set is a fault of ours
// and is counted as such.
func (t *Telemetry) count(
	counters []atomic.Pointer[prometheus.Counter], vec *prometheus.CounterVec, endpoint string, reason stoa.Reason,
) {
	i, known := t.reasons[reason]
	if !known {
		reason = stoa.ReasonInternal
		i = t.reasons[reason]
	}
	counter := counters[i].Load()
	if counter == nil {
		made := vec.WithLabelValues(endpoint, string(reason))
		counter = &made
		counters[i].Store(counter)
	}
	(*counter).Inc()
}

// A codeClass is the class of an HTTP status.
type codeClass int

// codeClasses is the number of classes: 1xx to 5xx, and whatever is none of them.
const codeClasses = 6

func classOf(status int) codeClass {
	if status < 100 || status > 599 {
		return 0
	}
	return codeClass(status / 100)
}

// String returns "2xx" and the like.
func (c codeClass) String() string {
	if c == 0 {
		return "other"
	}
	return string(rune('0'+c)) + "xx"
}
