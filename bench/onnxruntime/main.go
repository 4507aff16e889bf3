// Command onnxruntime measures Stoa's runtime against ONNX Runtime's C API: the same model, the same rows, one thread
// each, in turns within one process, in processor time, which other processes on the machine disturb least. What the
// garbage collector does on other threads counts for Stoa. run.sh fetches the library and calls it.
package main

/*
#cgo LDFLAGS: -ldl
#include <stdlib.h>
#include "harness.h"
*/
import "C"

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"log"
	"math"
	"math/rand/v2"
	"os"
	goruntime "runtime"
	"slices"
	"time"
	"unsafe"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/performance/runtime"
)

const (
	columns = 30
	classes = 2
	pool    = 64 // different inputs, taken in turn, so that no branch predictor learns them by heart
)

// A result is the comparison at one batch size, in rows per second of processor time.
type result struct {
	Rows       int     `json:"rows"`
	Stoa       float64 `json:"stoa_rows_per_second"`
	ONNX       float64 `json:"onnxruntime_rows_per_second"`
	Ratio      float64 `json:"ratio"` // median of the ratios of neighbouring turns
	LowRatio   float64 `json:"ratio_p10"`
	HighRatio  float64 `json:"ratio_p90"`
	Difference float64 `json:"greatest_difference"`
}

// A report is what is written to the file.
type report struct {
	Time        time.Time `json:"time"`
	Go          string    `json:"go"`
	ONNXRuntime string    `json:"onnxruntime"`
	Model       string    `json:"model"`
	Turns       int       `json:"turns"`
	Results     []result  `json:"results"`
}

func main() {
	library := flag.String("library", "", "path of libonnxruntime.so")
	model := flag.String("model", "", "path of the model")
	out := flag.String("out", "", "path of the JSON results")
	turns := flag.Int("turns", 31, "turns of each side at each batch size")
	flag.Parse()
	if err := run(*library, *model, *out, *turns); err != nil {
		log.Fatal(err)
	}
}

func run(library, model, out string, turns int) error {
	goruntime.GOMAXPROCS(1)
	goruntime.LockOSThread()
	artifact, err := os.ReadFile(model)
	if err != nil {
		return err
	}
	m, err := runtime.Load(artifact)
	if err != nil {
		return err
	}
	r := report{
		Time: time.Now().UTC(), Go: goruntime.Version(), Turns: turns,
		Model: "XGBoost classifier, 100 trees of depth 6, 30 features",
	}
	fmt.Printf("%6s  %16s  %16s  %6s  %s\n", "rows", "stoa rows/s", "onnxruntime", "ratio", "p10–p90")
	for _, rows := range []int{1, 8, 64, 1000} {
		p, err := open(library, artifact, m, rows)
		if err != nil {
			return err
		}
		res, err := p.measure(turns)
		if err != nil {
			return err
		}
		r.ONNXRuntime = C.GoString(C.harness_version(p.peer))
		r.Results = append(r.Results, res)
		fmt.Printf("%6d  %16.0f  %16.0f  %5.2fx  %.2f–%.2f\n",
			rows, res.Stoa, res.ONNX, res.Ratio, res.LowRatio, res.HighRatio)
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(out, append(text, '\n'), 0o644)
}

// A pairing is both runtimes with the same inputs.
type pairing struct {
	model   *runtime.Model
	inputs  [pool][]stoa.Tensor
	rows    int
	next    int
	peer    *C.harness
	message [512]C.char
}

func open(library string, artifact []byte, m *runtime.Model, rows int) (*pairing, error) {
	p := &pairing{model: m, rows: rows}
	path := C.CString(library)
	defer C.free(unsafe.Pointer(path))
	p.peer = C.harness_open(path, unsafe.Pointer(&artifact[0]), C.size_t(len(artifact)), &p.message[0], 512)
	if p.peer == nil {
		return nil, errors.New(C.GoString(&p.message[0]))
	}
	n := rows * columns
	data := (*C.float)(C.malloc(C.size_t(pool * n * 4))) // owned by the harness for the life of the process
	shared := unsafe.Slice((*float32)(unsafe.Pointer(data)), pool*n)
	rng := rand.New(rand.NewPCG(1, 2))
	for i := range shared {
		shared[i] = float32(rng.NormFloat64())
	}
	for i := range p.inputs {
		p.inputs[i] = []stoa.Tensor{{
			Name: m.Inputs()[0].Name, Datatype: stoa.FP32, Shape: []int64{int64(rows), columns},
			Data: slices.Clone(shared[i*n : (i+1)*n]),
		}}
	}
	names := []*C.char{C.CString(m.Inputs()[0].Name), C.CString(m.Outputs()[0].Name), C.CString(m.Outputs()[1].Name)}
	if C.harness_bind(p.peer, names[0], names[1], names[2], data, pool, C.int64_t(rows), columns, classes,
		&p.message[0], 512) != 0 {
		return nil, errors.New(C.GoString(&p.message[0]))
	}
	return p, nil
}

// ours runs Stoa times times and returns the time it took and the last scores.
func (p *pairing) ours(times int) (time.Duration, []float32, error) {
	var last []stoa.Tensor
	start := C.harness_clock()
	for range times {
		out, err := p.model.Run(p.inputs[p.next], nil)
		if err != nil {
			return 0, nil, err
		}
		last = out
		if p.next++; p.next == pool {
			p.next = 0
		}
	}
	return time.Duration(C.harness_clock() - start), last[1].Data.([]float32), nil
}

// theirs runs ONNX Runtime times times.
func (p *pairing) theirs(times int) (time.Duration, []float32, error) {
	ns := C.harness_run(p.peer, C.int64_t(times), &p.message[0], 512)
	if ns < 0 {
		return 0, nil, errors.New(C.GoString(&p.message[0]))
	}
	scores := unsafe.Slice((*float32)(unsafe.Pointer(C.harness_scores(p.peer))), p.rows*classes)
	return time.Duration(ns), scores, nil
}

// measure lets both run in turns of about 20 ms and takes medians.
func (p *pairing) measure(turns int) (result, error) {
	times := max(1, 20000/p.rows)
	var stoaRates, onnxRates, ratios []float64
	res := result{Rows: p.rows}
	for turn := range turns + 3 {
		mine, a, err := p.ours(times)
		if err != nil {
			return res, err
		}
		other, b, err := p.theirs(times)
		if err != nil {
			return res, err
		}
		for i := range a {
			res.Difference = max(res.Difference, math.Abs(float64(a[i]-b[i])))
		}
		if turn < 3 {
			continue // warming up
		}
		n := float64(times * p.rows)
		stoaRates = append(stoaRates, n/mine.Seconds())
		onnxRates = append(onnxRates, n/other.Seconds())
		ratios = append(ratios, other.Seconds()/mine.Seconds())
	}
	if res.Difference > 2e-5 {
		return res, fmt.Errorf("the answers differ by %g", res.Difference)
	}
	res.Stoa, res.ONNX, res.Ratio = quantile(stoaRates, 0.5), quantile(onnxRates, 0.5), quantile(ratios, 0.5)
	res.LowRatio, res.HighRatio = quantile(ratios, 0.1), quantile(ratios, 0.9)
	return res, nil
}

// quantile returns the q-quantile of x, which it sorts.
func quantile(x []float64, q float64) float64 {
	slices.Sort(x)
	return x[int(q*float64(len(x)-1)+0.5)]
}
