package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"sync"
	"time"
)

// An endpoint is what gets the load, and the process whose CPU time it costs.
type endpoint struct {
	name, url, key string
	body           string
	pid            int
}

// load sends n requests over a number of connections and returns how long each took. Any status but 200 is an error,
// and so is an answer that came from a fallback: it would not be the work that is to be measured.
func load(e endpoint, conns, n int) ([]time.Duration, error) {
	u, err := url.Parse(e.url)
	if err != nil {
		return nil, err
	}
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nAuthorization: Bearer %s\r\n"+
		"Content-Length: %d\r\n\r\n", u.Path, u.Host, e.key, len(e.body))
	request := []byte(head + e.body)

	latencies := make([]time.Duration, n)
	errs := make([]error, conns)
	var wg sync.WaitGroup
	for i := range conns {
		wg.Go(func() { errs[i] = client(u.Host, request, latencies[i*n/conns:(i+1)*n/conns]) })
	}
	wg.Wait()
	return latencies, errors.Join(errs...)
}

// client sends a request again and again over one connection and fills in how long each took.
func client(addr string, request []byte, latencies []time.Duration) (err error) {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	r := bufio.NewReaderSize(conn, 16<<10)
	for i := range latencies {
		start := time.Now()
		if _, err := conn.Write(request); err != nil {
			return err
		}
		if err := receive(r); err != nil {
			return err
		}
		latencies[i] = time.Since(start)
	}
	return nil
}

// receive reads one response. It looks at nothing but the status and the length, so that the generator leaves the
// processor to those who are measured.
func receive(r *bufio.Reader) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	ok := bytes.HasPrefix(status, []byte("HTTP/1.1 200 "))
	failed := string(status)
	length := -1
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		name, value, _ := bytes.Cut(line, []byte(": "))
		switch string(name) {
		case "Content-Length":
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		case "Stoa-Fallback":
			return fmt.Errorf("a fallback answered: %s", value)
		}
	}
	if length < 0 {
		return fmt.Errorf("a response without a length: %s", failed)
	}
	if !ok {
		body, err := io.ReadAll(io.LimitReader(r, int64(length)))
		return errors.Join(fmt.Errorf("%s: %s", failed, body), err)
	}
	_, err = r.Discard(length)
	return err
}
