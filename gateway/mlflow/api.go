// Package mlflow is the envelope of MLflow's REST wire: what every one of its calls has in common, so that a call is one
// line where it is wired.
//
// A request is admitted, decoded into a struct by the json tags of its fields, answered by a function that knows nothing
// of HTTP, and encoded. The rules are those of the server that the stock client was written for:
//
//   - every call is served under /api/2.0/mlflow, /api/3.0/mlflow and the same below /ajax-api; [API.Since] narrows that
//     for a call whose meaning differs by version;
//   - arguments come from the query of a GET, from the JSON body of anything else, and from the path. Unknown arguments
//     are ignored; an int64 may be a number or a string, a double also "NaN", "Infinity" and "-Infinity", quoted or bare;
//   - an answer is JSON with int64 as numbers and the non-finite doubles as those strings; an empty answer is {};
//   - an error is {"error_code", "message"} with the status of [StatusOf].
//
// The key travels in a Bearer token or in Basic credentials, as the password or as the user name, which are the two
// forms the stock client can send. A body that is not declared as JSON is refused: a page that a browser with cached
// credentials visits can send forms, not JSON. For the same reason the query counts for a GET only.
//
// What is not JSON – artifacts, traces in OTLP – is served by handlers given to [API.Raw]. Paths that are not in their
// simplest form are refused before they are matched, so that no handler sees one that climbs.
package mlflow

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"path"
	"reflect"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"

	"github.com/stoaproject/stoa"
)

// EmulatedVersion is the version of MLflow that GET /version names: the newest whose calls are all understood.
const EmulatedVersion = "3.6.0"

// DefaultMaxBody is the largest JSON body taken, in bytes. A data set's profile alone may have 16 MiB.
const DefaultMaxBody = 20 << 20

// Config is what an API is made of. Admit and Logger are required.
type Config struct {
	// Admit establishes who sent a request from an Authorization header of the scheme Bearer, or an empty one.
	Admit func(authorization string) (stoa.Caller, error)

	// Explain may turn an error into a *[stoa.Refusal], so that the client learns its reason. It may be nil.
	Explain func(error) error

	MaxBody int64 // bytes; 0 means DefaultMaxBody
	Logger  *slog.Logger
}

// An API is an [http.Handler] for the paths below /api/ and /ajax-api/, and for /version and /health. Calls are
// registered before it serves.
type API struct {
	Config
	mux      *http.ServeMux
	versions []string
}

// New returns an API that answers /version and /health. It fails when a required field of the configuration is missing.
func New(c Config) (*API, error) {
	if c.Admit == nil || c.Logger == nil {
		return nil, errors.New("mlflow: Config.Admit and Config.Logger are required")
	}
	if c.MaxBody <= 0 {
		c.MaxBody = DefaultMaxBody
	}
	a := &API{Config: c, mux: http.NewServeMux(), versions: []string{"2.0", "3.0"}}
	plain := func(w http.ResponseWriter, text string) {
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		_, _ = io.WriteString(w, text) // the client may be gone
	}
	a.mux.HandleFunc("GET /health", func(w http.ResponseWriter, _ *http.Request) { plain(w, "OK") }) // anonymous: it is health
	a.mux.HandleFunc("GET /version", func(w http.ResponseWriter, r *http.Request) {
		if _, err := a.admit(r); err != nil {
			a.refuse(w, r, err)
			return
		}
		plain(w, EmulatedVersion)
	})
	a.mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if _, err := a.admit(r); err != nil {
			a.refuse(w, r, err)
			return
		}
		a.refuse(w, r, noEndpoint(r))
	})
	return a, nil
}

func noEndpoint(r *http.Request) error {
	return &stoa.Refusal{
		Reason:  stoa.ReasonUnknownEndpoint,
		Message: fmt.Sprintf("there is no %.16s %.200q on this server, which emulates MLflow %s", r.Method, r.URL.Path, EmulatedVersion),
	}
}

// Since returns the same API for registering calls under one version of the wire only, e.g. "3.0".
func (a *API) Since(version string) *API {
	narrow := *a
	narrow.versions = []string{version}
	return &narrow
}

// Handle registers a call. Method is an HTTP method, or several separated by spaces for a call that has twins. The path
// is relative to the prefix, e.g. "runs/create"; its placeholders, e.g. "logged-models/{model_id}", are arguments like
// those of the query. A nil answer without an error is the empty one.
func Handle[Req, Resp any](
	a *API, method, path string, do func(ctx context.Context, caller stoa.Caller, req *Req) (*Resp, error),
) {
	call := func(w http.ResponseWriter, r *http.Request, caller stoa.Caller) error {
		req := new(Req)
		if err := a.decode(r, reflect.ValueOf(req).Elem()); err != nil {
			return err
		}
		resp, err := do(r.Context(), caller, req)
		if err != nil {
			return err
		}
		body := []byte("{}")
		if resp != nil {
			if body, err = Marshal(resp); err != nil {
				return err
			}
		}
		h := w.Header()
		h.Set("Content-Type", "application/json")
		h.Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // the client may be gone
		return nil
	}
	for m := range strings.FieldsSeq(method) {
		for _, family := range []string{"/api/", "/ajax-api/"} {
			for _, version := range a.versions {
				a.Raw(m, family+version+"/mlflow/"+path, call)
			}
		}
	}
}

