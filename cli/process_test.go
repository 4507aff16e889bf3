package cli

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stoaproject/stoa/app"
)

// A process is `stoa up` as a process of its own, which signals can be sent to.
type process struct {
	t    *testing.T
	dir  string
	data string
	cmd  *exec.Cmd
	url  string
	key  string

	mu    sync.Mutex // guards lines
	lines []string
	more  chan struct{} // receives when there are more lines
	ended chan struct{} // closed when the process has ended and its output is read
}

// newWorkload writes a workload directory with a model to serve and returns it with the path of the model.
func newWorkload(t *testing.T) (dir, artifact string) {
	t.Helper()
	dir = t.TempDir()
	text, err := os.ReadFile(filepath.Join("testdata", "shop.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, app.WorkloadFile), text, 0o644); err != nil {
		t.Fatal(err)
	}
	data := filepath.Join(dir, "history.csv")
	if err := os.WriteFile(data, []byte("basket,visits,class\n"+strings.Repeat("0.1,0.2,LEAVES\n0.9,0.8,BUYS\n", 50)), 0o644); err != nil {
		t.Fatal(err)
	}
	artifact = filepath.Join(dir, "model.onnx")
	stoaCommand(t, dir, "train", data, "--target", "class", "--out", artifact, "--rounds", "3", "--quiet")
	return dir, artifact
}

// stoaCommand runs the stoa command that TestMain has put on the PATH.
func stoaCommand(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("stoa", args...)
	cmd.Dir = dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("stoa %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// startProcess runs stoa up and returns when it is ready.
func startProcess(t *testing.T, dir string) *process {
	t.Helper()
	p := &process{
		t: t, dir: dir, data: filepath.Join(dir, app.DefaultData),
		more: make(chan struct{}, 1), ended: make(chan struct{}),
	}
	p.cmd = exec.Command("stoa", "up", dir, "--listen", "127.0.0.1:0")
	out, err := p.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go p.read(out)
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // it has ended already when the test went well
		<-p.ended
	})
	p.url, _ = strings.CutPrefix(p.waitLine("listening on "), "listening on ")
	key, err := os.ReadFile(filepath.Join(p.data, app.OwnerKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	p.key = strings.TrimSpace(string(key))
	return p
}

// read collects what the process prints.
func (p *process) read(out io.Reader) {
	defer close(p.ended)
	scan := bufio.NewScanner(out)
	for scan.Scan() {
		p.mu.Lock()
		p.lines = append(p.lines, scan.Text())
		p.mu.Unlock()
		select {
		case p.more <- struct{}{}:
		default:
		}
	}
}

// waitLine waits for a line with text in it.
func (p *process) waitLine(text string) string {
	p.t.Helper()
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for {
		p.mu.Lock()
		lines := p.lines
		p.mu.Unlock()
		for _, line := range lines {
			if strings.Contains(line, text) {
				return line
			}
		}
		select {
		case <-p.more:
		case <-p.ended:
			p.t.Fatalf("stoa up ended without printing %q:\n%s", text, strings.Join(lines, "\n"))
		case <-deadline.C:
			p.t.Fatalf("stoa up does not print %q:\n%s", text, strings.Join(lines, "\n"))
		}
	}
}

// signal sends a signal.
func (p *process) signal(s os.Signal) {
	p.t.Helper()
	if err := p.cmd.Process.Signal(s); err != nil {
		p.t.Fatal(err)
	}
}

// wait waits for the end of the process and returns its exit code; -1 when a signal ended it.
func (p *process) wait() int {
	p.t.Helper()
	<-p.ended
	err := p.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		p.t.Fatal(err)
	}
	return p.cmd.ProcessState.ExitCode()
}

// An inference is what came back of one request.
type inference struct {
	status int
	last   bool // the server closes the connection with this answer
	body   []byte
}

// infer sends one request.
func (p *process) infer(ctx context.Context, client *http.Client, endpoint string) (inference, error) {
	const body = `{"inputs":[{"name":"input","datatype":"FP32","shape":[1,2],"data":[0.9,0.8]}]}`
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/v2/models/"+endpoint+"/infer", strings.NewReader(body))
	if err != nil {
		return inference{}, err
	}
	req.Header.Set("Authorization", "Bearer "+p.key)
	req.Header.Set("Content-Type", "application/json")
	req.GetBody = nil // the client must not send a lost request again behind our back
	resp, err := client.Do(req)
	if err != nil {
		return inference{}, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	return inference{resp.StatusCode, resp.Close, raw}, err
}

// TestTerminationLosesNoRequest ends a server with SIGTERM while clients keep it busy: every request that it had let in
// is answered, the connections are closed with an answer, and the process ends well.
func TestTerminationLosesNoRequest(t *testing.T) {
	const clients, before = 8, 50
	dir, artifact := newWorkload(t)
	p := startProcess(t, dir)
	stoaCommand(t, dir, "models", "register", "buyer", artifact, "--promote")

	var warm, done sync.WaitGroup
	warm.Add(clients)
	answered := make([]int, clients)
	for c := range clients {
		done.Go(func() {
			client := &http.Client{Transport: &http.Transport{}, Timeout: time.Minute}
			defer client.CloseIdleConnections()
			for last := false; !last; {
				got, err := p.infer(t.Context(), client, "buyer")
				if err != nil || got.status != http.StatusOK {
					t.Errorf("client %d lost request %d: %v, %d %s", c, answered[c], err, got.status, got.body)
					last = true
				}
				last = last || got.last
				if answered[c]++; answered[c] == before {
					warm.Done()
				}
			}
			for ; answered[c] < before; answered[c]++ {
				if answered[c] == before-1 {
					warm.Done() // a client that failed early keeps nobody waiting
				}
			}
		})
	}
	warm.Wait()
	p.signal(syscall.SIGTERM)
	done.Wait()
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	if _, err := os.Stat(filepath.Join(p.data, app.URLFile)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the url file is still there: %v", err)
	}
	sum := 0
	for _, n := range answered {
		sum += n
	}
	t.Logf("%d requests of %d clients, all answered", sum, clients)
	if out := stoaCommand(t, dir, "audit", "verify", "--data", p.data); !strings.Contains(out, "the ledger verifies") {
		t.Error(out)
	}
}

// TestHangupReloads sends SIGHUP after the workload file has changed, for the better and for the worse.
func TestHangupReloads(t *testing.T) {
	dir, artifact := newWorkload(t)
	p := startProcess(t, dir)
	stoaCommand(t, dir, "models", "register", "buyer", artifact, "--promote")
	path := filepath.Join(dir, app.WorkloadFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text []byte) {
		t.Helper()
		if err := os.WriteFile(path, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	check := func(endpoint string, want int) {
		t.Helper()
		got, err := p.infer(t.Context(), http.DefaultClient, endpoint)
		if err != nil || got.status != want {
			t.Errorf("endpoint %s: %v, %d %s", endpoint, err, got.status, got.body)
		}
	}
	check("second", http.StatusNotFound)

	write([]byte("nonsense: 1\n"))
	p.signal(syscall.SIGHUP)
	p.waitLine("reload refused, nothing changed")
	check("buyer", http.StatusOK)

	write(bytes.Replace(good, []byte("endpoints:\n"), []byte("endpoints:\n  second: {targets: [{model: buyer}]}\n"), 1))
	p.signal(syscall.SIGHUP)
	p.waitLine(`"reloaded"`)
	check("buyer", http.StatusOK)
	check("second", http.StatusOK)

	p.signal(syscall.SIGTERM)
	if code := p.wait(); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// TestKilledServerStartsAgain kills a server under load and starts another on what it left.
func TestKilledServerStartsAgain(t *testing.T) {
	dir, artifact := newWorkload(t)
	p := startProcess(t, dir)
	stoaCommand(t, dir, "models", "register", "buyer", artifact, "--promote")
	for life := range 3 {
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 20 + 10*life {
					if _, err := p.infer(t.Context(), http.DefaultClient, "buyer"); err != nil {
						return // the kill
					}
				}
				_ = p.cmd.Process.Kill() // the first client that is through; it may be dead already
			})
		}
		wg.Wait()
		if code := p.wait(); code != -1 {
			t.Fatalf("a killed process ends with %d", code)
		}
		p = startProcess(t, dir)
		got, err := p.infer(t.Context(), http.DefaultClient, "buyer")
		if err != nil || got.status != http.StatusOK || !bytes.Contains(got.body, []byte(`"model_version":"1"`)) {
			t.Fatal(fmt.Errorf("after kill %d: %w, %d %s", life+1, err, got.status, got.body))
		}
		stoaCommand(t, dir, "audit", "verify")
	}
}
