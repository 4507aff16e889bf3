package mlflow

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/stoaproject/stoa"
)

// decode fills a struct with the arguments of a request.
func (a *API) decode(r *http.Request, into reflect.Value) error {
	body, err := a.readBody(r)
	if err != nil {
		return err
	}
	if body != nil {
		if err := Unmarshal(body, into.Addr().Interface()); err != nil {
			return err
		}
	} else if r.Method == http.MethodGet && r.URL.RawQuery != "" {
		query, err := url.ParseQuery(r.URL.RawQuery)
		if err != nil {
			return &stoa.Refusal{Reason: stoa.ReasonMalformed, Message: "the query cannot be read: " + err.Error()}
		}
		if err := decodeQuery(query, into); err != nil {
			return err
		}
	}
	for _, name := range placeholders(r.Pattern) {
		field, found := fieldNamed(into, name)
		if !found {
			continue
		}
		if err := setText(field, name, []string{r.PathValue(name)}); err != nil {
			return err
		}
	}
	return nil
}

// placeholders returns the names in the braces of a pattern.
func placeholders(pattern string) []string {
	var names []string
	for {
		_, rest, found := strings.Cut(pattern, "{")
		if !found {
			return names
		}
		name, after, _ := strings.Cut(rest, "}")
		names, pattern = append(names, strings.TrimSuffix(name, "...")), after
	}
}

// decodeQuery fills the fields of a struct that the query names. A repeated key fills a slice; elsewhere its first value
// counts.
func decodeQuery(query url.Values, into reflect.Value) error {
	for name, values := range query {
		// Some clients mark a repeated argument as PHP does.
		field, found := fieldNamed(into, strings.TrimSuffix(name, "[]"))
		if !found {
			continue
		}
		if err := setText(field, name, values); err != nil {
			return err
		}
	}
	return nil
}

// tagName is the name of a field on the wire; empty for one that does not travel.
func tagName(f reflect.StructField) string {
	name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
	switch {
	case name == "-" || !f.IsExported():
		return ""
	case name == "":
		return f.Name
	}
	return name
}

// fieldNamed finds a field by its name on the wire, in embedded structs as well.
func fieldNamed(v reflect.Value, name string) (reflect.Value, bool) {
	if v.Kind() != reflect.Struct {
		return reflect.Value{}, false
	}
	for i := range v.NumField() {
		f := v.Type().Field(i)
		if f.Anonymous && f.Tag.Get("json") == "" {
			inner := v.Field(i)
			if inner.Kind() == reflect.Pointer && inner.Type().Elem().Kind() == reflect.Struct && inner.CanSet() {
				held := inner
				if held.IsNil() {
					held = reflect.New(inner.Type().Elem())
				}
				if found, ok := fieldNamed(held.Elem(), name); ok {
					inner.Set(held)
					return found, true
				}
				continue
			}
			if found, ok := fieldNamed(inner, name); ok {
				return found, true
			}
			continue
		}
		if tagName(f) == name {
			return v.Field(i), true
		}
	}
	return reflect.Value{}, false
}

// setText sets a field to values from a query or a path. Fields that no text can fill are left as they are.
func setText(field reflect.Value, name string, values []string) error {
	if field.Kind() == reflect.Slice && field.Type().Elem().Kind() != reflect.Uint8 {
		list := reflect.MakeSlice(field.Type(), len(values), len(values))
		for i, text := range values {
			if err := assign(list.Index(i), text, name+"["+strconv.Itoa(i)+"]", true); err != nil {
				return err
			}
		}
		field.Set(list)
		return nil
	}
	if kind := indirect(field.Type()).Kind(); kind == reflect.Struct || kind == reflect.Map {
		if !reflect.PointerTo(indirect(field.Type())).Implements(unmarshaler) {
			return nil
		}
	}
	return assign(field, values[0], name, true)
}

