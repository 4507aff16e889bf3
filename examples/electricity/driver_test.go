package electricity_test

import (
	"bytes"
	"compress/gzip"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"mime/multipart"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/stoaproject/stoa/examples/electricity"
)

const (
	model     = "price-direction"
	other     = "weekly" // takes registrations while the first one serves
	chunkSize = 12       // half-hours between two looks at the lifecycle
)

// A row is one half-hour of the market.
type row struct{ features, class string }

func (r row) line() string { return r.features + "," + r.class + "\n" }

func readMarket(t *testing.T) []row {
	t.Helper()
	zr, err := gzip.NewReader(bytes.NewReader(electricity.Market))
	if err != nil {
		t.Fatal(err)
	}
	records, err := csv.NewReader(zr).ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	rows := make([]row, 0, len(records))
	for _, rec := range records[1:] {
		class := "DOWN"
		if rec[6] == "1" {
			class = "UP"
		}
		rows = append(rows, row{strings.Join(rec[:6], ","), class})
	}
	return rows
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// A lifecycle is where a model stands, as the server tells it.
type lifecycle struct {
	Champion   int
	Previous   int
	Challenger int
	Settled    bool
	Judgements int64
	Retraining int64
	Rollout    *struct {
		Entry int64
		Phase string
	}
	Counts struct{ Alarms, Retrainings, Failed, Blocked, Promotions, Withdrawn, RolledBack int }
}

func (l lifecycle) phase() string {
	if l.Rollout == nil {
		return ""
	}
	return l.Rollout.Phase
}

// A version is one version of a model.
type version struct {
	Number int    `json:"version"`
	Digest string `json:"digest"`
}

// A label is what the server is told about a prediction.
type label struct {
	ID    string `json:"id"`
	Label string `json:"label"`
}

// A driver plays the market through a server that dies, and remembers what the server has acknowledged.
type driver struct {
	t        *testing.T
	p        *process
	market   []row
	next     int    // row to predict next
	labelled int    // row to label next
	artifact []byte // of version 1

	born        int // first row predicted in this life of the server
	last        lifecycle
	acked       []label                   // labels that the server has
	sameLife    int                       // of these, to the process that had made the prediction
	versions    map[string]map[int]string // digests that the server has acknowledged, by model and version
	latest      int                       // where the server acknowledged that alias latest of other points
	states      map[int64]string          // of ledger entries, as last seen
	kills       map[string]int
	found       map[string]int // what a restart found under way
	predictions int
	made        int // artifacts made so far

	watch func(before, now lifecycle) // looks for the moment to kill; nil when there is none

	mu   sync.Mutex // guards fuse
	fuse int        // requests until the kill; negative when it does not burn
}

func newDriver(t *testing.T, p *process, market []row, first int) *driver {
	return &driver{
		t: t, p: p, market: market, next: first, labelled: first, fuse: -1,
		versions: map[string]map[int]string{model: {}, other: {}},
		states:   map[int64]string{}, kills: map[string]int{}, found: map[string]int{},
	}
}

// start starts the server for its next life.
func (d *driver) start() {
	d.t.Helper()
	d.p.start()
	d.born = d.next
}

// play drives the server until it is dead: a few requests after the moment given, or when that does not come.
func (d *driver) play(r *rand.Rand, when moment) {
	d.t.Helper()
	d.watch = func(before, now lifecycle) {
		if d.lit() || d.p.gone() || !when.reached(before, now) {
			return
		}
		d.kills[when.name]++
		if after := r.IntN(when.later + 1); after > 0 {
			d.light(after)
			return
		}
		d.p.kill()
	}
	for chunk := 0; ; chunk++ {
		if chunk == patience && !d.lit() {
			d.light(0)
		}
		if d.last.Rollout == nil && d.last.Retraining == 0 && r.IntN(3) == 0 {
			err := d.send(http.MethodPost, "/v1/models/"+model+"/retrain", map[string]string{"why": "the market moves"}, nil)
			var refused *refusal
			if err != nil && (!errors.As(err, &refused) || refused.Reason != "conflict") && d.ended(err) {
				break
			}
		}
		if d.ended(d.chunk()) {
			break
		}
	}
	d.p.kill()
	d.fuse, d.watch = -1, nil
}

// ended reports whether the server has been killed; any other error fails the test.
func (d *driver) ended(err error) bool {
	d.t.Helper()
	if err != nil && !errors.Is(err, errGone) {
		d.t.Fatal(err)
	}
	return err != nil
}

// light sets the fuse: the server is killed after so many more requests, while others are in flight.
func (d *driver) light(requests int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.fuse = requests
}

// lit reports whether the fuse burns.
func (d *driver) lit() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.fuse >= 0
}

// send is one request. It may be the one that the server dies by: the kill comes while it is on its way.
func (d *driver) send(method, path string, in, out any) error {
	d.mu.Lock()
	dies := d.fuse == 0
	if d.fuse >= 0 {
		d.fuse--
	}
	d.mu.Unlock()
	if dies {
		go d.p.kill()
	}
	return d.p.call(method, path, in, out)
}

