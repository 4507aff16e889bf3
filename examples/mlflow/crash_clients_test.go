package mlflow_test

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strings"
)

// Each batch of a writer has values of every metric, and params and tags of its own.
const (
	batchMetrics = 4
	batchSteps   = 40
	batchParams  = 15
)

// A writer logs batches to a run, which it shares with others. Its keys begin with its name.
type writer struct {
	run, name string
	acked     int  // batches, from 0
	pending   bool // the batch after those was sent, and nothing was heard of it
}

type metric struct {
	Key       string  `json:"key"`
	Value     float64 `json:"value"`
	Timestamp int64   `json:"timestamp"`
	Step      int64   `json:"step"`
}

type setting struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

type batch struct {
	RunID   string    `json:"run_id"`
	Metrics []metric  `json:"metrics"`
	Params  []setting `json:"params"`
	Tags    []setting `json:"tags"`
}

// batch is the n-th batch.
func (w *writer) batch(n int) batch {
	b := batch{RunID: w.run}
	for step := n * batchSteps; step < (n+1)*batchSteps; step++ {
		for key := range batchMetrics {
			b.Metrics = append(b.Metrics, metric{
				Key: w.metric(key), Value: float64(step) + float64(key)/8, Timestamp: int64(1000 + step), Step: int64(step),
			})
		}
	}
	for i := range batchParams {
		key := fmt.Sprintf("%s.%d.%d", w.name, n, i)
		b.Params = append(b.Params, setting{key, "param " + key})
		b.Tags = append(b.Tags, setting{key, "tag " + key})
	}
	return b
}

func (w *writer) metric(i int) string { return fmt.Sprintf("%s.metric%d", w.name, i) }

// things are what a batch is made of, each as a text.
func (b batch) things() []string {
	var list []string
	for _, m := range b.Metrics {
		list = append(list, fmt.Sprintf("metric %+v", m))
	}
	for _, p := range b.Params {
		list = append(list, fmt.Sprintf("param %+v", p))
	}
	for _, tag := range b.Tags {
		list = append(list, fmt.Sprintf("tag %+v", tag))
	}
	return list
}

func (w *writer) log(p *process, n int) error {
	_, err := p.do("batch", "POST", "/api/2.0/mlflow/runs/log-batch", w.batch(n), nil)
	return err
}

// step logs the next batch.
func (w *writer) step(p *process) (string, error) {
	w.pending = true
	if err := w.log(p, w.acked); err != nil {
		return "batch", err
	}
	w.acked, w.pending = w.acked+1, false
	return "batch", nil
}

// examine looks for every batch, sends again the one that was not acknowledged and one that was, and looks again.
func (w *writer) examine(d *crashes) error {
	there, err := w.look(d.p)
	if err != nil {
		return err
	}
	again := []int{d.r.IntN(w.acked + 1)}
	if w.pending {
		again = append(again, w.acked)
		if there > w.acked {
			d.left["batch whole"]++
		} else {
			d.left["batch absent"]++
		}
	}
	for _, n := range again {
		if n == w.acked && !w.pending {
			continue
		}
		if err := w.log(d.p, n); err != nil {
			return err
		}
		if n == w.acked {
			w.acked, w.pending = w.acked+1, false
		}
	}
	_, err = w.look(d.p)
	return err
}

// look fails when not exactly the acknowledged batches, and the pending one whole or not at all, are there. It returns
// how many there are.
func (w *writer) look(p *process) (batches int, err error) {
	found, err := w.found(p)
	if err != nil {
		return 0, err
	}
	counted := 0
	for n := 0; n < w.acked || n == w.acked && w.pending; n++ {
		things := w.batch(n).things()
		there := 0
		for _, thing := range things {
			if found[thing] == 1 {
				there++
			}
		}
		switch {
		case there == len(things):
			batches++
		case there > 0:
			return 0, fmt.Errorf("run %s has %d of the %d parts of batch %d of %s", w.run, there, len(things), n, w.name)
		case n < w.acked:
			return 0, fmt.Errorf("run %s has lost batch %d of %s", w.run, n, w.name)
		}
		counted += there
	}
	for key := range batchMetrics {
		if batches == 0 {
			break
		}
		last := w.batch(batches - 1).Metrics[(batchSteps-1)*batchMetrics+key]
		if found[fmt.Sprintf("latest %+v", last)] != 1 {
			return 0, fmt.Errorf("run %s has not %+v as its latest value", w.run, last)
		}
		counted++
	}
	total := 0
	for _, times := range found {
		total += times
	}
	if total != counted {
		return 0, fmt.Errorf("run %s has %d things of %s, of which %d were logged", w.run, total, w.name, counted)
	}
	return batches, nil
}

