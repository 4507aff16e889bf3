package oip

import (
	"errors"
	"math"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoaproject/stoa"
)

// one is a request of one tensor.
func one(datatype, shape, data string) string {
	return input(`"datatype":"` + datatype + `","shape":` + shape + `,"data":` + data)
}

// input wraps a tensor's fields into a request.
func input(fields string) string { return `{"inputs":[{"name":"x",` + fields + `}]}` }

func TestParseRefuses(t *testing.T) {
	deep := strings.Repeat("[", 100) + strings.Repeat("]", 100)
	for name, c := range map[string]struct {
		body   string
		reason stoa.Reason
	}{
		"nothing":                     {``, stoa.ReasonMalformed},
		"not an object":               {`[]`, stoa.ReasonMalformed},
		"cut off":                     {`{"inputs":[{"name":"x","datatype":"FP32","shape":[1],"data":[1`, stoa.ReasonMalformed},
		"trailing data":               {one("FP32", `[1]`, `[1]`) + `{}`, stoa.ReasonMalformed},
		"trailing comma":              {one("FP32", `[2]`, `[1,]`), stoa.ReasonMalformed},
		"byte order mark":             {"\ufeff" + one("FP32", `[1]`, `[1]`), stoa.ReasonMalformed},
		"no inputs":                   {`{}`, stoa.ReasonMalformed},
		"empty inputs":                {`{"inputs":[]}`, stoa.ReasonBadInput},
		"inputs twice":                {`{"inputs":[],"inputs":[]}`, stoa.ReasonMalformed},
		"name twice":                  {input(`"name":"y","datatype":"FP32","shape":[1],"data":[1]`), stoa.ReasonMalformed},
		"escaped key":                 {`{"\u0069nputs":[]}`, stoa.ReasonMalformed},
		"key in other case":           {`{"Inputs":[]}`, stoa.ReasonMalformed},
		"escaped parameter":           {`{"parameters":{"recor\u0064":false},"inputs":[]}`, stoa.ReasonMalformed},
		"record is no boolean":        {`{"parameters":{"record":"false"},"inputs":[]}`, stoa.ReasonMalformed},
		"id is a number":              {`{"id":1,"inputs":[]}`, stoa.ReasonMalformed},
		"id has a line end":           {`{"id":"a\nb","inputs":[]}`, stoa.ReasonMalformed},
		"id too long":                 {`{"id":"` + strings.Repeat("a", 257) + `","inputs":[]}`, stoa.ReasonTooLarge},
		"input twice":                 {twoInputs("x", "x"), stoa.ReasonBadInput},
		"input without name":          {twoInputs("x", ""), stoa.ReasonBadInput},
		"no data":                     {input(`"datatype":"FP32","shape":[1]`), stoa.ReasonMalformed},
		"no shape":                    {input(`"datatype":"FP32","data":[1]`), stoa.ReasonMalformed},
		"no datatype":                 {input(`"shape":[1],"data":[1]`), stoa.ReasonMalformed},
		"unknown datatype":            {one("FLOAT", `[1]`, `[1]`), stoa.ReasonBadDatatype},
		"FP16":                        {one("FP16", `[1]`, `[1]`), stoa.ReasonUnsupported},
		"BF16":                        {one("BF16", `[1]`, `[1]`), stoa.ReasonUnsupported},
		"too few":                     {one("FP32", `[2,2]`, `[1,2,3]`), stoa.ReasonBadShape},
		"too many":                    {one("FP32", `[2]`, `[1,2,3]`), stoa.ReasonBadShape},
		"ragged":                      {one("FP32", `[2,2]`, `[[1,2,3],[4]]`), stoa.ReasonBadShape},
		"too few rows":                {one("FP32", `[2,2]`, `[[1,2]]`), stoa.ReasonBadShape},
		"too many rows":               {one("FP32", `[1,2]`, `[[1,2],[3,4]]`), stoa.ReasonBadShape},
		"nested too little":           {one("FP32", `[1,1,1]`, `[[1]]`), stoa.ReasonBadShape},
		"nested too much":             {one("FP32", `[1]`, `[[1]]`), stoa.ReasonBadShape},
		"negative dimension":          {one("FP32", `[-1]`, `[1]`), stoa.ReasonBadShape},
		"fractional dimension":        {one("FP32", `[1.0]`, `[1]`), stoa.ReasonBadShape},
		"dimension is a string":       {one("FP32", `["1"]`, `[1]`), stoa.ReasonMalformed},
		"product overflows":           {one("FP32", `[4000000,4000000,4000000]`, `[1]`), stoa.ReasonTooLarge},
		"product of 2^64":             {one("FP32", `[4294967296,4294967296]`, `[]`), stoa.ReasonTooLarge},
		"dimension over 2^64":         {one("FP32", `[18446744073709551617]`, `[1]`), stoa.ReasonTooLarge},
		"huge empty batch":            {one("FP32", `[9000000000000000000,0]`, `[]`), stoa.ReasonTooLarge},
		"too many dimensions":         {one("FP32", `[1,1,1,1,1,1,1,1,1]`, `[1]`), stoa.ReasonTooLarge},
		"NaN":                         {one("FP32", `[1]`, `[NaN]`), stoa.ReasonNotFinite},
		"Infinity":                    {one("FP64", `[1]`, `[Infinity]`), stoa.ReasonNotFinite},
		"-Infinity":                   {one("FP64", `[1,2]`, `[[1,-Infinity]]`), stoa.ReasonNotFinite},
		"NaN before the shape":        {input(`"data":[NaN],"datatype":"FP32","shape":[1]`), stoa.ReasonMalformed},
		"null":                        {one("FP32", `[1]`, `[null]`), stoa.ReasonBadDatatype},
		"string for a float":          {one("FP32", `[1]`, `["1"]`), stoa.ReasonBadDatatype},
		"float for an integer":        {one("INT64", `[1]`, `[1.0]`), stoa.ReasonBadDatatype},
		"number for a boolean":        {one("BOOL", `[1]`, `[1]`), stoa.ReasonBadDatatype},
		"number for a string":         {one("BYTES", `[1]`, `[1]`), stoa.ReasonBadDatatype},
		"FP32 out of range":           {one("FP32", `[1]`, `[1e39]`), stoa.ReasonBadDatatype},
		"FP64 out of range":           {one("FP64", `[1]`, `[1e309]`), stoa.ReasonBadDatatype},
		"INT8 out of range":           {one("INT8", `[1]`, `[128]`), stoa.ReasonBadDatatype},
		"INT64 out of range":          {one("INT64", `[1]`, `[9223372036854775808]`), stoa.ReasonBadDatatype},
		"UINT8 negative":              {one("UINT8", `[1]`, `[-1]`), stoa.ReasonBadDatatype},
		"UINT64 out of range":         {one("UINT64", `[1]`, `[18446744073709551616]`), stoa.ReasonBadDatatype},
		"leading zero":                {one("FP32", `[1]`, `[01]`), stoa.ReasonMalformed},
		"plus sign":                   {one("FP32", `[1]`, `[+1]`), stoa.ReasonMalformed},
		"no digit after the point":    {one("FP32", `[1]`, `[1.]`), stoa.ReasonMalformed},
		"no digit after the exponent": {one("FP32", `[1]`, `[1e]`), stoa.ReasonMalformed},
		"hexadecimal":                 {one("FP32", `[1]`, `[0x10]`), stoa.ReasonMalformed},
		"half a surrogate":            {one("BYTES", `[1]`, `["\ud800"]`), stoa.ReasonMalformed},
		"not UTF-8":                   {input(`"datatype":"BYTES","shape":[1],"data":["` + "\xff" + `"]`), stoa.ReasonMalformed},
		"control character":           {input(`"datatype":"BYTES","shape":[1],"data":["` + "\x01" + `"]`), stoa.ReasonMalformed},
		"deep data":                   {input(`"datatype":"FP32","shape":[1],"data":` + deep), stoa.ReasonBadShape},
		"deep data before the shape":  {input(`"data":` + deep + `,"datatype":"FP32","shape":[1]`), stoa.ReasonMalformed},
		"deep unknown value":          {`{"what":` + deep + `,"inputs":[]}`, stoa.ReasonMalformed},
		"unknown value is no JSON":    {`{"what":tru,"inputs":[]}`, stoa.ReasonMalformed},
		"binary input":                {input(`"datatype":"FP32","shape":[1],"parameters":{"binary_data_size":4}`), stoa.ReasonUnsupported},
		"binary outputs":              {`{"parameters":{"binary_data_output":true},"inputs":[]}`, stoa.ReasonUnsupported},
		"output twice":                {`{"outputs":[{"name":"y"},{"name":"y"}],"inputs":[]}`, stoa.ReasonBadInput},
		"output without name":         {`{"outputs":[{}],"inputs":[]}`, stoa.ReasonBadInput},
	} {
		t.Run(name, func(t *testing.T) {
			err := Parse([]byte(c.body), new(stoa.Call))
			var r *stoa.Refusal
			if !errors.As(err, &r) || r.Reason != c.reason {
				t.Fatalf("Parse = %v, want reason %s", err, c.reason)
			}
			if r.Message == "" {
				t.Error("the refusal has no message")
			}
		})
	}
}

