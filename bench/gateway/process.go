package main

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// ticks is the unit of CPU time in /proc/PID/stat: a hundredth of a second on every Linux (USER_HZ).
const ticks = 10 * time.Millisecond

// cpuTime is what a process has used so far, in user and system mode.
func cpuTime(pid int) (time.Duration, error) {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name in brackets may hold spaces; behind it come the state and, as fields 12 and 13 from it, the two times.
	fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
	if len(fields) < 13 {
		return 0, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(fields))
	}
	var sum time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * ticks
	}
	return sum, nil
}

// memory is the resident memory of a process now and at most, in MB of 10^6 bytes.
func memory(pid int) (now, peak float64, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		if name != "VmRSS" && name != "VmHWM" {
			continue
		}
		kib, err := strconv.ParseFloat(strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(value), "kB")), 64)
		if err != nil {
			return 0, 0, err
		}
		if name == "VmRSS" {
			now = kib * 1024 / 1e6
		} else {
			peak = kib * 1024 / 1e6
		}
	}
	return now, peak, nil
}

// serve is what a child process of this program does: be the empty handler, or the proxy in front of it.
func serve(role, upstream string) error {
	var handler http.Handler
	switch role {
	case "empty":
		handler = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	case "proxy":
		u, err := url.Parse(upstream)
		if err != nil {
			return err
		}
		proxy := httputil.NewSingleHostReverseProxy(u)
		transport := http.DefaultTransport.(*http.Transport).Clone()
		transport.MaxIdleConns, transport.MaxIdleConnsPerHost = 1000, 1000
		proxy.Transport = transport
		handler = proxy
	default:
		return fmt.Errorf("no role %q", role)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "listening on http://%s\n", listener.Addr())
	return http.Serve(listener, handler)
}

// A server is a child process that has said where it listens.
type server struct {
	cmd *exec.Cmd
	url string
	log *os.File
}

// spawn starts a process and waits for the line that says where it listens. Its standard error goes to a file.
func spawn(logFile, program string, args ...string) (*server, error) {
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	pipe, err := cmd.StderrPipe()
	if err != nil {
		return nil, errors.Join(err, log.Close())
	}
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	s := &server{cmd: cmd, log: log}
	lines := bufio.NewReader(pipe)
	for s.url == "" {
		line, err := lines.ReadString('\n')
		_, _ = log.WriteString(line)
		if err != nil {
			said, _ := os.ReadFile(logFile)
			return nil, errors.Join(fmt.Errorf("%s ended before it listened: %s", program, said), s.stop())
		}
		if at, ok := strings.CutPrefix(strings.TrimSpace(line), "listening on "); ok {
			s.url = at
		}
	}
	// What follows is copied as it comes, so that the child never waits for a reader.
	go func() { _, _ = lines.WriteTo(log) }()
	return s, nil
}

// stop ends the process and waits for it.
func (s *server) stop() error {
	_ = s.cmd.Process.Signal(os.Interrupt) // it may have ended by itself
	_ = s.cmd.Wait()                       // an interrupted process reports just that
	return s.log.Close()
}

// startTimes measures the time from starting Stoa on an empty data directory to its being ready, in milliseconds.
func startTimes(o options, scratch string) ([]float64, error) {
	var times []float64
	for i := range o.starts {
		data := filepath.Join(scratch, fmt.Sprintf("empty-%d", i))
		start := time.Now()
		s, err := spawn(data+".log", o.stoa, "up", o.workload, "--listen", "127.0.0.1:0", "--data", data)
		if err != nil {
			return nil, err
		}
		err = awaitReady(s.url)
		times = append(times, float64(time.Since(start).Microseconds())/1e3)
		if err := errors.Join(err, s.stop()); err != nil {
			return nil, err
		}
	}
	return times, nil
}

// awaitReady asks until the server is ready, for ten seconds at most.
func awaitReady(url string) error {
	deadline := time.Now().Add(10 * time.Second)
	for {
		r, err := http.Get(url + "/readyz")
		if err == nil {
			if err := r.Body.Close(); err != nil {
				return err
			}
			if r.StatusCode == http.StatusOK {
				return nil
			}
			err = errors.New(r.Status)
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is not ready: %w", url, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// startBoth starts the proxy and, unless a URL is given, Stoa with a model. Stop ends what was started, even after an
// error.
func startBoth(o options, scratch string) (house, proxy endpoint, stop func() error, err error) {
	var started []*server
	stop = func() error {
		var errs []error
		for i := len(started) - 1; i >= 0; i-- {
			errs = append(errs, started[i].stop())
		}
		return errors.Join(errs...)
	}
	self, err := os.Executable()
	if err != nil {
		return house, proxy, stop, err
	}
	upstream := ""
	for _, role := range []string{"empty", "proxy"} {
		s, err := spawn(filepath.Join(scratch, role+".log"), self, "--role", role, "--upstream", upstream)
		if err != nil {
			return house, proxy, stop, err
		}
		started = append(started, s)
		upstream = s.url
		proxy = endpoint{name: "reverse proxy", url: s.url + "/", key: "none", body: o.body, pid: s.cmd.Process.Pid}
	}
	house = endpoint{name: "stoa", key: o.key, body: o.body, pid: o.pid}
	if o.url == "" {
		s, key, err := startStoa(o, scratch)
		if s != nil {
			started = append(started, s)
		}
		if err != nil {
			return house, proxy, stop, err
		}
		o.url, house.key, house.pid = s.url, key, s.cmd.Process.Pid
	}
	house.url = o.url + "/v2/models/" + url.PathEscape(o.model) + "/infer"
	return house, proxy, stop, nil
}

// startStoa trains a model of 100 trees, starts Stoa and puts the model into service.
func startStoa(o options, scratch string) (*server, string, error) {
	model, data := filepath.Join(scratch, "model.onnx"), filepath.Join(scratch, "data")
	err := command(o.stoa, "train", o.data, "--target", "target", "--rounds", "100", "--out", model, "--quiet")
	if err != nil {
		return nil, "", err
	}
	s, err := spawn(filepath.Join(scratch, "stoa.log"), o.stoa,
		"up", o.workload, "--listen", "127.0.0.1:0", "--data", data)
	if err != nil {
		return nil, "", err
	}
	if err := awaitReady(s.url); err != nil {
		return s, "", err
	}
	key, err := os.ReadFile(filepath.Join(data, "owner.key"))
	if err != nil {
		return s, "", err
	}
	err = command(o.stoa, "models", "register", o.model, model, "--promote", "--why", "benchmark",
		"--url", s.url, "--data", data)
	return s, strings.TrimSpace(string(key)), err
}

// command runs a program to its end.
func command(program string, args ...string) error {
	out, err := exec.Command(program, args...).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s %s: %w\n%s", program, strings.Join(args, " "), err, out)
	}
	return nil
}