// found is what the server has of this writer, and how often.
func (w *writer) found(p *process) (map[string]int, error) {
	var got struct {
		Run struct {
			Data struct {
				Metrics      []metric
				Params, Tags []setting
			}
		}
	}
	if _, err := p.do("look", "GET", "/api/2.0/mlflow/runs/get?run_id="+w.run, nil, &got); err != nil {
		return nil, err
	}
	found := map[string]int{}
	add := func(what, key string, thing any) {
		if strings.HasPrefix(key, w.name+".") {
			found[fmt.Sprintf("%s %+v", what, thing)]++
		}
	}
	for _, m := range got.Run.Data.Metrics {
		add("latest", m.Key, m)
	}
	for _, s := range got.Run.Data.Params {
		add("param", s.Key, s)
	}
	for _, s := range got.Run.Data.Tags {
		add("tag", s.Key, s)
	}
	for key := range batchMetrics {
		var history struct{ Metrics []metric }
		at := "/api/2.0/mlflow/metrics/get-history?" + url.Values{"run_id": {w.run}, "metric_key": {w.metric(key)}}.Encode()
		if _, err := p.do("look", "GET", at, nil, &history); err != nil {
			return nil, err
		}
		for _, m := range history.Metrics {
			add("metric", m.Key, m)
		}
	}
	return found, nil
}

const (
	artifactsAt = "/api/2.0/mlflow-artifacts/artifacts"
	joinsAt     = "/api/2.0/mlflow-artifacts/mpu/"
	shelfNames  = 3 // so that a file replaces an earlier one
	fileParts   = 3
	partSize    = 256 << 10 // bytes, at most
)

// A shelf is a directory of artifacts that one client fills, with files sent whole or in parts.
type shelf struct {
	directory string
	seed      uint64
	inParts   bool
	next      int               // the number of the next file
	acked     int               // files
	have      map[string]string // name to digest, as acknowledged
	pending   *sending
}

// A sending is a file on its way.
type sending struct {
	name    string
	content [][]byte
	upload  string // of one in parts, once the server has given it
	parts   []string
	tags    []tagged // of the parts that the server has acknowledged
}

type tagged struct {
	Number int    `json:"part_number"`
	Tag    string `json:"etag"`
}

func (s *sending) digest() string { return digestOf(slices.Concat(s.content...)) }

func digestOf(content []byte) string { return fmt.Sprintf("%x", sha256.Sum256(content)) }

// step sends the next file.
func (s *shelf) step(p *process) (string, error) {
	r := rand.NewChaCha8([32]byte{byte(s.seed), byte(s.seed >> 8), byte(s.next)})
	s.pending = &sending{name: fmt.Sprintf("f%d", s.next%shelfNames)}
	for range fileParts {
		part := make([]byte, r.Uint64()%partSize)
		_, _ = r.Read(part) // never fails
		s.pending.content = append(s.pending.content, part)
	}
	s.next++
	_, what, err := s.send(p)
	if err == nil {
		s.settle(s.pending.digest())
	}
	return what, err
}

// settle notes what is known to be at the name of the file that was on its way.
func (s *shelf) settle(digest string) {
	if digest != "" {
		s.have[s.pending.name] = digest
	}
	if digest == s.pending.digest() {
		s.acked++
	}
	s.pending = nil
}

