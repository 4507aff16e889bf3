package mlflow_test

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// python returns the interpreter that has a version of MLflow, as the script setup printed it.
func python(t *testing.T, version string) string {
	t.Helper()
	path := os.Getenv("STOA_TEST_MLFLOW" + version)
	if path == "" {
		t.Skip("SKIPPED: no Python with MLflow " + version + "; make test-mlflow sets it up")
	}
	return path
}

// build makes the binary under test, once for all tests.
var build = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "stoa-mlflow")
	if err != nil {
		return "", err
	}
	bin := filepath.Join(dir, "stoa")
	out, err := exec.Command("go", "build", "-o", bin, "../../cmd/stoa").CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return bin, nil
})

func TestMain(m *testing.M) {
	status := m.Run()
	if bin, err := build(); err == nil {
		_ = os.RemoveAll(filepath.Dir(bin)) // a temporary directory, which the system would clear as well
	}
	os.Exit(status)
}

// A server answers MLflow's wire.
type server struct {
	url, key string
	log      string
}

// startStoa starts a fresh Stoa with an empty workload.
func startStoa(t *testing.T) server {
	t.Helper()
	bin, err := build()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	workload := "apiVersion: stoa/v1\nname: clients\nmodels: {iris: {}}\nendpoints: {iris: {}}\n"
	if err := os.WriteFile(filepath.Join(dir, "workload.yaml"), []byte(workload), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(bin, "up", dir, "--listen", "127.0.0.1:0")
	url := listening(t, cmd, dir, "listening on ")
	key, err := os.ReadFile(filepath.Join(dir, ".stoa", "owner.key"))
	if err != nil {
		t.Fatal(err)
	}
	return server{url: url, key: strings.TrimSpace(string(key)), log: filepath.Join(dir, "log")}
}

// startReference starts mlflow server on a fresh SQLite database.
func startReference(t *testing.T, python string) server {
	t.Helper()
	dir := t.TempDir()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-m", "mlflow", "server", "--host", host, "--port", port, "--workers", "1",
		"--backend-store-uri", "sqlite:///"+filepath.Join(dir, "mlflow.db"), "--artifacts-destination", filepath.Join(dir, "artifacts"))
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION=false")
	listening(t, cmd, dir, "")
	s := server{url: "http://" + address, log: filepath.Join(dir, "log")}
	s.wait(t)
	return s
}

// listening starts a command whose output goes to a log, and returns what follows a prefix in it, which is nothing at
// once when the prefix is empty. The command and all that it starts end with the test.
func listening(t *testing.T, cmd *exec.Cmd, dir, prefix string) string {
	t.Helper()
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout = cmd.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	found, done := make(chan string, 1), make(chan struct{})
	go func() {
		defer close(done)
		defer close(found)
		waiting := prefix != ""
		lines := bufio.NewScanner(out)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			fmt.Fprintln(log, lines.Text())
			if after, yes := strings.CutPrefix(lines.Text(), prefix); waiting && yes {
				found <- after
				waiting = false
			}
		}
	}()
	t.Cleanup(func() {
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // the group: a server may have workers
		<-done
		_ = cmd.Wait() // killed
		_ = log.Close()
		if t.Failed() {
			text, _ := os.ReadFile(log.Name())
			t.Logf("the end of the log of %s:\n%s", filepath.Base(cmd.Path), text[max(0, len(text)-4<<10):])
		}
	})
	if prefix == "" {
		return ""
	}
	select {
	case text, ok := <-found:
		if !ok {
			t.Fatalf("%s ended before it was ready", cmd.Path)
		}
		return text
	case <-time.After(time.Minute):
		t.Fatalf("%s is not ready after a minute", cmd.Path)
	}
	return ""
}

// wait returns when a server answers.
func (s server) wait(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		if status, _, err := s.send(ctx, call{method: "GET", path: "/health"}); err == nil && status == http.StatusOK {
			return
		}
		select {
		case <-ctx.Done():
			t.Fatalf("%s does not answer", s.url)
		case <-tick.C:
		}
	}
}

// send sends a request and returns the status and the body of its answer.
func (s server) send(ctx context.Context, c call) (status int, body []byte, err error) {
	req, err := http.NewRequestWithContext(ctx, c.method, s.url+c.path, strings.NewReader(c.body))
	if err != nil {
		return 0, nil, err
	}
	if s.key != "" {
		req.Header.Set("Authorization", "Bearer "+s.key)
	}
	if c.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	for name, value := range c.header {
		req.Header.Set(name, value)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	body, err = io.ReadAll(resp.Body)
	return resp.StatusCode, body, err
}
