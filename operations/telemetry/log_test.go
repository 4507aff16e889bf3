package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stoaproject/stoa"
)

const someKey = "stoa_AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_AbCdE"

func TestLoggerHidesSecrets(t *testing.T) {
	for _, asJSON := range []bool{true, false} {
		var out bytes.Buffer
		log := NewLogger(&out, slog.LevelInfo, asJSON)
		log.Info("sent "+someKey, "authorization", "Bearer abc", "Password", "hunter2", "url", "/x?key="+someKey,
			"err", fmt.Errorf("bad key %s", someKey), "n", 3, slog.Group("g", "token", "tok", "deep", someKey))
		log.With("secret", "swordfish").WithGroup("h").Info("again", "api_key", "k1k2k3")
		log.Debug("not shown")
		for _, secret := range []string{someKey, someKey[5:20], "hunter2", "Bearer abc", "tok\"", "token=tok", "swordfish", "k1k2k3", "not shown"} {
			if strings.Contains(out.String(), secret) {
				t.Errorf("%q is in the log:\n%s", secret, &out)
			}
		}
		if n := strings.Count(out.String(), redacted); n != 9 {
			t.Errorf("%d redactions:\n%s", n, &out)
		}
	}
}

// lockedBuffer takes writes from the log's goroutine while a test reads.
type lockedBuffer struct {
	mu     sync.Mutex
	buf    bytes.Buffer
	writes int
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.writes++
	return b.buf.Write(p)
}

func (b *lockedBuffer) read() (string, int) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.buf.String(), b.writes
}

func someCall() *stoa.Call {
	return &stoa.Call{ID: "req-1", Endpoint: "price", Caller: stoa.Caller{ID: "key-1"}, Rows: 2}
}

func TestLines(t *testing.T) {
	at := func() time.Time { return time.Date(1998, 5, 4, 12, 30, 0, 123456789, time.UTC) }
	fallback := ok("price@previous")
	fallback.Answer.Fallback, fallback.Answer.Role = stoa.ReasonTimeout, stoa.RoleFallback
	odd := someCall()
	odd.ID, odd.Endpoint = "a\"b\n"+someKey, strings.Repeat("é", 1000)
	tests := []struct {
		what       string
		call       *stoa.Call
		outcome    *stoa.Outcome
		json, text string
	}{
		{"answered", someCall(), ok("price@champion"),
			`{"time":"1998-05-04T12:30:00.123456Z","level":"INFO","msg":"request","request_id":"req-1","caller":"key-1",` +
				`"endpoint":"price","target":"price@champion","model":"price","version":3,"role":"champion","attempts":1,` +
				`"status":200,"rows":2,"latency_ms":0.300}`,
			`time=1998-05-04T12:30:00.123456Z level=INFO msg=request request_id=req-1 caller=key-1 endpoint=price ` +
				`target=price@champion model=price version=3 role=champion attempts=1 status=200 rows=2 latency_ms=0.300`},
		{"fallback", someCall(), fallback,
			`"role":"fallback","attempts":1,"reason":"timeout","status":200`, `role=fallback attempts=1 reason=timeout status=200`},
		{"failed", someCall(), &stoa.Outcome{Status: 500, Reason: stoa.ReasonInternal, Err: errors.New("disk \"sda\" " + someKey)},
			`"level":"ERROR","msg":"request","request_id":"req-1","caller":"key-1","endpoint":"price","reason":"internal",` +
				`"status":500,"rows":2,"latency_ms":0.000,"error":"disk \"sda\" <secret>"}`,
			`reason=internal status=500 rows=2 latency_ms=0.000 error="disk \"sda\" <secret>"`},
		{"refused", &stoa.Call{}, &stoa.Outcome{Status: 401, Reason: stoa.ReasonUnauthenticated, Err: errors.New("x")},
			`"level":"INFO","msg":"request","request_id":"","caller":"","endpoint":"","reason":"unauthenticated","status":401,` +
				`"rows":0,"latency_ms":0.000}`,
			`level=INFO msg=request request_id="" caller="" endpoint="" reason=unauthenticated status=401`},
		{"odd names", odd, ok("x"), `"request_id":"a\"b\n<secret>"`, `request_id="a\"b\n<secret>"`},
	}
	for _, tt := range tests {
		for _, asJSON := range []bool{true, false} {
			var out lockedBuffer
			l := NewAccessLog(AccessLogConfig{Writer: &out, JSON: asJSON, Now: at})
			l.After(tt.call, tt.outcome)
			if err := l.Close(t.Context()); err != nil {
				t.Fatal(err)
			}
			line, _ := out.read()
			want := tt.text
			if asJSON {
				want = tt.json
				if !json.Valid([]byte(line)) {
					t.Errorf("%s: not JSON: %s", tt.what, line)
				}
			}
			if !strings.Contains(line, want) || strings.Count(line, "\n") != 1 || !strings.HasSuffix(line, "\n") {
				t.Errorf("%s:\n%swant\n%s", tt.what, line, want)
			}
			if strings.Contains(line, someKey[5:20]) || len(line) > 2000 {
				t.Errorf("%s: %s", tt.what, line)
			}
		}
	}
}

