// Package gateway is the roof of the house: what a request passes on its way in and out.
//
// It speaks the Open Inference Protocol over HTTP (package oip has the wire format) and knows no other package of the
// house. An inference request goes through
//
//	admit     the caller is established; nothing else happens for a caller that is not known
//	resolve   the endpoint and version of the URL become a [stoa.Target]
//	read      the body is read into a pooled buffer, within its limit, and parsed
//	Before    the stages, in order; the first error ends the call
//	Send      the target answers
//	After     every observer learns the outcome, exactly once, whatever it is
//
// A refusal, a cancelled client, a panic in any of these and an answer that cannot be written are outcomes like any
// other. The observers run when the reply is complete but before its last byte leaves: whoever holds an answer can rely
// on its being recorded, and may send the label at once.
//
// Every route asks for a key, and every error is {"error": message, "reason": one of the closed set, "hint": …} with
// the status that [Status] gives. Paths are compared as bytes: one with an escape that changes its meaning is not found.
//
// The body and the reply are written into pooled buffers. The call and its tensors are not pooled, because a target
// that was given up on may still be reading them; they are one allocation and a few for the tensors.
package gateway

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway/oip"
)

// Limits bound what the gateway takes on. A zero field stands for its default.
type Limits struct {
	InFlight int        // inference requests at once; default 1024
	Request  oip.Limits // one request; Bytes also bounds the body before and after decompression
}

// Metadata describes an endpoint at one version.
type Metadata struct {
	Versions []string // versions that may be asked for, oldest first
	Platform string   // e.g. "onnx"
	Inputs   []stoa.TensorSpec
	Outputs  []stoa.TensorSpec
}

// Config is what a gateway is made of. Admit, Resolve, Describe, Ready and Logger are required.
type Config struct {
	// Name and Version are what GET /v2 says of the server.
	Name, Version string

	// Admit establishes who sent a request from its Authorization header, which may be empty.
	Admit func(authorization string) (stoa.Caller, error)

	// Resolve finds the target of an endpoint. The version is a number, an alias or empty. It is called for every
	// request and must not block.
	Resolve func(endpoint, version string) (stoa.Target, error)

	// Describe gives the metadata of an endpoint, at the version in service when version is empty.
	Describe func(endpoint, version string) (Metadata, error)

	// Ready returns nil when the endpoint can answer, otherwise why not.
	Ready func(endpoint, version string) error

	// ServerReady returns nil when the server can answer. It may be nil.
	ServerReady func() error

	Stages    []stoa.Stage    // run in order before a call is sent
	Observers []stoa.Observer // learn every outcome, in order
	Limits    Limits
	Logger    *slog.Logger
}

// A Gateway is an [http.Handler] for the routes under /v2.
type Gateway struct {
	Config
	server   []byte // answer to GET /v2
	ids      *idSource
	buffers  sync.Pool // of *buffer
	unzip    sync.Pool // of *gzip.Reader
	inFlight atomic.Int64
}

// New returns a gateway. It fails when a required field of the configuration is missing.
func New(c Config) (*Gateway, error) {
	for _, f := range []struct {
		name    string
		missing bool
	}{
		{"Admit", c.Admit == nil}, {"Resolve", c.Resolve == nil}, {"Describe", c.Describe == nil},
		{"Ready", c.Ready == nil}, {"Logger", c.Logger == nil},
	} {
		if f.missing {
			return nil, fmt.Errorf("gateway: Config.%s is required", f.name)
		}
	}
	c.Limits.Request = c.Limits.Request.WithDefaults()
	if c.Limits.InFlight <= 0 {
		c.Limits.InFlight = 1024
	}
	if c.Name == "" {
		c.Name = "stoa"
	}
	g := &Gateway{Config: c, ids: newIDSource()}
	g.server = marshal(oip.ServerMetadata{Name: c.Name, Version: c.Version, Extensions: []string{}})
	return g, nil
}

// InFlight returns the number of inference requests that are under way.
func (g *Gateway) InFlight() int { return int(g.inFlight.Load()) }

// A route is a path of the protocol, taken apart.
type route struct {
	verb              string // "", "health/live", "health/ready", "model", "ready" or "infer"
	endpoint, version string
}

// parseRoute takes a path apart. It is false for a path that the protocol does not have.
func parseRoute(path string) (route, bool) {
	rest, ok := strings.CutPrefix(path, "/v2")
	if !ok {
		return route{}, false
	}
	switch rest {
	case "", "/":
		return route{}, true
	case "/health/live", "/health/ready":
		return route{verb: rest[1:]}, true
	}
	if rest, ok = strings.CutPrefix(rest, "/models/"); !ok {
		return route{}, false
	}
	var r route
	var more bool
	if r.endpoint, rest, more = strings.Cut(rest, "/"); r.endpoint == "" {
		return route{}, false
	}
	if !more {
		r.verb = "model"
		return r, true
	}
	if after, versioned := strings.CutPrefix(rest, "versions/"); versioned {
		if r.version, rest, more = strings.Cut(after, "/"); r.version == "" {
			return route{}, false
		}
		if !more {
			r.verb = "model"
			return r, true
		}
	}
	r.verb = rest
	return r, rest == "infer" || rest == "ready"
}

