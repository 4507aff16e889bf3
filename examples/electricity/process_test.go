package electricity_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
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

	mu     sync.Mutex
	killed bool
}

// build makes the binary under test.
func build(t *testing.T) string {
	t.Helper()
	bin := filepath.Join(t.TempDir(), "stoa")
	out, err := exec.Command("go", "build", "-o", bin, "../../cmd/stoa").CombinedOutput()
	if err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return bin
}

func newProcess(t *testing.T, bin, dir string) *process {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, "stoa.log"))
	if err != nil {
		t.Fatal(err)
	}
	p := &process{
		t: t, bin: bin, dir: dir, data: filepath.Join(dir, ".stoa"), log: log,
		http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 8}},
	}
	t.Cleanup(func() {
		p.kill()
		p.http.CloseIdleConnections()
		log.Close()
		if t.Failed() {
			t.Logf("the end of the server's log:\n%s", tail(log.Name(), 8<<10))
		}
	})
	return p
}

// begin starts the process and returns a channel that receives the lines it prints.
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
	p.t.Fatalf("stoa up ended before it was ready:\n%s", tail(p.log.Name(), 4<<10))
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

// A refusal is an error that the server answered.
type refusal struct {
	status  int
	path    string
	Message string `json:"error"`
	Reason  string `json:"reason"`
}

func (e *refusal) Error() string {
	return fmt.Sprintf("%s: %d %s: %s", e.path, e.status, e.Reason, e.Message)
}

// call sends a request and decodes the answer into out, which may be nil. It returns errGone when the server was killed
// meanwhile, and a *refusal for an answer of 400 or above.
func (p *process) call(method, path string, in, out any) error {
	raw, err := json.Marshal(in)
	if err != nil {
		return err
	}
	if in == nil {
		raw = nil
	}
	return p.send(method, path, "application/json", raw, out)
}

func (p *process) send(method, path, kind string, body []byte, out any) error {
	req, err := http.NewRequest(method, p.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+p.key)
	req.Header.Set("Content-Type", kind)
	var raw []byte
	resp, err := p.http.Do(req)
	if err == nil {
		defer resp.Body.Close()
		raw, err = io.ReadAll(resp.Body)
	}
	switch {
	case err != nil && p.gone():
		return errGone
	case err != nil:
		return fmt.Errorf("the server lost a request while it was running: %w", err)
	case resp.StatusCode >= http.StatusBadRequest:
		r := &refusal{status: resp.StatusCode, path: path}
		if json.Unmarshal(raw, r) != nil {
			r.Message = string(raw)
		}
		return r
	case out == nil:
		return nil
	}
	return json.Unmarshal(raw, out)
}

// run runs the stoa command in the workload directory and returns what it printed.
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

// tail is the end of a file.
func tail(path string, most int) []byte {
	text, err := os.ReadFile(path)
	if err != nil {
		return []byte(err.Error())
	}
	return text[max(0, len(text)-most):]
}
