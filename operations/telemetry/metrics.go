package telemetry

import (
	"sync"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stoaproject/stoa"
)

// metrics are all metrics of the house.
type metrics struct {
	build     *prometheus.GaugeVec
	latency   *prometheus.HistogramVec
	refusals  *prometheus.CounterVec
	fallbacks *prometheus.CounterVec
	breakers  *prometheus.GaugeVec
	drift     *prometheus.GaugeVec
	threshold *prometheus.GaugeVec
	aliases   *prometheus.CounterVec
	retrains  *prometheus.CounterVec
	rollouts  *prometheus.CounterVec
	labels    *prometheus.CounterVec
	pending   *prometheus.GaugeVec
	dropped   *prometheus.CounterVec
}

// newMetrics declares the metrics: their names, labels and help texts.
func newMetrics() *metrics {
	gauge := func(name, help string, labels ...string) *prometheus.GaugeVec {
		return prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: name, Help: help}, labels)
	}
	counter := func(name, help string, labels ...string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
	}
	return &metrics{
		build: gauge("stoa_build_info", "Always 1; the label says which build runs.", "version"),
		latency: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "stoa_request_duration_seconds",
			Help: "Time from the receipt of an inference request to the last byte of its answer.",
			Buckets: []float64{.00005, .0001, .00025, .0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5,
				10},
		}, []string{"endpoint", "code"}),
		refusals: counter("stoa_refusals_total", "Inference requests refused or failed, by reason.",
			"endpoint", "reason"),
		fallbacks: counter("stoa_fallbacks_total",
			"Inference requests answered by other than the first candidate, by the reason why it did not.",
			"endpoint", "reason"),
		breakers: gauge("stoa_breaker_state", "State of a target's circuit breaker: 0 closed, 1 half-open, 2 open.",
			"target"),
		drift:     gauge("stoa_drift_statistic", "Statistic of the sequential test on a model's errors.", "model"),
		threshold: gauge("stoa_drift_threshold", "Value of the statistic at which the test raises an alarm.", "model"),
		aliases:   counter("stoa_alias_moves_total", "Times that an alias was pointed at another version.", "model", "alias"),
		retrains:  counter("stoa_retrains_total", "Retrainings that ended, by result.", "model", "result"),
		rollouts:  counter("stoa_rollouts_total", "Rollouts that ended, by outcome.", "model", "outcome"),
		labels: counter("stoa_labels_total",
			"Labels received: joined with their prediction, for no known prediction, or given twice.", "result"),
		pending: gauge("stoa_pending_predictions", "Predictions that wait for their labels."),
		dropped: counter("stoa_dropped_total", "Records dropped because a bounded queue was full.", "queue"),
	}
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.build, m.latency, m.refusals, m.fallbacks, m.breakers, m.drift, m.threshold, m.aliases,
		m.retrains, m.rollouts, m.labels, m.pending, m.dropped}
}

// A BreakerState is the state of a circuit breaker, and the value of its metric.
type BreakerState int

// The states of a circuit breaker.
const (
	BreakerClosed   BreakerState = 0 // the target is asked
	BreakerHalfOpen BreakerState = 1 // the target is asked a little, to see whether it recovered
	BreakerOpen     BreakerState = 2 // the target is left alone
)

// Breaker shows the state of a target's circuit breaker.
func (t *Telemetry) Breaker(target string, state BreakerState) {
	t.metrics.breakers.WithLabelValues(t.names.bound(kindTarget, target)).Set(float64(state))
}

// Drift shows where the sequential test on a model's errors stands, and where it raises an alarm.
func (t *Telemetry) Drift(model string, statistic, threshold float64) {
	model = t.names.bound(kindModel, model)
	t.metrics.drift.WithLabelValues(model).Set(statistic)
	t.metrics.threshold.WithLabelValues(model).Set(threshold)
}

// AliasMoved counts that an alias of a model was pointed at another version.
func (t *Telemetry) AliasMoved(model, alias string) {
	t.metrics.aliases.WithLabelValues(t.names.bound(kindModel, model), t.names.bound(kindAlias, alias)).Inc()
}

