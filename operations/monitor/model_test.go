package monitor

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"strconv"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/stoaproject/stoa"
)

// TestMonitorAgainstModel runs random predictions, shadows, flushes and labels, and compares the reports and judgements
// with those of a map.
func TestMonitorAgainstModel(t *testing.T) {
	outer, run := t, 0
	m := newMonitor(t, nil)
	rapid.Check(t, func(t *rapid.T) {
		run++
		prefix, before := fmt.Sprintf("run-%d-", run), m.Stats()
		type row struct {
			id  string
			row int
		}
		champion, shadow := map[row]string{}, map[row]string{}
		truth := map[row]string{}
		judged, next := 0, 0
		ids := []string{}
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1: // predict, sometimes for the shadow too
				id := prefix + strconv.Itoa(next)
				next++
				ids = append(ids, id)
				decided := rapid.SliceOfN(rapid.IntRange(0, 1), 1, 3).Draw(t, "decided")
				predict(m, id, answer(1, stoa.RoleChampion, decided...))
				for i, d := range decided {
					champion[row{id, i}] = classes[d]
				}
			case 2: // the shadow answers, perhaps late
				if len(ids) == 0 {
					continue
				}
				id := rapid.SampledFrom(ids).Draw(t, "shadow")
				if _, ok := shadow[row{id, 0}]; ok {
					continue
				}
				var decided []int
				for i := range 3 {
					if _, ok := champion[row{id, i}]; ok {
						decided = append(decided, rapid.IntRange(0, 1).Draw(t, "decided"))
					}
				}
				m.Shadow(&stoa.Call{ID: id}, answer(2, stoa.RoleShadow, decided...))
				for i, d := range decided {
					shadow[row{id, i}] = classes[d]
					if _, ok := truth[row{id, i}]; ok {
						judged++
					}
				}
			case 3:
				if err := m.Flush(outer.Context()); err != nil {
					t.Fatal(err)
				}
			case 4: // some labels, known and unknown, new and again
				var labels []Label
				want := Report{}
				for range rapid.IntRange(1, 5).Draw(t, "labels") {
					r := row{prefix + strconv.Itoa(rapid.IntRange(0, next).Draw(t, "id")), rapid.IntRange(0, 2).Draw(t, "row")}
					value := rapid.SampledFrom(classes).Draw(t, "value")
					labels = append(labels, label(r.id, r.row, value))
					_, known := champion[r]
					_, again := truth[r]
					switch {
					case again:
						want.Duplicate = append(want.Duplicate, Rejection{})
					case !known:
						want.Unknown = append(want.Unknown, Rejection{})
					default:
						want.Joined++
						truth[r] = value
						judged++
						if _, ok := shadow[r]; ok {
							judged++
						}
					}
				}
				got := mustLabel(outer, m, labels...)
				if got.Joined != want.Joined || len(got.Unknown) != len(want.Unknown) || len(got.Duplicate) != len(want.Duplicate) {
					t.Fatalf("labels %+v: report %+v; want %+v", labels, got, want)
				}
			}
		}
		if err := m.Flush(outer.Context()); err != nil {
			t.Fatal(err)
		}
		all, err := m.Judgements(outer.Context(), before.Judged, 1000)
		if err != nil {
			t.Fatal(err)
		}
		for i, j := range all {
			decided := champion
			if j.Role == stoa.RoleShadow {
				decided = shadow
			}
			r := row{j.ID, j.Row}
			if j.Seq != before.Judged+int64(i+1) || j.Decision != decided[r] || j.Truth != truth[r] {
				t.Fatalf("judgement %+v; want %s and %s", j, decided[r], truth[r])
			}
		}
		if len(all) != judged {
			t.Fatalf("%d judgements; want %d", len(all), judged)
		}
		if w := m.Stats().Waiting - before.Waiting; w != int64(len(champion)+len(shadow)-judged) {
			t.Fatalf("%d rows wait; want %d", w, len(champion)+len(shadow)-judged)
		}
	})
}

