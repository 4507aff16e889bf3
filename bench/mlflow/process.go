package main

import (
	_ "embed" // seed.py
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

//go:embed seed.py
var seedProgram string

// patience is how long a server may take to start.
const patience = 2 * time.Minute

// A server is one of the two under measurement, with all its processes in one group.
type server struct {
	url, key string
	ready    time.Duration // from its start to the first 200 of /health
	cmd      *exec.Cmd
	log      *os.File
	seed     func(experiment string, runs io.Reader) error // puts runs into its database; nil when there is no need to
	ended    chan struct{}                                 // closed when the first process has ended
}

func (s *server) hasEnded() bool {
	select {
	case <-s.ended:
		return true
	default:
		return false
	}
}

// startStoa starts Stoa on an empty data directory with the workload that stoa init writes.
func startStoa(o options, dir string) (*server, error) {
	workload, data := filepath.Join(dir, "workload"), filepath.Join(dir, "data")
	if out, err := exec.Command(o.stoa, "init", workload).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("stoa init: %w: %s", err, out)
	}
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	s, err := spawn(filepath.Join(dir, "log"), address, o.stoa, "up", workload, "--listen", address, "--data", data)
	if err != nil {
		return nil, err
	}
	key, err := os.ReadFile(filepath.Join(data, "owner.key"))
	if err != nil {
		return nil, errors.Join(err, s.stop())
	}
	s.key = strings.TrimSpace(string(key))
	return s, nil
}

// startMLflow starts mlflow server on an empty SQLite database, with artifacts through its proxy.
func startMLflow(o options, dir string) (*server, error) {
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, err
	}
	database := filepath.Join(dir, "mlflow.db")
	s, err := spawn(filepath.Join(dir, "log"), address, o.mlflow, "server", "--host", host, "--port", port,
		"--backend-store-uri", "sqlite:///"+database, "--artifacts-destination", filepath.Join(dir, "artifacts"))
	if err != nil {
		return nil, err
	}
	s.seed = func(experiment string, runs io.Reader) error {
		cmd := exec.Command(o.python, "-c", seedProgram, database, experiment)
		cmd.Stdin = runs
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("seeding the database of mlflow server: %w: %s", err, out)
		}
		return nil
	}
	return s, nil
}

// freeAddress is an address that nothing listens on.
func freeAddress() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// spawn starts a server and waits until it is ready.
func spawn(logFile, address, program string, args ...string) (*server, error) {
	log, err := os.Create(logFile)
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.Env = append(os.Environ(), "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true")
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	start := time.Now()
	if err := cmd.Start(); err != nil {
		return nil, errors.Join(err, log.Close())
	}
	s := &server{url: "http://" + address, cmd: cmd, log: log, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // a terminated process reports just that
		close(s.ended)
	}()
	for {
		r, err := http.Get(s.url + "/health")
		if err == nil {
			err = r.Body.Close()
			if r.StatusCode == http.StatusOK {
				s.ready = time.Since(start)
				return s, err
			}
			err = errors.New(r.Status)
		}
		if s.hasEnded() || time.Since(start) > patience {
			said, _ := os.ReadFile(logFile)
			return nil, errors.Join(fmt.Errorf("%s is not ready: %w\n%s", program, err, said), s.stop())
		}
		time.Sleep(time.Millisecond)
	}
}

// stop ends the processes of the server and waits for the first.
func (s *server) stop() error {
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGTERM) // they may have ended by themselves
	timer := time.AfterFunc(20*time.Second, func() { _ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL) })
	<-s.ended
	timer.Stop()
	_ = syscall.Kill(-s.cmd.Process.Pid, syscall.SIGKILL)
	return s.log.Close()
}

// memory is the resident memory of the server's process group, in MB of 10^6 bytes.
func (s *server) memory() (float64, error) {
	all, err := filepath.Glob("/proc/[0-9]*")
	if err != nil {
		return 0, err
	}
	var pages int64
	for _, dir := range all {
		stat, err := os.ReadFile(dir + "/stat")
		if err != nil {
			continue // it has ended meanwhile
		}
		// The name in brackets may hold spaces; behind it are the state, the parent and the group, and as field 21 the pages.
		fields := strings.Fields(string(stat[strings.LastIndexByte(string(stat), ')')+1:]))
		if len(fields) < 22 || fields[2] != strconv.Itoa(s.cmd.Process.Pid) {
			continue
		}
		n, err := strconv.ParseInt(fields[21], 10, 64)
		if err != nil {
			return 0, err
		}
		pages += n
	}
	if pages == 0 {
		return 0, errors.New("the server has ended")
	}
	return float64(pages*int64(os.Getpagesize())) / 1e6, nil
}

// watch samples the memory until the function it returns is called, which gives the most there was.
func (s *server) watch() func() (float64, error) {
	var most float64
	var failed error
	done := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for {
			now, err := s.memory()
			most, failed = max(most, now), errors.Join(failed, err)
			select {
			case <-done:
				return
			case <-tick.C:
				if failed != nil {
					return
				}
			}
		}
	})
	return func() (float64, error) {
		close(done)
		wg.Wait()
		return most, failed
	}
}

// loadAverage is how many processes wanted to run in the last minute.
func loadAverage() float64 {
	text, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return 0
	}
	first, _, _ := strings.Cut(string(text), " ")
	load, err := strconv.ParseFloat(first, 64)
	if err != nil {
		return 0
	}
	return load
}
