package gateway

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway/oip"
)

// An exchange is one inference request and its reply.
type exchange struct {
	call    stoa.Call
	outcome stoa.Outcome
	refused *stoa.Refusal // nil when answered
	values  [3]string     // of the reply's headers
	body    *buffer
}

// infer answers POST …/infer.
func (g *Gateway) infer(w http.ResponseWriter, r *http.Request, at route) {
	x := &exchange{
		call: stoa.Call{Endpoint: at.endpoint, Version: at.version, Received: time.Now()},
		body: g.getBuffer(),
	}
	ctx := r.Context()
	err := g.send(ctx, w, r, x)
	if x.call.ID == "" {
		x.call.ID = g.ids.next() // refused before the body was read
	}
	if err == nil {
		err = g.encode(x)
	}
	if err != nil {
		x.refuse(ctx, err)
	}
	x.outcome.Latency = time.Since(x.call.Received)
	g.after(&x.call, &x.outcome)
	g.reply(w, x)
	g.putBuffer(x.body)
}

// send takes a call as far as its answer. A panic on the way is an error.
func (g *Gateway) send(ctx context.Context, w http.ResponseWriter, r *http.Request, x *exchange) (err error) {
	defer func() {
		if v := recover(); v != nil {
			err = g.panicked(v, "id", x.call.ID, "endpoint", x.call.Endpoint)
		}
	}()
	if x.call.Caller, err = g.admit(r); err != nil {
		return err
	}
	if r.Method != http.MethodPost {
		x.outcome.Status, x.refused = wrongMethod(w, r, http.MethodPost)
		return x.refused
	}
	defer g.inFlight.Add(-1)
	if g.inFlight.Add(1) > int64(g.Limits.InFlight) {
		return errOverloaded
	}
	target, err := g.Resolve(x.call.Endpoint, x.call.Version)
	if err != nil {
		return err
	}
	if err = g.read(r, x); err != nil {
		return err
	}
	endpoint, version := x.call.Endpoint, x.call.Version
	for _, s := range g.Stages {
		if err = s.Before(ctx, &x.call); err != nil {
			return err
		}
	}
	if x.call.Endpoint != endpoint || x.call.Version != version {
		if target, err = g.Resolve(x.call.Endpoint, x.call.Version); err != nil {
			return err
		}
	}
	if x.outcome.Answer, err = target.Infer(ctx, &x.call); err == nil && x.outcome.Answer == nil {
		err = errors.New("the target gave neither an answer nor an error")
	}
	return err
}

// read reads and parses the body, and gives the call an id when the client gave none.
func (g *Gateway) read(r *http.Request, x *exchange) error {
	if err := g.readBody(r, x.body); err != nil {
		return err
	}
	if err := g.Limits.Request.Parse(x.body.b, &x.call); err != nil {
		return err
	}
	if x.call.ID == "" {
		x.call.ID = g.ids.next()
	}
	return nil
}

// encode writes the reply to an answered call into the buffer, whose body has been parsed by now.
func (g *Gateway) encode(x *exchange) (err error) {
	a := x.outcome.Answer
	x.outcome.Status, x.outcome.Reason = http.StatusOK, a.Fallback
	if a.Model != "" {
		x.values[1] = a.Model + "/" + strconv.Itoa(a.Version)
	}
	x.values[2] = string(a.Fallback)
	x.body.b, err = oip.Append(x.body.b[:0], &oip.Response{
		Model: x.call.Endpoint, Version: a.Version, ID: x.call.ID, From: x.values[1],
		Role: a.Role, Fallback: a.Fallback, Outputs: a.Outputs,
	})
	return err
}

// refuse makes an error the outcome of the exchange.
func (x *exchange) refuse(ctx context.Context, err error) {
	x.refused = refusalOf(err, ctx.Err() != nil)
	x.outcome.Answer, x.outcome.Err, x.outcome.Reason = nil, err, x.refused.Reason
	var media *mediaError
	switch {
	case x.outcome.Status == http.StatusMethodNotAllowed:
	case errors.As(err, &media):
		x.outcome.Status = http.StatusUnsupportedMediaType
	default:
		x.outcome.Status = Status(x.refused.Reason)
	}
}

// after tells every observer the outcome. One that panics does not keep it from the others.
func (g *Gateway) after(call *stoa.Call, outcome *stoa.Outcome) {
	for i := range g.Observers {
		g.tell(g.Observers[i], call, outcome)
	}
}

func (g *Gateway) tell(o stoa.Observer, call *stoa.Call, outcome *stoa.Outcome) {
	defer func() {
		if v := recover(); v != nil {
			_ = g.panicked(v, "id", call.ID, "observer", fmt.Sprintf("%T", o)) // logged; the reply stands
		}
	}()
	o.After(call, outcome)
}

// reply sends what became of the exchange.
func (g *Gateway) reply(w http.ResponseWriter, x *exchange) {
	h := w.Header()
	if x.values[0] = x.call.ID; headerSafe(x.values[0]) {
		h["Stoa-Request-Id"] = x.values[0:1:1]
	}
	if x.refused != nil {
		writeRefusal(w, x.outcome.Status, x.refused)
		return
	}
	h["Content-Type"] = jsonType
	if x.values[1] != "" {
		h["Stoa-Model-Version"] = x.values[1:2:2]
	}
	if x.values[2] != "" {
		h["Stoa-Fallback"] = x.values[2:3:3]
	}
	if len(x.body.b) > 2048 {
		h.Set("Content-Length", strconv.Itoa(len(x.body.b))) // net/http adds it to shorter replies by itself
	}
	_, _ = w.Write(x.body.b) // the client may be gone
}

// headerSafe tells whether a client's id can stand in a header as it is.
func headerSafe(id string) bool {
	for i := 0; i < len(id); i++ {
		if id[i] < ' ' || id[i] > '~' {
			return false
		}
	}
	return true
}
