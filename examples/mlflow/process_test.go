package mlflow_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// errGone says that the server was killed while it had the request: nobody knows what became of it.
var errGone = errors.New("the server was killed")

// A process is a stoa server that is killed and started again, and the way to talk to it.
type process struct {
	t         *testing.T
	bin       string
	dir, data string
	log       *os.File
	http      *http.Client

	url, key string
	cmd      *exec.Cmd

	mu      sync.Mutex
	killed  bool
	watcher func(event string)
}

func newProcess(t *testing.T, bin, dir string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		t: t, bin: bin, dir: dir, data: filepath.Join(dir, ".stoa"), log: log, watcher: func(string) {},
		http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
	}
	t.Cleanup(func() {
		p.kill()
		p.http.CloseIdleConnections()
		_ = log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the end of the server's log:\n%s", text[max(0, len(text)-4<<10):])
		}
	})
	return p
}

// begin starts the process and returns a channel that receives the lines it prints until it is ready.
func (p *process) begin() <-chan string {
	p.t.Helper()
	cmd := exec.Command(p.bin, "up", p.dir, "--listen", "127.0.0.1:0")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		p.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		p.t.Fatal(err)
	}
	p.mu.Lock()
	p.cmd, p.killed = cmd, false
	p.mu.Unlock()
	lines := make(chan string, 16)
	go func() {
		defer close(lines)
		listening := false
		scan := bufio.NewScanner(stderr)
		for scan.Scan() {
			fmt.Fprintln(p.log, scan.Text())
			if !listening { // nobody reads later lines
				lines <- scan.Text()
				listening = strings.HasPrefix(scan.Text(), "listening on ")
			}
		}
	}()
	return lines
}

// start starts the process and returns when it is ready.
func (p *process) start() {
	p.t.Helper()
	for line := range p.begin() {
		url, found := strings.CutPrefix(line, "listening on ")
		if !found {
			continue
		}
		key, err := os.ReadFile(filepath.Join(p.data, "owner.key"))
		if err != nil {
			p.t.Fatal(err)
		}
		p.url, p.key = url, strings.TrimSpace(string(key))
		return
	}
	p.t.Fatal("stoa up ended before it was ready")
}

// kill ends the process as a power cut would, and returns when it is gone.
func (p *process) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd == nil || p.killed {
		return
	}
	p.killed = true
	_ = p.cmd.Process.Kill() // it may have ended by itself, which the requests notice
	_, _ = p.cmd.Process.Wait()
}

func (p *process) gone() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.killed
}

// watch has a function told how far requests are: "<what> goes on", "is sent", "is answered".
func (p *process) watch(watcher func(event string)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.watcher = watcher
}

func (p *process) happens(event string) {
	p.mu.Lock()
	watcher := p.watcher
	p.mu.Unlock()
	watcher(event) // it may kill
}

// A message is a request: what it is called in events, and what it sends.
type message struct {
	what, method, path string
	body               []byte
}

// An answer is what came back.
type answer struct {
	status int
	etag   string
	body   []byte
}

// send sends a request. It returns errGone when the server was killed meanwhile.
func (p *process) send(m message) (answer, error) {
	req, err := http.NewRequest(m.method, p.url+m.path, &pieces{
		bytes.NewReader(m.body), func() { p.happens(m.what + " goes on") },
	})
	if err != nil {
		return answer{}, err
	}
	req.ContentLength = int64(len(m.body))
	if len(m.body) == 0 {
		req.Body = http.NoBody
	}
	req.Header.Set("Authorization", "Bearer "+p.key)
	req.Header.Set("Content-Type", "application/json")
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
		WroteRequest: func(httptrace.WroteRequestInfo) { p.happens(m.what + " is sent") },
	}))
	resp, err := p.http.Do(req)
	var body []byte
	if err == nil {
		defer resp.Body.Close()
		body, err = io.ReadAll(resp.Body)
	}
	switch {
	case err != nil && p.gone():
		return answer{}, errGone
	case err != nil:
		return answer{}, fmt.Errorf("the server lost a request while it was running: %w", err)
	}
	p.happens(m.what + " is answered")
	return answer{resp.StatusCode, resp.Header.Get("ETag"), body}, nil
}

// do sends a request that must succeed, in as JSON unless it is bytes, and decodes the answer into out, which may be
// nil.
func (p *process) do(what, method, path string, in, out any) (answer, error) {
	body, raw := in.([]byte)
	if !raw && in != nil {
		var err error
		if body, err = json.Marshal(in); err != nil {
			return answer{}, err
		}
	}
	a, err := p.send(message{what, method, path, body})
	switch {
	case err != nil:
		return a, err
	case a.status != http.StatusOK:
		return a, fmt.Errorf("%s %s: %d %.300s", method, path, a.status, a.body)
	case out == nil:
		return a, nil
	}
	return a, json.Unmarshal(a.body, out)
}

// pieces is a body of a request that tells of each piece that is taken from it.
type pieces struct {
	*bytes.Reader
	taken func()
}

func (b *pieces) Read(into []byte) (int, error) {
	n, err := b.Reader.Read(into[:min(len(into), 16<<10)])
	if n > 0 && b.Len() > 0 {
		b.taken()
	}
	return n, err
}

// WriteTo hides that of the reader, which would give all in one piece.
func (b *pieces) WriteTo(w io.Writer) (int64, error) {
	return io.Copy(w, struct{ io.Reader }{b})
}

// run runs the stoa command and returns what it printed.
func (p *process) run(args ...string) string {
	p.t.Helper()
	cmd := exec.Command(p.bin, args...)
	cmd.Dir = p.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		p.t.Fatalf("stoa %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}