// ServeHTTP answers a request to a route under /v2.
func (g *Gateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	at, known := parseRoute(r.URL.Path)
	// A path whose escapes change its meaning (%2F in a name) is not one of ours: what is authorised is what is used.
	known = known && r.URL.RawPath == ""
	if known && at.verb == "infer" {
		g.infer(w, r, at)
		return
	}
	defer func() {
		if v := recover(); v != nil {
			WriteError(w, g.panicked(v, "path", r.URL.Path))
		}
	}()
	if _, err := g.admit(r); err != nil {
		WriteError(w, err)
		return
	}
	switch {
	case !known:
		WriteError(w, &stoa.Refusal{
			Reason: stoa.ReasonNotFound, Message: "no such path",
			Hint: "the routes are /v2, /v2/health/live, /v2/health/ready and " +
				"/v2/models/{model}[/versions/{version}][/ready|/infer]",
		})
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		methodNotAllowed(w, r, "GET, HEAD")
	default:
		g.describe(w, at)
	}
}

// describe answers the routes that only tell something.
func (g *Gateway) describe(w http.ResponseWriter, at route) {
	var err error
	var body []byte
	switch at.verb {
	case "":
		body = g.server
	case "health/live":
		body = []byte(`{"live":true}`)
	case "health/ready":
		err = g.ready()
		body = []byte(`{"ready":true}`)
	case "ready":
		err = g.Ready(at.endpoint, at.version)
		body = append(oip.AppendString([]byte(`{"name":`), at.endpoint), `,"ready":true}`...)
	case "model":
		var m Metadata
		if m, err = g.Describe(at.endpoint, at.version); err == nil {
			body = marshal(oip.ModelMetadata{
				Name: at.endpoint, Versions: m.Versions, Platform: m.Platform,
				Inputs: oip.Describe(m.Inputs), Outputs: oip.Describe(m.Outputs),
			})
		}
	}
	if err != nil {
		if r := refusalOf(err, false); r.Reason == stoa.ReasonInternal {
			g.Logger.Error("request failed", "endpoint", at.endpoint, "version", at.version, "error", err)
		}
		WriteError(w, err)
		return
	}
	w.Header()["Content-Type"] = jsonType
	_, _ = w.Write(body) // the client may be gone
}

func (g *Gateway) ready() error {
	if g.ServerReady == nil {
		return nil
	}
	return g.ServerReady()
}

// admit establishes the caller of a request. Two Authorization headers are one too many: they could be read differently
// by whatever stands in front.
func (g *Gateway) admit(r *http.Request) (stoa.Caller, error) {
	values := r.Header["Authorization"]
	switch len(values) {
	case 0:
		return g.Admit("")
	case 1:
		return g.Admit(values[0])
	}
	return stoa.Caller{}, &stoa.Refusal{
		Reason: stoa.ReasonUnauthenticated, Message: "the request has more than one Authorization header",
	}
}

// panicked logs a panic and returns what the client is told of it.
func (g *Gateway) panicked(v any, attrs ...any) error {
	g.Logger.Error("panic while answering a request", append(attrs, "panic", fmt.Sprint(v), "stack", stack())...)
	return &stoa.Refusal{
		Reason: stoa.ReasonInternal, Message: "internal error", Hint: "the server's log has the details",
		Err: fmt.Errorf("panic: %v", v),
	}
}

// refusalOf turns any error into a refusal. A cancelled context is the client's doing only when the client is gone.
func refusalOf(err error, gone bool) *stoa.Refusal {
	var r *stoa.Refusal
	switch {
	case errors.As(err, &r):
		return r
	case gone && errors.Is(err, context.Canceled):
		return &stoa.Refusal{Reason: stoa.ReasonCanceled, Message: "the client went away", Err: err}
	case errors.Is(err, context.DeadlineExceeded):
		return &stoa.Refusal{Reason: stoa.ReasonTimeout, Message: "no answer in time", Err: err}
	}
	return &stoa.Refusal{
		Reason: stoa.ReasonInternal, Message: "internal error", Hint: "the server's log has the details", Err: err,
	}
}

var errOverloaded = &stoa.Refusal{
	Reason: stoa.ReasonOverloaded, Message: "too many requests are in flight", Hint: "try again later",
	RetryAfter: time.Second,
}