// Raw registers a handler for a method and a whole path, in the syntax of [http.ServeMux]. An error that it returns is
// told to the client, unless the handler has begun to answer; then the connection is broken off, so that the client
// does not take half an answer for a whole one.
func (a *API) Raw(method, path string, h func(w http.ResponseWriter, r *http.Request, caller stoa.Caller) error) {
	a.mux.HandleFunc(method+" "+path, func(w http.ResponseWriter, r *http.Request) {
		caller, err := a.admit(r)
		watched := &begun{ResponseWriter: w}
		if err == nil {
			err = h(watched, r, caller)
		}
		switch {
		case err == nil:
		case watched.yes:
			a.Logger.Warn("answer broken off", "method", r.Method, "path", r.URL.Path, "err", err)
			panic(http.ErrAbortHandler)
		default:
			a.refuse(w, r, err)
		}
	})
}

// begun knows whether an answer has begun.
type begun struct {
	http.ResponseWriter
	yes bool
}

func (b *begun) WriteHeader(status int) {
	b.yes = true
	b.ResponseWriter.WriteHeader(status)
}

func (b *begun) Write(p []byte) (int, error) {
	b.yes = true
	return b.ResponseWriter.Write(p)
}

// Unwrap lets [http.ResponseController] reach the connection.
func (b *begun) Unwrap() http.ResponseWriter { return b.ResponseWriter }

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	defer func() {
		fault := recover()
		if fault == nil {
			return
		}
		if err, ok := fault.(error); ok && errors.Is(err, http.ErrAbortHandler) {
			panic(fault)
		}
		a.Logger.Error("panic", "method", r.Method, "path", r.URL.Path, "panic", fault, "stack", string(debug.Stack()))
		writeError(w, &stoa.Refusal{Reason: stoa.ReasonInternal, Message: "the server failed at this request"})
	}()
	if p := r.URL.Path; p != path.Clean(p) && p != path.Clean(p)+"/" {
		a.refuse(w, r, &stoa.Refusal{
			Reason: stoa.ReasonBadInput, Message: fmt.Sprintf("Invalid path: %.200q has empty or climbing elements", p),
		})
		return
	}
	a.mux.ServeHTTP(w, r)
}

// admit establishes the caller.
func (a *API) admit(r *http.Request) (stoa.Caller, error) {
	values := r.Header["Authorization"]
	if len(values) != 1 {
		return a.Admit("")
	}
	scheme, credentials, _ := strings.Cut(values[0], " ")
	if !strings.EqualFold(scheme, "Basic") {
		return a.Admit(values[0])
	}
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(credentials))
	if err != nil {
		return a.Admit("")
	}
	user, password, _ := strings.Cut(string(decoded), ":")
	caller, err := a.Admit("Bearer " + password)
	if err != nil {
		if asUser, userErr := a.Admit("Bearer " + user); userErr == nil {
			return asUser, nil
		}
	}
	return caller, err
}

// refuse answers with an error, and writes what is this server's fault to the log.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, err error) {
	if a.Explain != nil {
		err = a.Explain(err)
	}
	var refusal *stoa.Refusal
	switch {
	case errors.As(err, &refusal):
	case r.Context().Err() != nil:
		refusal = &stoa.Refusal{Reason: stoa.ReasonCanceled, Message: "the client went away"}
	default:
		refusal = &stoa.Refusal{Reason: stoa.ReasonInternal, Message: "the server failed at this request"}
	}
	if status := StatusOf(refusal.Reason); status >= http.StatusInternalServerError && status != http.StatusNotImplemented {
		a.Logger.Error("request failed", "method", r.Method, "path", r.URL.Path, "err", err)
	}
	writeError(w, refusal)
}

// readBody reads a JSON body within the limit; nil when there is none.
func (a *API) readBody(r *http.Request) ([]byte, error) {
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	body, err := io.ReadAll(http.MaxBytesReader(nil, r.Body, a.MaxBody))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonTooLarge, Message: fmt.Sprintf("the request has more than %d bytes", tooLarge.Limit),
		}
	case err != nil:
		return nil, &stoa.Refusal{Reason: stoa.ReasonMalformed, Message: "the request broke off", Err: err}
	case len(body) == 0:
		return nil, nil
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || !slices.Contains([]string{"application/json", "application/json-patch+json"}, kind) {
		return nil, &stoa.Refusal{
			Reason: stoa.ReasonBadInput, Message: "Bad Request. Content-Type must be one of ['application/json'].",
		}
	}
	return body, nil
}