// Retrained counts a retraining that ended, by its result: "registered", "blocked", "failed" and the like.
func (t *Telemetry) Retrained(model, result string) {
	t.metrics.retrains.WithLabelValues(t.names.bound(kindModel, model), t.names.bound(kindResult, result)).Inc()
}

// RolledOut counts a rollout that ended, by its outcome: "promoted", "withdrawn", "held" and the like.
func (t *Telemetry) RolledOut(model, outcome string) {
	t.metrics.rollouts.WithLabelValues(t.names.bound(kindModel, model), t.names.bound(kindOutcome, outcome)).Inc()
}

// Labels counts labels received: joined with their predictions, for no known prediction, and given twice.
func (t *Telemetry) Labels(joined, unknown, duplicate int) {
	t.metrics.labels.WithLabelValues("joined").Add(float64(joined))
	t.metrics.labels.WithLabelValues("unknown").Add(float64(unknown))
	t.metrics.labels.WithLabelValues("duplicate").Add(float64(duplicate))
}

// Pending shows how many predictions wait for their labels.
func (t *Telemetry) Pending(predictions int64) {
	t.metrics.pending.WithLabelValues().Set(float64(predictions))
}

// Dropped counts records that a bounded queue could not take, by the name of the queue.
func (t *Telemetry) Dropped(queue string, records int) {
	t.metrics.dropped.WithLabelValues(t.names.bound(kindQueue, queue)).Add(float64(records))
}

// The labels that stand for names.
const (
	unknown = "unknown" // not a name of the workload
	other   = "other"   // beyond the first maxNames
)

// maxNames is how many names of a kind are shown as labels.
const maxNames = 1000

// The kinds of names.
const (
	kindEndpoint = "endpoint"
	kindModel    = "model"
	kindTarget   = "target"
	kindAlias    = "alias"
	kindResult   = "result"
	kindOutcome  = "outcome"
	kindQueue    = "queue"
)

type kindName struct{ kind, name string }

// names bounds how many names of a kind become labels.
type names struct {
	limit int
	mu    sync.Mutex
	known map[kindName]bool
	count map[string]int // by kind
}

// bound returns name, or "other" when there are too many of its kind.
func (n *names) bound(kind, name string) string {
	n.mu.Lock()
	defer n.mu.Unlock()
	k := kindName{kind, name}
	if n.known[k] {
		return name
	}
	if n.count[kind] >= n.limit {
		return other
	}
	n.known[k] = true
	n.count[kind]++
	return name
}

// allReasons returns the closed set of reasons; a test compares it with the foyer's.
func allReasons() []stoa.Reason {
	return []stoa.Reason{
		stoa.ReasonUnauthenticated, stoa.ReasonForbidden, stoa.ReasonMalformed, stoa.ReasonTooLarge, stoa.ReasonBadShape,
		stoa.ReasonBadDatatype, stoa.ReasonBadInput, stoa.ReasonNotFinite, stoa.ReasonUnknownEndpoint,
		stoa.ReasonUnknownModel, stoa.ReasonUnknownVersion, stoa.ReasonUnknownLabel, stoa.ReasonDuplicateLabel,
		stoa.ReasonNotFound, stoa.ReasonConflict, stoa.ReasonInvalid, stoa.ReasonUnsupported, stoa.ReasonNoVersion,
		stoa.ReasonOverloaded, stoa.ReasonDraining, stoa.ReasonStorageFull, stoa.ReasonStorageReadOnly,
		stoa.ReasonStorageLocked, stoa.ReasonStorageUnavailable, stoa.ReasonTimeout, stoa.ReasonUnreachable,
		stoa.ReasonTargetError, stoa.ReasonBreakerOpen, stoa.ReasonRetriesExhausted, stoa.ReasonNoCandidate, stoa.ReasonCanceled,
		stoa.ReasonInternal,
	}
}
