package manifest

import (
	"fmt"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"
)

// A decoder turns nodes into Go values, and remembers where each stood.
type decoder struct {
	file string
	errs []*Error
	at   map[string]*token.Token // by path, such as "endpoints.price.targets[0].model"
}

// report records an error at a token.
func (d *decoder) report(at *token.Token, hint, format string, args ...any) {
	e := &Error{File: d.file, Line: 1, Column: 1, Message: fmt.Sprintf(format, args...), Hint: hint}
	if at != nil && at.Position != nil {
		e.Line, e.Column = max(1, at.Position.Line), max(1, at.Position.Column)
	}
	d.errs = append(d.errs, e)
}

// where returns the token of path, or of the nearest thing around it that is written in the file.
func (d *decoder) where(path string) *token.Token {
	for path != "" {
		if t := d.at[path]; t != nil {
			return t
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))]
	}
	return nil
}

// reportAt records an error at a path.
func (d *decoder) reportAt(path, hint, format string, args ...any) {
	d.report(d.where(path), hint, format, args...)
}

// value decodes node, which stands at path, into v.
func (d *decoder) value(node ast.Node, v reflect.Value, path string, r *rules) {
	if _, isNull := node.(*ast.NullNode); isNull {
		d.report(node.GetToken(), "leave the key out to get its default", "%s has no value", path)
		return
	}
	if d.at[path] == nil {
		d.at[path] = node.GetToken()
	}
	switch t := v.Type(); {
	case t == durationType:
		d.duration(node, v, path)
	case t == refType:
		d.ref(node, v, path)
	case t.Kind() == reflect.Pointer:
		p := reflect.New(t.Elem())
		if t.Elem().Kind() == reflect.Struct {
			initialise(p.Elem())
		}
		d.value(node, p.Elem(), path, r)
		v.Set(p)
	case t.Kind() == reflect.Struct:
		d.section(node, v, path)
	case t.Kind() == reflect.Map:
		d.entries(node, v, path, r)
	case t.Kind() == reflect.Slice:
		d.list(node, v, path, r)
	default:
		d.scalar(node, v, path, r)
	}
}

// A pair is one "key: value" of a mapping.
type pair struct {
	key   string
	at    *token.Token // of the key
	value ast.Node
}

// pairs returns the pairs of a mapping without those whose key came before, which it reports.
func (d *decoder) pairs(node ast.Node, path string) ([]pair, bool) {
	var values []*ast.MappingValueNode
	switch n := node.(type) {
	case *ast.MappingNode:
		values = n.Values
	case *ast.MappingValueNode:
		values = []*ast.MappingValueNode{n}
	default:
		d.wrongType(node, path, "a section of keys and values")
		return nil, false
	}
	first := make(map[string]int, len(values))
	pairs := make([]pair, 0, len(values))
	for _, v := range values {
		at := v.Key.GetToken()
		switch v.Key.(type) {
		case *ast.StringNode, *ast.IntegerNode, *ast.FloatNode, *ast.BoolNode:
		default:
			d.report(at, "", "a key of %s is not a word", shown(path))
			continue
		}
		if line, seen := first[at.Value]; seen {
			d.report(at, "remove one of the two", "duplicate key %q in %s, first in line %d", at.Value, shown(path), line)
			continue
		}
		first[at.Value] = at.Position.Line
		pairs = append(pairs, pair{key: at.Value, at: at, value: v.Value})
	}
	return pairs, true
}

// section decodes a mapping whose keys are the fields of a struct.
func (d *decoder) section(node ast.Node, v reflect.Value, path string) {
	pairs, ok := d.pairs(node, path)
	if !ok {
		return
	}
	known := fields(v.Type())
	written := make(map[string]bool, len(pairs))
	for _, p := range pairs {
		written[p.key] = true
		f := find(known, p.key)
		if f == nil {
			names := make([]string, 0, len(known))
			for _, k := range known {
				names = append(names, k.key)
			}
			hint := closest(p.key, names)
			if _, isNull := p.value.(*ast.NullNode); isNull && strings.Contains(p.key, " ") {
				hint = "a comma ends a value within {…}: put text that has one in quotes"
			}
			d.report(p.at, hint, "unknown key %s in %s", quoted(p.key), shown(path))
			continue
		}
		at := below(path, p.key)
		if !isScalar(p.value) {
			d.at[at] = p.at
		}
		d.value(p.value, v.Field(f.goes), at, &f.rules)
	}
	for _, k := range known {
		if k.rules.required && !written[k.key] {
			d.reportAt(path, "", "%s needs the key %q", shown(path), k.key)
		}
	}
}

