package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// A server is the running `stoa up` and the way to talk to it: plain HTTP, as any client would.
type server struct {
	bin  string // the stoa binary
	dir  string // the workload directory
	data string // the data directory
	url  string
	key  string
	http *http.Client
	cmd  *exec.Cmd
	done chan struct{} // closed when the process has ended
	end  error         // how it ended; read it after done
}

// startServer runs `stoa up` and waits until it is ready.
func startServer(ctx context.Context, bin, dir, listen string) (*server, error) {
	s := &server{
		bin: bin, dir: dir, data: filepath.Join(dir, ".stoa"), done: make(chan struct{}),
		http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{MaxIdleConnsPerHost: 16}},
	}
	log, err := os.Create(filepath.Join(dir, "stoa.log"))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	s.cmd = exec.Command(bin, "up", dir, "--listen", listen, "--data", s.data)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C reaches the replay, which then stops the server
	if err := s.cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting %s: %w", bin, err)
	}
	go func() {
		s.end = s.cmd.Wait()
		close(s.done)
	}()
	if err := s.awaitReady(ctx, log.Name()); err != nil {
		s.stop()
		return nil, err
	}
	return s, nil
}

func (s *server) awaitReady(ctx context.Context, log string) error {
	ctx, cancel := context.WithTimeout(ctx, 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-s.done:
			text, _ := os.ReadFile(log)
			return fmt.Errorf("stoa up ended at once: %w\n%s", s.end, text)
		case <-ctx.Done():
			return fmt.Errorf("stoa up is not ready: %w; see %s", ctx.Err(), log)
		case <-tick.C:
		}
		text, err := os.ReadFile(log)
		if err != nil {
			return err
		}
		_, rest, found := strings.Cut(string(text), "listening on ")
		if !found || !strings.ContainsAny(rest, " \n") {
			continue
		}
		s.url = strings.TrimRight(strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == '\n' })[0], "/")
		key, err := os.ReadFile(filepath.Join(s.data, "owner.key"))
		if err != nil {
			return err
		}
		s.key = strings.TrimSpace(string(key))
		resp, err := s.http.Get(s.url + "/readyz")
		if err != nil {
			continue
		}
		resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return nil
		}
	}
}

// stop ends the server with SIGTERM, so that it drains, and waits for it.
func (s *server) stop() {
	if s.cmd.Process == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.done:
	case <-time.After(30 * time.Second):
		_ = s.cmd.Process.Kill()
		<-s.done
	}
}

// call sends one JSON request and decodes the answer into out, which may be nil. An answer of 400 or above is an
// *apiError.
func (s *server) call(ctx context.Context, method, path string, in, out any) (http.Header, error) {
	var body io.Reader
	if in != nil {
		raw, ok := in.([]byte)
		if !ok {
			var err error
			if raw, err = json.Marshal(in); err != nil {
				return nil, err
			}
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, body)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode >= 400 {
		failure := &apiError{status: resp.StatusCode, path: path}
		if json.Unmarshal(raw, failure) != nil {
			failure.Message = string(raw)
		}
		return resp.Header, failure
	}
	if out == nil {
		return resp.Header, nil
	}
	return resp.Header, json.Unmarshal(raw, out)
}

// An apiError is an error that the server answered.
type apiError struct {
	status  int
	path    string
	Message string `json:"error"`
	Reason  string `json:"reason"`
}

func (e *apiError) Error() string {
	return fmt.Sprintf("%s: %d %s: %s", e.path, e.status, e.Reason, e.Message)
}

// run calls the stoa command with args, as a user would, and returns what it printed.
func (s *server) run(ctx context.Context, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, s.bin, args...)
	cmd.Dir = s.dir
	cmd.Env = append(os.Environ(), "STOA_URL="+s.url, "STOA_KEY="+s.key)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("stoa %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// inferBody appends the request that asks for a prediction of rows. An empty id leaves it to the server, and
// unrecorded keeps the prediction out of monitoring.
func inferBody(dst []byte, id string, rows []row, unrecorded bool) []byte {
	dst = append(dst, '{')
	if id != "" {
		dst = append(dst, `"id":`...)
		dst = strconv.AppendQuote(dst, id)
		dst = append(dst, ',')
	}
	if unrecorded {
		dst = append(dst, `"parameters":{"record":false},`...)
	}
	dst = append(dst, `"inputs":[{"name":"input","datatype":"FP32","shape":[`...)
	dst = strconv.AppendInt(dst, int64(len(rows)), 10)
	dst = append(dst, `,6],"data":[`...)
	for i, r := range rows {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, r.text...)
	}
	return append(dst, `]}]}`...)
}

// A prediction is what the demo reads of an inference answer.
type prediction struct {
	Version string `json:"model_version"`
	Outputs []struct {
		Name string          `json:"name"`
		Data json.RawMessage `json:"data"`
	} `json:"outputs"`
}

// classes returns the predicted class of every row.
func (p *prediction) classes() ([]string, error) {
	for _, o := range p.Outputs {
		if o.Name != "label" {
			continue
		}
		var out []string
		if err := json.Unmarshal(o.Data, &out); err != nil {
			return nil, fmt.Errorf("output label: %w", err)
		}
		return out, nil
	}
	return nil, fmt.Errorf("the answer has no output named label")
}

// A lifecycle is the state of a model's lifecycle, as /v1/models/NAME/lifecycle gives it.
type lifecycle struct {
	Settled  bool `json:"settled"`
	Champion int  `json:"champion"`
	Decay    *struct {
		Statistic float64 `json:"statistic"`
		Threshold float64 `json:"threshold"`
	} `json:"decay"`
	Rollout *struct {
		Phase      string `json:"phase"`
		Challenger int    `json:"challenger"`
	} `json:"rollout"`
	Counts counts `json:"counts"`
}

// counts are the decisions taken so far.
type counts struct {
	Alarms      int `json:"alarms"`
	Retrainings int `json:"retrainings"`
	Blocked     int `json:"blocked"`
	Promotions  int `json:"promotions"`
	Withdrawn   int `json:"withdrawn"`
	RolledBack  int `json:"rolled_back"`
}

// An event is one line of the ledger.
type event struct {
	Seq     int64  `json:"seq"`
	Kind    string `json:"kind"`
	What    string `json:"what"`
	Subject string `json:"subject"`
	Text    string `json:"text"`
}