func TestLevelLeavesLinesOut(t *testing.T) {
	var out lockedBuffer
	l := NewAccessLog(AccessLogConfig{Writer: &out, Level: slog.LevelError})
	l.After(someCall(), ok("x"))
	l.After(someCall(), &stoa.Outcome{Status: 503, Reason: stoa.ReasonNoCandidate})
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if line, _ := out.read(); strings.Count(line, "\n") != 1 || !strings.Contains(line, "no_candidate") {
		t.Errorf("got %s", line)
	}
}

func TestLinesAreWrittenTogether(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var out lockedBuffer
		l := NewAccessLog(AccessLogConfig{Writer: &out})
		for range 50 {
			l.After(someCall(), ok("x"))
		}
		synctest.Wait()
		if _, writes := out.read(); writes != 0 {
			t.Errorf("%d writes before the delay", writes)
		}
		<-time.After(defaultDelay + time.Millisecond)
		synctest.Wait()
		if text, writes := out.read(); writes != 1 || strings.Count(text, "\n") != 50 {
			t.Errorf("%d writes of %d lines after the delay", writes, strings.Count(text, "\n"))
		}
		l.After(someCall(), ok("x"))
		if err := l.Close(context.Background()); err != nil {
			t.Fatal(err)
		}
		if text, _ := out.read(); strings.Count(text, "\n") != 51 {
			t.Error("Close did not write what waited")
		}
	})
}

// stuckWriter is a disk that does not answer until it is released.
type stuckWriter struct {
	entered, release chan struct{}
	lines            int
}

func (w *stuckWriter) Write(p []byte) (int, error) {
	w.entered <- struct{}{}
	<-w.release
	w.lines += bytes.Count(p, []byte("\n"))
	return len(p), nil
}

func TestAStuckDiskDropsLinesAndHoldsUpNobody(t *testing.T) {
	w := &stuckWriter{entered: make(chan struct{}), release: make(chan struct{})}
	dropped := 0
	l := NewAccessLog(AccessLogConfig{Writer: w, Queue: 4096, Delay: time.Nanosecond, Dropped: func(n int) { dropped += n }})
	l.After(someCall(), ok("x"))
	<-w.entered
	const calls = 1000
	for range calls {
		l.After(someCall(), ok("x"))
	}
	l.mu.Lock()
	waiting, lines := cap(l.waiting), l.lines
	l.mu.Unlock()
	if waiting > 3*4096 || lines == 0 || lines == calls {
		t.Errorf("%d bytes and %d lines wait", waiting, lines)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := l.Close(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("Close with a stuck disk: %v", err)
	}
	close(w.release)
	go func() {
		for range w.entered {
		}
	}()
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	close(w.entered)
	if w.lines+dropped != calls+1 || dropped == 0 {
		t.Errorf("%d lines written and %d dropped of %d", w.lines, dropped, calls+1)
	}
}

func TestLinesThatCannotBeWrittenAreCounted(t *testing.T) {
	r, w := io.Pipe()
	r.Close()
	dropped := 0
	l := NewAccessLog(AccessLogConfig{Writer: w, Dropped: func(n int) { dropped += n }})
	for range 3 {
		l.After(someCall(), ok("x"))
	}
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	if dropped != 3 {
		t.Errorf("%d dropped", dropped)
	}
}

func TestManyWriters(t *testing.T) {
	var out lockedBuffer
	dropped := 0
	l := NewAccessLog(AccessLogConfig{Writer: &out, JSON: true, Delay: time.Microsecond, Dropped: func(n int) { dropped += n }})
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for range 500 {
				l.After(someCall(), ok("x"))
			}
		})
	}
	group.Wait()
	if err := l.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	text, _ := out.read()
	lines := strings.Split(strings.TrimSpace(text), "\n")
	if len(lines)+dropped != 2000 {
		t.Errorf("%d lines and %d dropped", len(lines), dropped)
	}
	for _, line := range lines {
		if !json.Valid([]byte(line)) {
			t.Fatalf("not JSON: %s", line)
		}
	}
}

func FuzzQuoted(f *testing.F) {
	f.Add("plain")
	f.Add("a\"b\\c\n\t\x00\x7f\u0085\u2028é\xff\xc3")
	f.Fuzz(func(t *testing.T, s string) {
		quoted := appendQuoted(nil, s)
		var back string
		if err := json.Unmarshal(quoted, &back); err != nil {
			t.Fatalf("%q became %s: %v", s, quoted, err)
		}
		if want := strings.ToValidUTF8(s, "\uFFFD"); strings.ReplaceAll(back, "\uFFFD", "") != strings.ReplaceAll(want, "\uFFFD", "") {
			t.Errorf("%q became %q", s, back)
		}
		if bytes.ContainsAny(quoted, "\n\r\u0085\u2028\u2029") {
			t.Errorf("%q breaks the line: %q", s, quoted)
		}
	})
}

func BenchmarkAccessLog(b *testing.B) {
	for _, asJSON := range []bool{true, false} {
		b.Run(fmt.Sprintf("json=%v", asJSON), func(b *testing.B) {
			l := NewAccessLog(AccessLogConfig{Writer: io.Discard, JSON: asJSON})
			call, outcome := someCall(), ok("price@champion")
			call.ID = "0192f0c1-7b1a-7c3e-9d55-3f2b6a1c8e77"
			b.ReportAllocs()
			for b.Loop() {
				l.After(call, outcome)
			}
			b.StopTimer()
			if err := l.Close(b.Context()); err != nil && b.Context().Err() == nil {
				b.Fatal(err)
			}
		})
	}
}
