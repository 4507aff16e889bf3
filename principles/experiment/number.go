package experiment

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// An Int64 is a 64-bit integer of the wire: it is written as a JSON number, and read from a number, from a number with a
// fraction of zero, or from a string that holds one, as old and new clients send it.
type Int64 int64

// MarshalJSON writes a JSON number.
func (n Int64) MarshalJSON() ([]byte, error) { return strconv.AppendInt(nil, int64(n), 10), nil }

// UnmarshalJSON reads a JSON number or a string that holds one; null leaves n as it is.
func (n *Int64) UnmarshalJSON(text []byte) error {
	if bytes.Equal(text, []byte("null")) {
		return nil
	}
	digits, err := unquote(text)
	if err != nil {
		return err
	}
	if value, err := strconv.ParseInt(digits, 10, 64); err == nil {
		*n = Int64(value)
		return nil
	}
	value, err := strconv.ParseFloat(digits, 64)
	if err != nil || value != math.Trunc(value) || math.Abs(value) >= 1<<63 {
		return fmt.Errorf("%.40s is not a 64-bit integer", text)
	}
	*n = Int64(value)
	return nil
}

// A Float64 is a 64-bit float of the wire: what JSON numbers cannot say is written as "NaN", "Infinity" and "-Infinity".
type Float64 float64

// MarshalJSON writes a JSON number or one of the three strings.
func (f Float64) MarshalJSON() ([]byte, error) {
	value := float64(f)
	switch {
	case math.IsNaN(value):
		return []byte(`"NaN"`), nil
	case math.IsInf(value, 1):
		return []byte(`"Infinity"`), nil
	case math.IsInf(value, -1):
		return []byte(`"-Infinity"`), nil
	case value == math.Trunc(value) && math.Abs(value) < 1e16:
		return strconv.AppendFloat(nil, value, 'f', 1, 64), nil
	}
	return json.Marshal(value)
}

// UnmarshalJSON reads a JSON number, a string that holds one, or one of the three strings; null leaves f as it is.
func (f *Float64) UnmarshalJSON(text []byte) error {
	if bytes.Equal(text, []byte("null")) {
		return nil
	}
	digits, err := unquote(text)
	if err != nil {
		return err
	}
	value, err := strconv.ParseFloat(digits, 64)
	if err != nil || strings.ContainsAny(digits, "xX_") {
		return fmt.Errorf("%.40s is not a number", text)
	}
	*f = Float64(value)
	return nil
}

// An Enum is a value of an enumeration of the wire: written by name, and read by name or by number.
type Enum string

// UnmarshalJSON reads a name, or a number, which stays as its digits.
func (e *Enum) UnmarshalJSON(text []byte) error {
	if bytes.Equal(text, []byte("null")) {
		return nil
	}
	name, err := unquote(text)
	if err != nil {
		return err
	}
	*e = Enum(name)
	return nil
}

// oneOf gives the name of the enumeration's value: e is one of the names, or the number of one, the first being first.
func (e Enum) oneOf(first int, names ...string) (string, bool) {
	for i, name := range names {
		if string(e) == name || string(e) == strconv.Itoa(first+i) {
			return name, true
		}
	}
	return "", false
}

// unquote gives the content of a JSON string or the text of a JSON number.
func unquote(text []byte) (string, error) {
	if len(text) > 0 && text[0] == '"' {
		var s string
		err := json.Unmarshal(text, &s)
		return s, err
	}
	if len(text) == 0 || text[0] != '-' && (text[0] < '0' || text[0] > '9') {
		return "", fmt.Errorf("%.40s is neither a number nor a string", text)
	}
	return string(text), nil
}
