package oip

import (
	"bytes"
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/stoaproject/stoa"
)

// FuzzParse holds the parser to three promises: it never panics, it accepts nothing that is not JSON, and what it
// accepts it also accepts when written by AppendRequest, as the same call.
func FuzzParse(f *testing.F) {
	for _, seed := range []string{
		`{"id":"a","inputs":[{"name":"x","datatype":"FP32","shape":[1,2],"data":[[0.5,-1e-3]]}],"outputs":[{"name":"y"}]}`,
		`{"inputs":[{"name":"x","data":["\u00e9","\ud83d\ude00"],"shape":[2],"datatype":"BYTES","parameters":{"a":[{}]}}]}`,
		`{"inputs":[{"name":"x","shape":[1],"datatype":"UINT64","data":[18446744073709551615]}],"parameters":{"record":false}}`,
		`{"inputs":[{"name":"x","shape":[2,0],"datatype":"BOOL","data":[[],[]]}]}`,
		`{"inputs":[{"name":"x","shape":[1],"datatype":"FP64","data":[NaN]}]}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		var call stoa.Call
		if err := (Limits{Elements: 1 << 16}).Parse(bytes.Clone(body), &call); err != nil {
			var r *stoa.Refusal
			if !errors.As(err, &r) || r.Message == "" {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		if !json.Valid(body) {
			t.Fatalf("accepted what is no JSON: %q", body)
		}
		written, err := AppendRequest(nil, &call)
		if err != nil {
			t.Fatal(err)
		}
		var back stoa.Call
		if err := Parse(written, &back); err != nil {
			t.Fatalf("refused its own writing: %v\n%s", err, written)
		}
		if !reflect.DeepEqual(call, back) {
			t.Fatalf("read back differently:\n%+v\n%+v", call, back)
		}
	})
}

// FuzzString holds AppendString to writing JSON that reads back as the same string, UTF-8 provided.
func FuzzString(f *testing.F) {
	f.Add("é\x00\"\\\u2028")
	f.Fuzz(func(t *testing.T, s string) {
		var back, want string
		if err := json.Unmarshal(AppendString(nil, s), &back); err != nil {
			t.Fatal(err)
		}
		encoded, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(encoded, &want); err != nil || back != want {
			t.Fatalf("%q came back as %q", want, back)
		}
	})
}

func BenchmarkParse(b *testing.B) {
	body := []byte(`{"id":"half-hour-17","inputs":[{"name":"input","datatype":"FP32","shape":[1,8],` +
		`"data":[0.0425,0.06,0.439155,0.003467,0.422915,0.414912,0.5,1]}]}`)
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Parse(body, new(stoa.Call)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseThousandRows(b *testing.B) {
	call := stoa.Call{Inputs: []stoa.Tensor{{Name: "x", Datatype: stoa.FP32, Shape: []int64{1000, 8}}}}
	data := make([]float32, 8000)
	for i := range data {
		data[i] = float32(i) / 7919
	}
	call.Inputs[0].Data = data
	body, err := AppendRequest(nil, &call)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(body)))
	b.ReportAllocs()
	for b.Loop() {
		if err := Parse(body, new(stoa.Call)); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppend(b *testing.B) {
	r := &Response{
		Model: "price", Version: 3, ID: "half-hour-17", From: "price/3", Role: stoa.RoleChampion,
		Outputs: []stoa.Tensor{
			{Name: "label", Datatype: stoa.Bytes, Shape: []int64{1}, Data: []string{"UP"}},
			{Name: "probabilities", Datatype: stoa.FP32, Shape: []int64{1, 2}, Data: []float32{0.123456, 0.876544}},
		},
	}
	var dst []byte
	var err error
	b.ReportAllocs()
	for b.Loop() {
		if dst, err = Append(dst[:0], r); err != nil {
			b.Fatal(err)
		}
	}
}