func tensor(name string, datatype stoa.Datatype, shape []int64, data any) stoa.Tensor {
	return stoa.Tensor{Name: name, Datatype: datatype, Shape: shape, Data: data}
}

func twoInputs(a, b string) string {
	const rest = `","datatype":"BOOL","shape":[1],"data":[true]}`
	return `{"inputs":[{"name":"` + a + rest + `,{"name":"` + b + rest + `]}`
}

func TestParseLimits(t *testing.T) {
	body := []byte(twoInputs("a", "b"))
	for name, l := range map[string]Limits{
		"bytes": {Bytes: len(body) - 1}, "tensors": {Tensors: 1}, "elements": {Elements: 1},
	} {
		var r *stoa.Refusal
		if err := l.Parse(body, new(stoa.Call)); !errors.As(err, &r) || r.Reason != stoa.ReasonTooLarge {
			t.Errorf("%s: Parse = %v, want too_large", name, err)
		}
	}
	if err := (Limits{Bytes: len(body), Tensors: 2, Elements: 2}).Parse(body, new(stoa.Call)); err != nil {
		t.Errorf("at the limits: %v", err)
	}
}

func TestParse(t *testing.T) {
	body := ` {"id":"p-1","unknown":{"a":[1,{"b":null}]},"parameters":{"record":false,"größe":1,"gr\u00f6\u00dfe":2},
	"inputs":[
	 {"name":"i","shape":[2,2],"datatype":"INT64",
	  "data":[[9007199254740993,-9223372036854775808],[0,9223372036854775807]]},
	 {"data":[18446744073709551615,0],"datatype":"UINT64","shape":[2],"name":"u"},
	 {"name":"f","datatype":"FP32","shape":[4],"data":[0.1,-0,16777217,1e-46]},
	 {"name":"d","datatype":"FP64","shape":[1,3],"data":[0.1,1.7976931348623157e308,123456789012345678901234567890]},
	 {"name":"s","datatype":"BYTES","shape":[3],
	  "data":["","\u00e9\ud83d\ude00\"\\\/\b\f\n\r\t","é😀"],"parameters":{"x":1}},
	 {"name":"b","datatype":"BOOL","shape":[2,1],"data":[[true],[false]]},
	 {"name":"e","datatype":"INT8","shape":[2,0],"data":[[],[]]},
	 {"name":"z","datatype":"INT32","shape":[],"data":[-7]}],
	"outputs":[{"name":"label","parameters":{"binary_data":false}},{"name":"p"}]} `
	var call stoa.Call
	if err := Parse([]byte(body), &call); err != nil {
		t.Fatal(err)
	}
	want := stoa.Call{
		ID: "p-1", Rows: 2, Unrecorded: true, Outputs: []string{"label", "p"},
		Inputs: []stoa.Tensor{
			tensor("i", stoa.Int64, []int64{2, 2}, []int64{9007199254740993, math.MinInt64, 0, math.MaxInt64}),
			tensor("u", stoa.Uint64, []int64{2}, []uint64{math.MaxUint64, 0}),
			tensor("f", stoa.FP32, []int64{4}, []float32{0.1, float32(math.Copysign(0, -1)), 16777216, 0}),
			tensor("d", stoa.FP64, []int64{1, 3}, []float64{0.1, math.MaxFloat64, 123456789012345678901234567890}),
			tensor("s", stoa.Bytes, []int64{3}, []string{"", "é😀\"\\/\b\f\n\r\t", "é😀"}),
			tensor("b", stoa.Bool, []int64{2, 1}, []bool{true, false}),
			tensor("e", stoa.Int8, []int64{2, 0}, []int8{}),
			tensor("z", stoa.Int32, []int64{}, []int32{-7}),
		},
	}
	if !reflect.DeepEqual(call, want) {
		t.Errorf("got  %+v\nwant %+v", call, want)
	}
	if f := call.Inputs[2].Data.([]float32); !math.Signbit(float64(f[1])) {
		t.Error("the sign of -0 is lost")
	}
}

