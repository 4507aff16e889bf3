package gateway

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
)

// heard is an observer that passes on what it learns.
type heard chan stoa.Outcome

func (h heard) After(_ *stoa.Call, o *stoa.Outcome) { h <- *o }

// wire serves a gateway over TCP and returns a connection to it.
func wire(t *testing.T, target targetFunc) (*Gateway, heard, net.Conn) {
	t.Helper()
	outcomes := make(heard, 16)
	g, _ := open(t, target, func(c *Config) { c.Observers = []stoa.Observer{outcomes} })
	server := httptest.NewServer(g)
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return g, outcomes, conn
}

func send(t *testing.T, conn net.Conn, length int, body string) {
	t.Helper()
	_, err := fmt.Fprintf(conn, "POST /v2/models/price/infer HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer key\r\n"+
		"Content-Length: %d\r\n\r\n%s", length, body)
	if err != nil {
		t.Fatal(err)
	}
}

func TestAClientThatGoesAwayWhileTheTargetWorksIsCanceled(t *testing.T) {
	began := make(chan struct{})
	_, outcomes, conn := wire(t, func(ctx context.Context, _ *stoa.Call) (*stoa.Answer, error) {
		close(began)
		<-ctx.Done()
		return nil, ctx.Err()
	})
	send(t, conn, len(request), request)
	<-began
	_ = conn.Close()
	if o := <-outcomes; o.Reason != stoa.ReasonCanceled || o.Status != StatusCanceled {
		t.Errorf("outcome %+v", o)
	}
}

func TestAClientThatGoesAwayWithinItsBodyIsCanceled(t *testing.T) {
	_, outcomes, conn := wire(t, champion)
	send(t, conn, len(request), request[:20])
	_ = conn.Close()
	if o := <-outcomes; o.Reason != stoa.ReasonCanceled {
		t.Errorf("outcome %+v", o)
	}
}

func TestConnectionsAreKept(t *testing.T) {
	big := strings.Repeat("long", 5000)
	_, outcomes, conn := wire(t, func(ctx context.Context, call *stoa.Call) (*stoa.Answer, error) {
		a, err := champion(ctx, call)
		if call.ID == "big" {
			a.Outputs[0].Data = []string{big}
		}
		return a, err
	})
	r := bufio.NewReader(conn)
	// Refusals keep the connection too, when the body is small enough to be read to its end.
	for _, body := range []string{request, "{", strings.Replace(request, "p-1", "big", 1), request} {
		send(t, conn, len(body), body)
		reply, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(reply.Body)
		if err != nil || reply.Close || reply.ContentLength != int64(len(text)) {
			t.Errorf("%d, close %v, %d bytes announced and %d read, %v", reply.StatusCode, reply.Close, reply.ContentLength,
				len(text), err)
		}
		if o := <-outcomes; o.Status != reply.StatusCode {
			t.Errorf("status %d, outcome %d", reply.StatusCode, o.Status)
		}
	}
}