func indirect(t reflect.Type) reflect.Type {
	for t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// Unmarshal decodes a JSON document into the struct that into points at, as leniently as the rules of this package say.
// The error is a *[stoa.Refusal]: malformed for what is not JSON, bad_input, with the path of the argument, for a value
// of the wrong type.
func Unmarshal(body []byte, into any) error {
	// Most bodies are plain JSON of the right types. What is not is decoded again, with care.
	fresh := reflect.New(reflect.TypeOf(into).Elem())
	if json.Unmarshal(body, fresh.Interface()) == nil {
		reflect.ValueOf(into).Elem().Set(fresh.Elem())
		return nil
	}
	dec := json.NewDecoder(bytes.NewReader(quoteNonFinite(body)))
	dec.UseNumber()
	var tree any
	if err := dec.Decode(&tree); err != nil {
		return &stoa.Refusal{Reason: stoa.ReasonMalformed, Message: "the body is not JSON: " + err.Error()}
	}
	if dec.More() {
		return &stoa.Refusal{Reason: stoa.ReasonMalformed, Message: "the body has something after its JSON document"}
	}
	if _, object := tree.(map[string]any); !object {
		return &stoa.Refusal{Reason: stoa.ReasonMalformed, Message: "the body is not a JSON object"}
	}
	return assign(reflect.ValueOf(into).Elem(), tree, "", false)
}

// nonFinite are the tokens that Python writes and JSON does not have. It is read only.
var nonFinite = [][]byte{[]byte("NaN"), []byte("-Infinity"), []byte("Infinity")}

// quoteNonFinite puts quotes around the bare tokens NaN, Infinity and -Infinity, outside of strings.
func quoteNonFinite(body []byte) []byte {
	if !slices.ContainsFunc(nonFinite, func(token []byte) bool { return bytes.Contains(body, token) }) {
		return body
	}
	out := make([]byte, 0, len(body)+64)
	for i, quoted := 0, false; i < len(body); {
		c := body[i]
		switch {
		case quoted && c == '\\' && i+1 < len(body):
			out = append(out, c, body[i+1])
			i += 2
			continue
		case c == '"':
			quoted = !quoted
		case !quoted && (c == 'N' || c == 'I' || c == '-'):
			if token := tokenAt(body[i:]); token != nil {
				out = append(append(append(out, '"'), token...), '"')
				i += len(token)
				continue
			}
		}
		out = append(out, c)
		i++
	}
	return out
}

func tokenAt(rest []byte) []byte {
	for _, token := range nonFinite {
		if bytes.HasPrefix(rest, token) {
			return token
		}
	}
	return nil
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// assign sets a variable to a value of a JSON tree, or to the text of a query when text is true: then booleans and
// numbers may be strings, and a value is never a tree.
func assign(to reflect.Value, value any, at string, text bool) error {
	if value == nil {
		return nil
	}
	if to.Kind() == reflect.Pointer {
		if to.IsNil() {
			to.Set(reflect.New(to.Type().Elem()))
		}
		return assign(to.Elem(), value, at, text)
	}
	if to.CanAddr() && to.Addr().Type().Implements(unmarshaler) {
		return assignOwn(to, value, at)
	}
	switch to.Kind() {
	case reflect.Struct:
		return assignStruct(to, value, at)
	case reflect.Map:
		return assignMap(to, value, at)
	case reflect.Slice:
		return assignSlice(to, value, at)
	case reflect.Interface:
		to.Set(reflect.ValueOf(value))
		return nil
	case reflect.String:
		if s, ok := value.(string); ok {
			to.SetString(s)
			return nil
		}
	case reflect.Bool:
		if b, ok := boolOf(value, text); ok {
			to.SetBool(b)
			return nil
		}
	case reflect.Float32, reflect.Float64:
		if f, ok := floatOf(value); ok {
			to.SetFloat(f)
			return nil
		}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		if n, ok := intOf(value); ok && !to.OverflowInt(n) {
			to.SetInt(n)
			return nil
		}
	}
	return wrongValue(value, at)
}

func wrongValue(value any, at string) error {
	given, err := json.Marshal(value)
	if err != nil {
		given = []byte("given")
	}
	return &stoa.Refusal{
		Reason: stoa.ReasonBadInput, Message: fmt.Sprintf("Invalid value %.200s for parameter '%.200s' supplied", given, at),
	}
}

// assignOwn lets a type that decodes itself do so.
func assignOwn(to reflect.Value, value any, at string) error {
	raw, err := json.Marshal(value)
	if err != nil {
		return wrongValue(value, at)
	}
	own, ok := to.Addr().Interface().(json.Unmarshaler)
	if !ok || own.UnmarshalJSON(raw) != nil {
		return wrongValue(value, at)
	}
	return nil
}

func assignStruct(to reflect.Value, value any, at string) error {
	object, ok := value.(map[string]any)
	if !ok {
		return wrongValue(value, at)
	}
	for name, v := range object {
		field, found := fieldNamed(to, name)
		if !found {
			continue
		}
		if err := assign(field, v, below(at, name), false); err != nil {
			return err
		}
	}
	return nil
}

func below(at, name string) string {
	if at == "" {
		return name
	}
	return at + "." + name
}

func assignMap(to reflect.Value, value any, at string) error {
	object, ok := value.(map[string]any)
	if !ok || to.Type().Key().Kind() != reflect.String {
		return wrongValue(value, at)
	}
	to.Set(reflect.MakeMapWithSize(to.Type(), len(object)))
	for name, v := range object {
		element := reflect.New(to.Type().Elem()).Elem()
		if err := assign(element, v, below(at, name), false); err != nil {
			return err
		}
		to.SetMapIndex(reflect.ValueOf(name).Convert(to.Type().Key()), element)
	}
	return nil
}

func assignSlice(to reflect.Value, value any, at string) error {
	if to.Type().Elem().Kind() == reflect.Uint8 {
		raw, err := json.Marshal(value)
		if err != nil || json.Unmarshal(raw, to.Addr().Interface()) != nil {
			return wrongValue(value, at)
		}
		return nil
	}
	list, ok := value.([]any)
	if !ok {
		return wrongValue(value, at)
	}
	to.Set(reflect.MakeSlice(to.Type(), len(list), len(list)))
	for i, v := range list {
		if err := assign(to.Index(i), v, fmt.Sprintf("%s[%d]", at, i), false); err != nil {
			return err
		}
	}
	return nil
}

func boolOf(value any, text bool) (b, ok bool) {
	switch v := value.(type) {
	case bool:
		return v, true
	case string:
		if text {
			lower := strings.ToLower(v)
			return lower == "true" || lower == "1", slices.Contains([]string{"true", "false", "1", "0"}, lower)
		}
	}
	return false, false
}

// floatOf takes a number, or a string that holds one or names a value that is not finite.
func floatOf(value any) (float64, bool) {
	var s string
	switch v := value.(type) {
	case json.Number:
		s = v.String()
	case string:
		switch s = v; s {
		case "NaN":
			return math.NaN(), true
		case "Infinity":
			return math.Inf(1), true
		case "-Infinity":
			return math.Inf(-1), true
		}
		if strings.Trim(s, "0123456789+-.eE") != "" {
			return 0, false // what ParseFloat takes beyond JSON: hexadecimal, underscores, "inf"
		}
	}
	f, err := strconv.ParseFloat(s, 64)
	return f, err == nil
}

// intOf takes a number, or a string that holds one, without a fraction.
func intOf(value any) (int64, bool) {
	var s string
	switch v := value.(type) {
	case json.Number:
		s = v.String()
	case string:
		s = v
	}
	if n, err := strconv.ParseInt(s, 10, 64); err == nil {
		return n, true
	}
	f, ok := floatOf(value)
	// Beyond 2^53 a float is not the number that was meant.
	return int64(f), ok && f == math.Trunc(f) && math.Abs(f) <= 1<<53
}