// A tensor's numbers survive the way there and back, whatever they are.
func TestRoundTripProperty(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 20).Draw(t, "n")
		finite64 := rapid.Float64Range(-math.MaxFloat64, math.MaxFloat64)
		finite32 := rapid.Float32Range(-math.MaxFloat32, math.MaxFloat32)
		shape := []int64{int64(n)}
		call := stoa.Call{ID: "id", Rows: n, Inputs: []stoa.Tensor{
			tensor("f", stoa.FP32, shape, rapid.SliceOfN(finite32, n, n).Draw(t, "f")),
			tensor("d", stoa.FP64, shape, rapid.SliceOfN(finite64, n, n).Draw(t, "d")),
			tensor("i", stoa.Int64, shape, rapid.SliceOfN(rapid.Int64(), n, n).Draw(t, "i")),
			tensor("h", stoa.Int16, shape, rapid.SliceOfN(rapid.Int16(), n, n).Draw(t, "h")),
			tensor("u", stoa.Uint64, shape, rapid.SliceOfN(rapid.Uint64(), n, n).Draw(t, "u")),
			tensor("c", stoa.Uint32, shape, rapid.SliceOfN(rapid.Uint32(), n, n).Draw(t, "c")),
			tensor("s", stoa.Bytes, shape, rapid.SliceOfN(rapid.String(), n, n).Draw(t, "s")),
			tensor("b", stoa.Bool, shape, rapid.SliceOfN(rapid.Bool(), n, n).Draw(t, "b")),
		}}
		body, err := AppendRequest(nil, &call)
		if err != nil {
			t.Fatal(err)
		}
		var back stoa.Call
		if err := Parse(body, &back); err != nil {
			t.Fatalf("%v\n%s", err, body)
		}
		if !reflect.DeepEqual(call, back) {
			t.Fatalf("got  %+v\nwant %+v", back, call)
		}
	})
}