// send sends what of the file has not been sent yet. It returns the last answer, and what it was to.
func (s *shelf) send(p *process) (a answer, what string, err error) {
	file := s.pending
	if !s.inParts {
		a, err = p.do("file", "PUT", artifactsAt+"/"+s.directory+"/"+file.name, slices.Concat(file.content...), nil)
		return a, "file", err
	}
	if file.upload == "" {
		var created struct {
			UploadID    string `json:"upload_id"`
			Credentials []struct{ URL string }
		}
		in := map[string]any{"path": file.name, "num_parts": len(file.content)}
		if a, err = p.do("create", "POST", joinsAt+"create/"+s.directory, in, &created); err != nil {
			return a, "create", err
		}
		for _, c := range created.Credentials {
			at, err := url.Parse(c.URL) // the port is another one after a restart
			if err != nil {
				return a, "create", err
			}
			file.parts = append(file.parts, at.Path)
		}
		file.upload = created.UploadID
	}
	for i := len(file.tags); i < len(file.content); i++ {
		if a, err = p.do("part", "PUT", file.parts[i], file.content[i], nil); err != nil {
			return a, "part", err
		}
		file.tags = append(file.tags, tagged{i + 1, a.etag})
	}
	in := map[string]any{"path": file.name, "upload_id": file.upload, "parts": file.tags}
	a, err = p.do("join", "POST", joinsAt+"complete/"+s.directory, in, nil)
	return a, "join", err
}

// examine looks at every file, goes on with the one that was not acknowledged or gives it up, and looks again.
func (s *shelf) examine(d *crashes) error {
	there, err := s.look(d.p)
	if err != nil || s.pending == nil {
		return err
	}
	file, digest := s.pending, there[s.pending.name]
	whole := digest == file.digest()
	if whole {
		d.left["file whole"]++
	} else {
		d.left["file absent"]++
	}
	switch {
	case s.inParts && file.upload != "" && d.r.IntN(2) == 0:
		in := map[string]any{"path": file.name, "upload_id": file.upload}
		a, err := d.p.do("abort", "POST", joinsAt+"abort/"+s.directory, in, nil)
		if err != nil && !(whole && a.status == http.StatusNotFound) {
			return err
		}
		d.left["upload given up"]++
	default:
		a, _, err := s.send(d.p)
		if err != nil && !(whole && s.inParts && a.status == http.StatusNotFound) {
			return err
		}
		digest = file.digest()
	}
	s.settle(digest)
	_, err = s.look(d.p)
	return err
}

// look reads every file, and fails when one is not what was acknowledged, or the one on its way in its place, or when
// the directory lists anything else. It returns the digests.
func (s *shelf) look(p *process) (map[string]string, error) {
	there, sizes := map[string]string{}, map[string]int64{}
	for n := range shelfNames {
		name := fmt.Sprintf("f%d", n)
		a, err := p.send(message{"look", "GET", artifactsAt + "/" + s.directory + "/" + name, nil})
		switch {
		case err != nil:
			return nil, err
		case a.status == http.StatusOK:
			there[name], sizes[name] = digestOf(a.body), int64(len(a.body))
		case a.status != http.StatusNotFound:
			return nil, fmt.Errorf("%s/%s: %d %.300s", s.directory, name, a.status, a.body)
		}
		replaced := s.pending != nil && s.pending.name == name && s.pending.digest() == there[name]
		if there[name] != s.have[name] && !replaced {
			return nil, fmt.Errorf("%s/%s has %d bytes with digest %q, want %q", s.directory, name, len(a.body),
				there[name], s.have[name])
		}
	}
	var listed struct {
		Files []struct {
			Path string      `json:"path"`
			Size json.Number `json:"file_size"`
		} `json:"files"`
	}
	if _, err := p.do("look", "GET", artifactsAt+"?path="+url.QueryEscape(s.directory), nil, &listed); err != nil {
		return nil, err
	}
	listing := map[string]int64{}
	for _, f := range listed.Files {
		size, err := f.Size.Int64()
		if err != nil {
			return nil, err
		}
		listing[path.Base(f.Path)] = size
	}
	if !maps.Equal(listing, sizes) {
		return nil, fmt.Errorf("%s lists %v and has %v", s.directory, listing, sizes)
	}
	return there, nil
}