// must is a request that has to succeed.
func (d *driver) must(method, path string, in, out any) {
	d.t.Helper()
	if err := d.p.call(method, path, in, out); err != nil {
		d.t.Fatal(err)
	}
}

// chunk predicts the next half-hours while it registers a version of the other model, labels those before, and looks at
// the lifecycle.
func (d *driver) chunk() error {
	from := d.next
	d.next += chunkSize
	errs := make([]error, 3)
	var wg sync.WaitGroup
	for c := range 2 {
		wg.Go(func() {
			for i := from + c; i < from+chunkSize && errs[c] == nil; i += 2 {
				errs[c] = d.predict(i)
			}
		})
	}
	wg.Go(func() { errs[2] = d.register() })
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.predictions += chunkSize
	if err := d.label(from); err != nil {
		return err
	}
	// A rollout is watched until it has taken the labels in, so that a kill can meet each step of what it decides.
	for n := 0; n <= from/chunkSize%8 || n < 100 && d.last.Rollout != nil && !d.last.Settled; n++ {
		if err := d.look(); err != nil {
			return err
		}
	}
	return nil
}

func input(features string) []map[string]any {
	return []map[string]any{{"name": "input", "datatype": "FP32", "shape": []int{1, 6}, "data": json.RawMessage("[" + features + "]")}}
}

func id(i int) string { return fmt.Sprintf("half-hour-%d", i) }

func (d *driver) predict(i int) error {
	return d.send(http.MethodPost, "/v2/models/"+model+"/infer", map[string]any{"id": id(i), "inputs": input(d.market[i].features)}, nil)
}

// label tells the truth about every half-hour before row to that has none yet, and remembers what the server has joined.
// A prediction that a kill took away is unknown, which is no fault: the server had not written it yet.
func (d *driver) label(to int) error {
	if d.labelled == to {
		return nil
	}
	var labels []label
	for i := d.labelled; i < to; i++ {
		labels = append(labels, label{id(i), d.market[i].class})
	}
	refused, err := d.post(labels, d.send)
	if err != nil {
		return err
	}
	for i, l := range labels {
		predictedHere := d.labelled+i >= d.born
		switch reason := refused[l.ID]; {
		case reason == "", reason == "duplicate_label":
			d.acked = append(d.acked, l)
			if predictedHere {
				d.sameLife++
			}
		case reason != "unknown_label":
			d.t.Errorf("label of %s is refused with %s", l.ID, reason)
		case predictedHere:
			d.t.Errorf("the process that made prediction %s does not know it", l.ID)
		}
	}
	for i := d.labelled; i < to; i++ {
		if err := d.feed(d.market[i]); err != nil {
			return err
		}
	}
	d.labelled = to
	return nil
}

// post sends labels and returns the reasons of those that were refused.
func (d *driver) post(labels []label, send func(method, path string, in, out any) error) (map[string]string, error) {
	var report struct {
		Joined  int
		Refused []struct{ ID, Reason string }
	}
	if err := send(http.MethodPost, "/v1/labels", map[string]any{"model": model, "labels": labels}, &report); err != nil {
		return nil, err
	}
	refused := map[string]string{}
	for _, r := range report.Refused {
		refused[r.ID] = r.Reason
	}
	if report.Joined+len(refused) != len(labels) {
		d.t.Errorf("of %d labels %d joined and %d were refused", len(labels), report.Joined, len(refused))
	}
	return refused, nil
}

func (d *driver) feed(r row) error {
	f, err := os.OpenFile(filepath.Join(d.p.dir, "data", "feed.csv"), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(r.line())
	return errors.Join(err, f.Close())
}

// register makes a version of the other model and points an alias at it. Its artifact is version 1 with a documentation
// string of its own, field 6 of ONNX's ModelProto.
func (d *driver) register() error {
	d.made++
	text := fmt.Sprintf("artifact %d", d.made)
	artifact := append(append(bytes.Clone(d.artifact), 6<<3|2, byte(len(text))), text...)
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("artifact", "model.onnx")
	if err != nil {
		return err
	}
	if _, err := part.Write(artifact); err != nil {
		return err
	}
	if err := form.Close(); err != nil {
		return err
	}
	var v version
	if err := d.p.send(http.MethodPost, "/v1/models/"+other+"/versions", form.FormDataContentType(), body.Bytes(), &v); err != nil {
		return err
	}
	d.versions[other][v.Number] = v.Digest
	if err := d.send(http.MethodPut, "/v1/models/"+other+"/aliases/latest", map[string]int{"version": v.Number}, nil); err != nil {
		return err
	}
	d.latest = v.Number
	return nil
}

// look reads the lifecycle.
func (d *driver) look() error {
	var now lifecycle
	if err := d.send(http.MethodGet, "/v1/models/"+model+"/lifecycle", nil, &now); err != nil {
		return err
	}
	before := d.last
	d.last = now
	if d.watch != nil {
		d.watch(before, now)
	}
	return nil
}