func find(known []field, key string) *field {
	for i := range known {
		if known[i].key == key {
			return &known[i]
		}
	}
	return nil
}

// entries decodes a mapping whose keys are names of the author's choice.
func (d *decoder) entries(node ast.Node, v reflect.Value, path string, r *rules) {
	pairs, ok := d.pairs(node, path)
	if !ok {
		return
	}
	v.Set(reflect.MakeMapWithSize(v.Type(), len(pairs)))
	for _, p := range pairs {
		if !nameRegexp.MatchString(p.key) {
			d.report(p.at, nameHint, "%s: %s is not a name", path, quoted(p.key))
			continue
		}
		at := below(path, p.key)
		d.at[at] = p.at
		entry := reflect.New(v.Type().Elem()).Elem()
		d.value(p.value, entry, at, &rules{})
		if entry.Kind() != reflect.Pointer || !entry.IsNil() {
			v.SetMapIndex(reflect.ValueOf(p.key), entry)
		}
	}
	if len(pairs) < r.items {
		d.reportAt(path, "", "%s needs at least %d", path, r.items)
	}
}

// list decodes a sequence.
func (d *decoder) list(node ast.Node, v reflect.Value, path string, r *rules) {
	seq, ok := node.(*ast.SequenceNode)
	if !ok {
		d.wrongType(node, path, "a list")
		return
	}
	v.Set(reflect.MakeSlice(v.Type(), 0, len(seq.Values)))
	for i, n := range seq.Values {
		item := reflect.New(v.Type().Elem()).Elem()
		d.value(n, item, path+"["+strconv.Itoa(i)+"]", &rules{})
		if item.Kind() == reflect.Pointer && item.IsNil() {
			item.Set(reflect.New(item.Type().Elem()))
		}
		v.Set(reflect.Append(v, item))
	}
	if len(seq.Values) < r.items {
		d.reportAt(path, "", "%s needs at least %d", path, r.items)
	}
}

// scalar decodes a text, number or boolean.
func (d *decoder) scalar(node ast.Node, v reflect.Value, path string, r *rules) {
	switch {
	case v.Kind() == reflect.String:
		d.text(node, v, path, r)
	case v.Kind() == reflect.Bool:
		b, ok := node.(*ast.BoolNode)
		if !ok {
			d.wrongType(node, path, "true or false")
			return
		}
		v.SetBool(b.Value)
	case v.CanInt():
		i, ok := integer(node)
		if !ok {
			d.wrongType(node, path, "a whole number")
			return
		}
		if problem := r.number(float64(i)); problem != "" {
			d.report(node.GetToken(), "", "%s is %d: it %s", path, i, problem)
			return
		}
		v.SetInt(i)
	case v.CanFloat():
		f, ok := number(node)
		if !ok {
			d.wrongType(node, path, "a number")
			return
		}
		if problem := r.number(f); problem != "" {
			d.report(node.GetToken(), "", "%s is %v: it %s", path, f, problem)
			return
		}
		v.SetFloat(f)
	default:
		panic("manifest: no decoder for " + v.Type().String())
	}
}

func (d *decoder) text(node ast.Node, v reflect.Value, path string, r *rules) {
	s, ok := text(node)
	if !ok {
		hint := ""
		if isScalar(node) {
			hint = fmt.Sprintf("put it in quotes: %q", node.GetToken().Value)
		}
		d.report(node.GetToken(), hint, "%s must be text, not %s", path, kind(node))
		return
	}
	problem, hint := r.text(s)
	if problem != "" {
		d.report(node.GetToken(), hint, "%s is %s: %s", path, quoted(s), problem)
		return
	}
	v.SetString(s)
}

// text returns what is impossible about s and what to do about it, or "".
func (r *rules) text(s string) (problem, hint string) {
	const longest = 4096
	switch {
	case len(s) > longest:
		return fmt.Sprintf("longer than %d bytes", longest), ""
	case !utf8.ValidString(s):
		return "not valid UTF-8", ""
	case strings.ContainsFunc(s, func(c rune) bool { return unicode.IsControl(c) && c != '\n' && c != '\t' }):
		return "it has control characters", ""
	case (r.required || r.enum != nil) && strings.TrimSpace(s) == "":
		return "it must not be empty", ""
	case r.enum != nil && !slices.Contains(r.enum, s):
		return "not one of " + strings.Join(r.enum, ", "), closest(s, r.enum)
	case r.name && !nameRegexp.MatchString(s):
		return "not a name", nameHint
	case r.column && (len(s) > 256 || strings.ContainsAny(s, "\n\t")):
		return "not the name of a column", ""
	case r.path:
		return checkPath(s)
	}
	return "", ""
}

