package mlflow

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
)

// Marshal encodes an answer: JSON by the rules of encoding/json, without escapes for HTML, and with the strings "NaN",
// "Infinity" and "-Infinity" in the place of doubles that are not finite.
func Marshal(v any) ([]byte, error) {
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	err := enc.Encode(v)
	var unsupported *json.UnsupportedValueError
	if errors.As(err, &unsupported) {
		buf.Reset()
		err = enc.Encode(finite(reflect.ValueOf(v)))
	}
	if err != nil {
		return nil, fmt.Errorf("mlflow: encode the answer: %w", err)
	}
	return bytes.TrimSuffix(buf.Bytes(), []byte("\n")), nil
}

var marshaler = reflect.TypeFor[json.Marshaler]()

// finite returns a value that encodes like v, with strings for doubles that are not finite.
func finite(v reflect.Value) any {
	if !v.IsValid() {
		return nil
	}
	if v.Type().Implements(marshaler) {
		return v.Interface()
	}
	switch v.Kind() {
	case reflect.Pointer, reflect.Interface:
		if v.IsNil() {
			return nil
		}
		return finite(v.Elem())
	case reflect.Float32, reflect.Float64:
		return finiteFloat(v.Float())
	case reflect.Slice:
		if v.IsNil() || v.Type().Elem().Kind() == reflect.Uint8 {
			return v.Interface()
		}
		list := make([]any, v.Len())
		for i := range list {
			list[i] = finite(v.Index(i))
		}
		return list
	case reflect.Map:
		object := make(map[string]any, v.Len())
		for _, key := range v.MapKeys() {
			object[fmt.Sprint(key.Interface())] = finite(v.MapIndex(key))
		}
		return object
	case reflect.Struct:
		object := map[string]any{}
		finiteStruct(v, object)
		return object
	default:
		return v.Interface()
	}
}

func finiteFloat(f float64) any {
	switch {
	case math.IsNaN(f):
		return "NaN"
	case math.IsInf(f, 1):
		return "Infinity"
	case math.IsInf(f, -1):
		return "-Infinity"
	}
	return f
}

// finiteStruct adds the fields of a struct to an object.
func finiteStruct(v reflect.Value, object map[string]any) {
	for i := range v.NumField() {
		f, field := v.Type().Field(i), v.Field(i)
		tag := f.Tag.Get("json")
		if f.Anonymous && tag == "" {
			if field.Kind() == reflect.Pointer {
				if field.IsNil() {
					continue
				}
				field = field.Elem()
			}
			if field.Kind() == reflect.Struct {
				finiteStruct(field, object)
				continue
			}
		}
		name := tagName(f)
		options := strings.Split(tag, ",")[1:]
		if name == "" || slices.Contains(options, "omitempty") && empty(field) ||
			slices.Contains(options, "omitzero") && field.IsZero() {
			continue
		}
		object[name] = finite(field)
	}
}

// empty is what omitempty leaves out.
func empty(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.Slice, reflect.Map, reflect.Array, reflect.String:
		return v.Len() == 0
	case reflect.Struct:
		return false
	default:
		return v.IsZero()
	}
}
