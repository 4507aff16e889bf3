package manifest

import (
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// rules are what a check tag says about a value.
type rules struct {
	required bool
	initial  *string  // value when left out
	enum     []string // the only values possible
	min      *float64 // least value possible
	max      *float64 // greatest value possible
	above    *float64 // greater than this only
	below    *float64 // less than this only
	items    int      // least number of entries
	name     bool     // a name, see namePattern
	path     bool     // a path inside the workload's directory
	column   bool     // the name of a column
}

// A field is one key of a section.
type field struct {
	key   string
	goes  int // index of the struct field
	rules rules
}

// fields returns the keys of a section in the order of its type. It panics on a tag that is not well formed: the tags
// are part of the program.
func fields(t reflect.Type) []field {
	all := make([]field, 0, t.NumField())
	for i := range t.NumField() {
		f := t.Field(i)
		key := f.Tag.Get("yaml")
		if key == "-" {
			continue
		}
		all = append(all, field{key: key, goes: i, rules: parseRules(f.Tag.Get("check"))})
	}
	return all
}

func parseRules(tag string) rules {
	var r rules
	if tag == "" {
		return r
	}
	for part := range strings.SplitSeq(tag, ",") {
		word, value, _ := strings.Cut(part, "=")
		switch word {
		case "required":
			r.required = true
		case "default":
			r.initial = &value
		case "enum":
			r.enum = strings.Split(value, "|")
		case "min":
			r.min = bound(value)
		case "max":
			r.max = bound(value)
		case "above":
			r.above = bound(value)
		case "below":
			r.below = bound(value)
		case "items":
			r.items = int(*bound(value))
		case "name":
			r.name = true
		case "path":
			r.path = true
		case "column":
			r.column = true
		default:
			panic("manifest: unknown rule " + part)
		}
	}
	return r
}

func bound(text string) *float64 {
	f, err := strconv.ParseFloat(text, 64)
	if err != nil {
		panic("manifest: bad bound " + text)
	}
	return &f
}

// number returns what is impossible about f, or "".
func (r *rules) number(f float64) string {
	show := func(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }
	switch {
	case r.min != nil && f < *r.min:
		return "must be at least " + show(*r.min)
	case r.max != nil && f > *r.max:
		return "must be at most " + show(*r.max)
	case r.above != nil && f <= *r.above:
		return "must be greater than " + show(*r.above)
	case r.below != nil && f >= *r.below:
		return "must be less than " + show(*r.below)
	}
	return ""
}

var (
	durationType = reflect.TypeFor[time.Duration]()
	refType      = reflect.TypeFor[Ref]()
)

// initialise sets v, a section, to what it is when nothing is written in it.
func initialise(v reflect.Value) {
	for _, f := range fields(v.Type()) {
		into := v.Field(f.goes)
		if f.rules.initial != nil {
			setText(into, *f.rules.initial)
		} else if into.Kind() == reflect.Struct {
			initialise(into)
		}
	}
}

// setText sets v from the text of a default, and panics when it does not fit: the tags are part of the program.
func setText(v reflect.Value, text string) {
	var err error
	switch {
	case v.Type() == durationType:
		var d time.Duration
		d, err = time.ParseDuration(text)
		v.SetInt(int64(d))
	case v.Kind() == reflect.String:
		v.SetString(text)
	case v.Kind() == reflect.Bool:
		var b bool
		b, err = strconv.ParseBool(text)
		v.SetBool(b)
	case v.CanInt():
		var i int64
		i, err = strconv.ParseInt(text, 10, 64)
		v.SetInt(i)
	case v.CanFloat():
		var f float64
		f, err = strconv.ParseFloat(text, 64)
		v.SetFloat(f)
	default:
		err = fmt.Errorf("no default for %s", v.Type())
	}
	if err != nil {
		panic("manifest: bad default: " + err.Error())
	}
}

// A name goes into URLs, metric labels and file names, so it is narrow.
const namePattern = `^[a-z0-9]([a-z0-9_-]{0,61}[a-z0-9])?$`

var nameRegexp = regexp.MustCompile(namePattern)

const nameHint = "a name is 1 to 63 lower-case letters, digits, '-' and '_', and begins and ends with a letter or digit"

// refPattern is what a version may be.
const refPattern = `^(champion|challenger|previous|[1-9][0-9]{0,8})$`

var refRegexp = regexp.MustCompile(refPattern)