// checkPath returns what is wrong with the path of a data file.
func checkPath(s string) (problem, hint string) {
	if strings.ContainsAny(s, "\\\n\t") || strings.Contains(s, "://") || !filepath.IsLocal(filepath.FromSlash(s)) {
		return "outside the workload's directory",
			"give a path relative to the workload file, with '/' and without leaving its directory"
	}
	lower := strings.ToLower(s)
	for _, ext := range []string{".csv", ".csv.gz", ".parquet"} {
		if strings.HasSuffix(lower, ext) {
			return "", ""
		}
	}
	return "neither .csv, .csv.gz nor .parquet", ""
}

func (d *decoder) duration(node ast.Node, v reflect.Value, path string) {
	s, ok := text(node)
	if !ok {
		d.report(node.GetToken(), `write a number and a unit, such as "250ms", "5s" or "72h"`,
			"%s must be a duration, not %s", path, kind(node))
		return
	}
	length, err := time.ParseDuration(s)
	switch {
	case err != nil:
		d.report(node.GetToken(), `write a number and a unit, such as "250ms", "5s" or "72h"`,
			"%s is %s: not a duration", path, quoted(s))
	case length <= 0:
		d.report(node.GetToken(), "", "%s is %s: it must be longer than nothing", path, quoted(s))
	default:
		v.SetInt(int64(length))
	}
}

func (d *decoder) ref(node ast.Node, v reflect.Value, path string) {
	s, ok := text(node)
	if i, isInt := integer(node); isInt {
		s, ok = strconv.FormatInt(i, 10), true
	}
	switch {
	case !ok:
		d.wrongType(node, path, "a version number or an alias")
	case !refRegexp.MatchString(s):
		hint := closest(s, []string{"champion", "challenger", "previous"})
		if _, isInt := integer(node); isInt {
			hint = "versions are numbered from 1"
		}
		d.report(node.GetToken(), hint, "%s is %s: neither a version number nor an alias", path, quoted(s))
	default:
		v.SetString(s)
	}
}

func (d *decoder) wrongType(node ast.Node, path, want string) {
	d.report(node.GetToken(), "", "%s must be %s, not %s", shown(path), want, kind(node))
}

// kind names what a node is, for an error.
func kind(node ast.Node) string {
	switch n := node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return "a section of keys and values"
	case *ast.SequenceNode:
		return "a list"
	case *ast.BoolNode:
		return n.GetToken().Value
	case *ast.StringNode:
		return "the text " + quoted(n.Value)
	case *ast.LiteralNode:
		return "a block of text"
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		return "the number " + n.GetToken().Value
	default:
		return "this"
	}
}

func isScalar(node ast.Node) bool {
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode, *ast.SequenceNode:
		return false
	}
	return true
}

func text(node ast.Node) (string, bool) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, true
	case *ast.LiteralNode:
		return n.Value.Value, true
	}
	return "", false
}

func integer(node ast.Node) (int64, bool) {
	n, ok := node.(*ast.IntegerNode)
	if !ok {
		return 0, false
	}
	switch i := n.Value.(type) {
	case int64:
		return i, true
	case uint64:
		return int64(i), i <= math.MaxInt64
	}
	return 0, false
}

// number returns a finite number.
func number(node ast.Node) (float64, bool) {
	if i, ok := integer(node); ok {
		return float64(i), true
	}
	n, ok := node.(*ast.FloatNode)
	if !ok || math.IsInf(n.Value, 0) || math.IsNaN(n.Value) {
		return 0, false
	}
	return n.Value, true
}

// shown is a path as an error shows it.
func shown(path string) string {
	if path == "" {
		return "the file"
	}
	return path
}

// quoted is a value as an error shows it: cut when it is long.
func quoted(s string) string {
	const longest = 80
	if r := []rune(s); len(r) > longest {
		s = string(r[:longest]) + "…"
	}
	return strconv.Quote(s)
}

// below is the path of key in the section at path.
func below(path, key string) string {
	if path == "" {
		return key
	}
	return path + "." + key
}
