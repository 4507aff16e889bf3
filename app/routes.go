package app

import (
	"net/http"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway"
)

// A permission is what a caller needs for a route.
type permission string

const (
	anyCaller  permission = "caller"     // any valid key
	ownersOnly permission = "owner"      // an owner's key
	byHandler  permission = "by handler" // the handler decides by what is asked for
)

// A route is one line of the page below.
type route struct {
	pattern string
	needs   permission
	handle  handler
}

// A handler answers a control request: the value is encoded as JSON, an error as the error form of the gateway.
type handler func(r *http.Request, caller stoa.Caller) (any, error)

// page is every route of the process with what it needs, apart from the inference protocol under /v2, whose gateway
// admits callers itself.
func (a *App) page() []route {
	return []route{
		{"GET /v1/workload", anyCaller, a.getWorkload},
		{"POST /v1/reload", ownersOnly, a.postReload},

		{"GET /v1/models", anyCaller, a.getModels},
		{"GET /v1/models/{model}/versions", anyCaller, a.getVersions},
		{"POST /v1/models/{model}/versions", ownersOnly, a.postVersion},
		{"PUT /v1/models/{model}/aliases/{alias}", byHandler, a.putAlias},
		{"POST /v1/models/{model}/aliases/{alias}/proposals", anyCaller, a.postAliasProposal},
		{"GET /v1/models/{model}/versions/{version}/lineage", anyCaller, a.getLineage},
		{"GET /v1/models/{model}/versions/{version}/card", anyCaller, a.getCard},
		{"GET /v1/models/{model}/lifecycle", anyCaller, a.getLifecycle},
		{"GET /v1/models/{model}/accuracy", anyCaller, a.getAccuracy},
		{"POST /v1/models/{model}/retrain", ownersOnly, a.postRetrain},

		{"POST /v1/labels", anyCaller, a.postLabels},

		{"GET /v1/proposals", anyCaller, a.getProposals},
		{"POST /v1/proposals/{id}/approve", byHandler, a.postApprove},
		{"POST /v1/proposals/{id}/reject", byHandler, a.postReject},
		{"GET /v1/events", anyCaller, a.getEvents},
		{"GET /v1/audit", ownersOnly, a.getAudit},

		{"GET /v1/endpoints", anyCaller, a.getEndpoints},
		{"PUT /v1/endpoints/{endpoint}/faults", ownersOnly, a.putFault},
		{"DELETE /v1/endpoints/{endpoint}/faults", ownersOnly, a.deleteFaults},

		{"POST /v1/gc", ownersOnly, a.postCollection},
		{"GET /v1/usage", ownersOnly, a.getUsage},
		{"GET /v1/keys", ownersOnly, a.getKeys},
		{"POST /v1/keys", ownersOnly, a.postKey},
		{"DELETE /v1/keys/{id}", ownersOnly, a.deleteKey},
	}
}

// A Route is one route of the control interface, for documentation and for tests that walk them all.
type Route struct {
	Pattern    string // method and path, as net/http takes them
	OwnersOnly bool   // an owner's key is needed; otherwise any key, or the handler decides
}

// Routes lists the control interface.
func (a *App) Routes() []Route {
	var list []Route
	for _, r := range a.page() {
		list = append(list, Route{r.pattern, r.needs == ownersOnly})
	}
	return list
}

// serverReady is nil while the process is not stopping.
func (a *App) serverReady() error {
	if !a.draining.Load() {
		return nil
	}
	return &stoa.Refusal{Reason: stoa.ReasonDraining, Message: "the server is stopping", RetryAfter: time.Second}
}

// routes is the handler of the whole process.
func (a *App) routes() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, map[string]bool{"live": true}) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := a.serverReady(); err != nil {
			gateway.WriteError(w, err)
			return
		}
		writeJSON(w, map[string]bool{"ready": true})
	})
	mux.Handle("/v2", a.rooms.gateway)
	mux.Handle("/v2/", a.rooms.gateway)
	mux.Handle("GET /metrics", a.guarded(anyCaller, a.rooms.telemetry.Handler().ServeHTTP))
	for _, path := range []string{"/version", "/health", "/get-artifact", "POST /v1/traces"} {
		mux.Handle(path, a.rooms.mlflow)
	}
	for _, r := range a.page() {
		mux.Handle(r.pattern, a.guarded(r.needs, answer(r.handle)))
	}
	mux.Handle("/", a.guarded(anyCaller, answer(func(r *http.Request, _ stoa.Caller) (any, error) {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonNotFound, Message: "there is no " + r.Method + " " + r.URL.Path,
			Hint: "the routes are /v2 (inference), /v1 (control), /api (MLflow), /metrics, /healthz and /readyz",
		}
	})))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if a.draining.Load() {
			w.Header().Set("Connection", "close")
		}
		if strings.HasPrefix(r.URL.Path, "/api/") || strings.HasPrefix(r.URL.Path, "/ajax-api/") {
			a.rooms.mlflow.ServeHTTP(w, r) // it refuses a path that the mux would mend by a redirect
			return
		}
		mux.ServeHTTP(w, r)
	})
}