// TestConcurrentUse records, labels and reads at the same time. Nothing acknowledged may be lost or joined twice.
func TestConcurrentUse(t *testing.T) {
	m := newMonitor(t, func(c *Config) { c.Every = time.Millisecond })
	const clients, each = 4, 300
	var all sync.WaitGroup
	for client := range clients {
		all.Go(func() {
			for i := range each {
				id := fmt.Sprintf("%d-%d", client, i)
				predict(m, id, answer(1, stoa.RoleChampion, i%2))
				m.Shadow(&stoa.Call{ID: id}, answer(2, stoa.RoleShadow, 1))
				if i%30 != 29 {
					continue
				}
				labels := make([]Label, 30)
				for k := range labels {
					labels[k] = label(fmt.Sprintf("%d-%d", client, i-k), 0, "UP")
				}
				report, err := m.Label(t.Context(), labels, "tester")
				if err != nil || report.Joined != 30 {
					t.Errorf("report %+v, %v; want 30 joined", report, err)
				}
				if _, err := m.Judgements(t.Context(), 0, 10); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := len(judgements(t, m)); n != 2*clients*each || m.Stats().Waiting != 0 {
		t.Errorf("%d judgements, %+v; want %d and nothing waiting", n, m.Stats(), 2*clients*each)
	}
}

func TestRecordingDoesNotAllocate(t *testing.T) {
	m := newMonitor(t, nil)
	for range 3 { // both arenas grow
		for range 2000 {
			predict(m, "0190a7f1-3c2b-7def-8a2b-0123456789ab", answer(1, stoa.RoleChampion, 1))
		}
		m.queue.give(m.queue.take())
	}
	call := &stoa.Call{ID: "0190a7f1-3c2b-7def-8a2b-0123456789ab"}
	outcome := &stoa.Outcome{Answer: answer(1, stoa.RoleChampion, 1)}
	if allocs := testing.AllocsPerRun(1000, func() { m.After(call, outcome) }); allocs > 0 {
		t.Errorf("%g allocations for a prediction", allocs)
	}
}

func TestReadDecisions(t *testing.T) {
	tensor := func(name string, data any, shape ...int64) stoa.Tensor {
		return stoa.Tensor{Name: name, Shape: shape, Data: data}
	}
	nan := float32(0)
	nan /= nan
	for _, c := range []struct {
		name    string
		outputs []stoa.Tensor
		classes []string
		want    []string // nil when there is no decision
	}{
		{"integer label", []stoa.Tensor{tensor("label", []int64{1, 0}, 2)}, nil, []string{"1", "0"}},
		{"text label", []stoa.Tensor{tensor("output_label", []string{"UP", "new"}, 2)}, classes, []string{"UP", "new"}},
		{"label before scores", []stoa.Tensor{
			tensor("probabilities", []float32{0.9, 0.1}, 1, 2), tensor("label", []string{"UP"}, 1)}, classes, []string{"UP"}},
		{"scores", []stoa.Tensor{tensor("p", []float32{0.9, 0.1, 0.2, 0.8}, 2, 2)}, classes, []string{"DOWN", "UP"}},
		{"wide scores", []stoa.Tensor{tensor("p", []float64{0.1, 0.2, 0.15}, 1, 3)}, []string{"a", "b", "c"}, []string{"b"}},
		{"the first of equals", []stoa.Tensor{tensor("p", []float32{0.5, 0.5}, 1, 2)}, classes, []string{"DOWN"}},
		{"not a number", []stoa.Tensor{tensor("p", []float32{nan, nan, nan, 0.1}, 2, 2)}, classes, []string{"", "UP"}},
		{"classes unknown", []stoa.Tensor{tensor("p", []float32{0.9, 0.1}, 1, 2)}, nil, nil},
		{"other width", []stoa.Tensor{tensor("p", []float32{0.9}, 1, 1)}, classes, nil},
		{"label of another type", []stoa.Tensor{tensor("label", []float32{1}, 1)}, classes, nil},
		{"nothing", nil, classes, nil},
	} {
		d, ok := readDecisions(&stoa.Answer{Outputs: c.outputs}, c.classes)
		if ok != (c.want != nil) || ok && d.rows != len(c.want) {
			t.Errorf("%s: %t with %d rows; want %q", c.name, ok, d.rows, c.want)
			continue
		}
		for i, want := range c.want {
			if got := d.at(i); got != want {
				t.Errorf("%s, row %d: %q; want %q", c.name, i, got, want)
			}
		}
	}
}

func TestFilter(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var f filter
	var inside []int64
	for i := range segmentSize {
		inside = append(inside, slot("prediction-"+strconv.Itoa(i)))
		f.add(inside[i])
	}
	var again filter
	if err := again.decode(f.encode()); err != nil || again != f {
		t.Fatalf("a filter does not survive its encoding: %v", err)
	}
	for _, s := range inside {
		if !f.may(s) {
			t.Fatal("an id is missing from the filter")
		}
	}
	wrong := 0
	const n = 100_000
	for range n {
		if f.may(slot(strconv.FormatUint(random.Uint64(), 36))) {
			wrong++
		}
	}
	t.Logf("%d of %d ids that are not there seem to be", wrong, n)
	if wrong > n/300 {
		t.Errorf("%d of %d ids that are not there seem to be; want about 1 of 1000", wrong, n)
	}
}

func FuzzScanStored(f *testing.F) {
	f.Add(appendStored(nil, []byte("a"), 1, 1767323045000000, []string{"UP"}))
	f.Add(appendStored(appendStored(nil, nil, 0, -1, nil), []byte("b"), 1<<40, 0, []string{"", "DOWN"}))
	f.Add([]byte{1, 'a', 1, 2, 0xff, 0xff, 0xff, 0xff, 0x0f})
	f.Fuzz(func(t *testing.T, body []byte) {
		var again []byte
		count := 0
		err := scanStored(body, func([]byte) bool { return true }, func(p stored) {
			again = appendStored(again, []byte(p.id), p.number, p.at, p.decisions)
			count++
		})
		if err != nil {
			return
		}
		// What was read must come back the same (the input may hold longer varints than needed).
		var third []byte
		err = scanStored(again, func([]byte) bool { return true }, func(p stored) {
			third = appendStored(third, []byte(p.id), p.number, p.at, p.decisions)
			count--
		})
		if err != nil || count != 0 || !bytes.Equal(again, third) {
			t.Fatalf("%x was read as %x and then as %x, %v", body, again, third, err)
		}
	})
}
