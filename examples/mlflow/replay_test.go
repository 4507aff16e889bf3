package mlflow_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"maps"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The replay. A script has one request on each line:
//
//	METHOD [HEADER=VALUE] PATH [BODY] [-> NAME=FIELD …]
//
// The path is relative to /api/2.0/mlflow/ unless it begins with a slash. The body is JSON, which a GET takes as its
// query, or "text:" and what to send. What follows the arrow keeps fields of the answer by name, for later lines to say
// ${NAME}; ${a*600} is 600 letters a, and ${metric*3}, ${param*3} and ${tag*3} are as many elements of a list.

// fewestRequests is how many requests the scripts must have.
const fewestRequests = 300

// A call is one request.
type call struct {
	method, path, body string
	header             map[string]string
}

// A line is one request of a script, with its names not yet replaced.
type line struct {
	script, text string
	call         call
	keep         [][2]string // names and the fields of the answer that they stand for
}

// A party answers the replay, and remembers what its own answers were called.
type party struct {
	server
	names map[string]string
}

// An allowance is a difference that may be.
type allowance struct {
	request, field *regexp.Regexp
	text           string
	used           bool
}

func TestReplay(t *testing.T) {
	reference := &party{server: startReference(t, python(t, "3"))}
	stoa := &party{server: startStoa(t)}
	allowed := readAllowed(t)
	scripts, err := filepath.Glob("testdata/replay/*.txt")
	if err != nil {
		t.Fatal(err)
	}
	requests := 0
	for _, script := range scripts {
		reference.names, stoa.names = map[string]string{}, map[string]string{}
		for _, l := range readScript(t, script) {
			requests++
			want, got := reference.answer(t, l), stoa.answer(t, l)
			for _, field := range differing(want, got) {
				if !allows(allowed, l.text, field) {
					t.Errorf("%s: %.300s\n\t%s: mlflow %.300s, stoa %.300s\n\tmlflow: %.300s\n\tstoa: %.300s",
						l.script, l.text, field, or(want[field], "(absent)"), or(got[field], "(absent)"),
						want["message"], got["message"])
				}
			}
		}
	}
	for _, a := range allowed {
		if !a.used {
			t.Errorf("testdata/allowed.txt allows a difference that is gone: %s", a.text)
		}
	}
	if requests < fewestRequests {
		t.Errorf("the scripts have %d requests, fewer than %d", requests, fewestRequests)
	}
	t.Logf("%d requests, %d allowances", requests, len(allowed))
}

// differing are the fields in which two answers differ. Where the status or the length of a list differs, what goes with
// it says nothing more.
func differing(want, got map[string]string) []string {
	if want["status"] != got["status"] {
		return []string{"status"}
	}
	both := maps.Clone(want)
	maps.Copy(both, got)
	var list []string
	longer := "\x00"
	for _, field := range slices.Sorted(maps.Keys(both)) {
		within, is := strings.CutSuffix(field, "length")
		if is && want[field] != got[field] {
			list = slices.DeleteFunc(list, func(f string) bool { return strings.HasPrefix(f, within) })
			longer = within
		}
		if want[field] != got[field] && (is || !strings.HasPrefix(field, longer)) {
			list = append(list, field)
		}
	}
	return list
}

func or(text, otherwise string) string {
	if text == "" {
		return otherwise
	}
	return text
}

// readAllowed reads what may differ: the request, the field and the reason, separated by bars. A star stands for
// anything.
func readAllowed(t *testing.T) []*allowance {
	t.Helper()
	var list []*allowance
	for _, text := range lines(t, "testdata/allowed.txt") {
		parts := strings.SplitN(text, " | ", 3)
		if len(parts) != 3 || len(parts[2]) < 10 {
			t.Fatalf("testdata/allowed.txt: %q is not REQUEST | FIELD | REASON", text)
		}
		list = append(list, &allowance{request: glob(parts[0]), field: glob(parts[1]), text: text})
	}
	return list
}

func glob(pattern string) *regexp.Regexp {
	return regexp.MustCompile("^" + strings.ReplaceAll(regexp.QuoteMeta(pattern), `\*`, ".*") + "$")
}

func allows(list []*allowance, request, field string) bool {
	for _, a := range list {
		if a.request.MatchString(request) && a.field.MatchString(field) {
			a.used = true
			return true
		}
	}
	return false
}

// lines returns the lines of a file that are neither empty nor comments.
func lines(t *testing.T, path string) []string {
	t.Helper()
	file, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	var list []string
	scan := bufio.NewScanner(file)
	for scan.Scan() {
		if text := strings.TrimSpace(scan.Text()); text != "" && !strings.HasPrefix(text, "#") {
			list = append(list, text)
		}
	}
	if err := scan.Err(); err != nil {
		t.Fatal(err)
	}
	return list
}

func readScript(t *testing.T, path string) []line {
	t.Helper()
	var list []line
	for _, text := range lines(t, path) {
		l := line{script: filepath.Base(path), text: text, call: call{header: map[string]string{}}}
		rest, kept, _ := strings.Cut(text, " -> ")
		for pair := range strings.FieldsSeq(kept) {
			name, field, _ := strings.Cut(pair, "=")
			l.keep = append(l.keep, [2]string{name, field})
		}
		l.call.method, rest, _ = strings.Cut(rest, " ")
		for strings.HasPrefix(rest, "[") {
			header, after, _ := strings.Cut(rest[1:], "] ")
			name, value, _ := strings.Cut(header, "=")
			l.call.header[name], rest = value, after
		}
		l.call.path, l.call.body, _ = strings.Cut(rest, " ")
		if !strings.HasPrefix(l.call.path, "/") {
			l.call.path = "/api/2.0/mlflow/" + l.call.path
		}
		list = append(list, l)
	}
	return list
}

// answer sends the request of a line and returns the fields of the answer, with what differs from one server to the next
// replaced by names.
func (p *party) answer(t *testing.T, l line) map[string]string {
	t.Helper()
	c := l.call
	c.path, c.body = p.expand(c.path), p.expand(c.body)
	if text, plain := strings.CutPrefix(c.body, "text:"); plain {
		c.body = text
	} else if c.method == "GET" && c.body != "" {
		c.path, c.body = c.path+"?"+query(t, c.body), ""
	}
	status, body, err := p.send(t.Context(), c)
	if err != nil {
		t.Fatalf("%s: %s: %v", l.script, l.text, err)
	}
	fields := map[string]string{"status": strconv.Itoa(status)}
	var tree any
	if json.Unmarshal(body, &tree) != nil {
		if tree = string(body); strings.HasPrefix(strings.ToLower(string(body)), "<!doctype html") {
			return fields // a page for people
		}
	}
	for _, k := range l.keep {
		value := at(tree, k[1])
		if value == "" {
			t.Errorf("%s: %s\n\t%s has no %s in %d %.500s", l.script, l.text, p.url, k[1], status, body)
		}
		p.names[k[0]] = value
	}
	p.flatten(fields, "", tree)
	return fields
}

var (
	placeholder = regexp.MustCompile(`\$\{(\w+)(?:\*(\d+))?\}`)
	elements    = map[string]string{
		"metric": `{"key":"many%d","value":%[1]d,"timestamp":1,"step":0}`,
		"param":  `{"key":"many%d","value":"%[1]d"}`,
		"tag":    `{"key":"many%d","value":"%[1]d"}`,
	}
)

// expand replaces the placeholders of a text.
func (p *party) expand(text string) string {
	return placeholder.ReplaceAllStringFunc(text, func(found string) string {
		m := placeholder.FindStringSubmatch(found)
		times, _ := strconv.Atoi(m[2])
		form, many := elements[m[1]]
		switch {
		case m[2] == "":
			return p.names[m[1]]
		case !many:
			return strings.Repeat(m[1], times)
		}
		list := make([]string, times)
		for i := range list {
			list[i] = fmt.Sprintf(form, i)
		}
		return strings.Join(list, ",")
	})
}

// query is the query of a GET whose arguments are written as JSON.
func query(t *testing.T, body string) string {
	t.Helper()
	var args map[string]any
	if err := json.Unmarshal([]byte(body), &args); err != nil {
		t.Fatalf("%s: %v", body, err)
	}
	values := url.Values{}
	for name, value := range args {
		list, many := value.([]any)
		if !many {
			list = []any{value}
		}
		for _, v := range list {
			values.Add(name, fmt.Sprint(v))
		}
	}
	return values.Encode()
}

// at is the text at a path like "runs.0.info.run_id"; "." is the whole.
func at(tree any, path string) string {
	for name := range strings.SplitSeq(path, ".") {
		switch node := tree.(type) {
		case map[string]any:
			tree = node[name]
		case []any:
			i, err := strconv.Atoi(name)
			if err != nil || i >= len(node) {
				return ""
			}
			tree = node[i]
		}
	}
	if tree == nil {
		return ""
	}
	return fmt.Sprint(tree)
}

// unordered are the lists whose order has no meaning, each with the field by which to sort it.
var unordered = map[string]string{
	"data.params": "key", "data.tags": "key", "data.metrics": "key", "tags": "key", "params": "key", "aliases": "alias",
	"latest_versions": "version",
}

// flatten adds the fields of a tree by their path.
func (p *party) flatten(into map[string]string, path string, tree any) {
	below := func(name string) string { return strings.TrimPrefix(path+"."+name, ".") }
	switch node := tree.(type) {
	case map[string]any:
		if len(node) == 0 {
			into[below("{}")] = "{}"
		}
		for name, value := range node {
			p.flatten(into, below(name), value)
		}
	case []any:
		into[below("length")] = strconv.Itoa(len(node))
		for ending, key := range unordered {
			if path == ending || strings.HasSuffix(path, "."+ending) {
				slices.SortFunc(node, func(x, y any) int { return strings.Compare(at(x, key), at(y, key)) })
			}
		}
		for i, value := range node {
			p.flatten(into, below(strconv.Itoa(i)), value)
		}
	case float64:
		into[path] = strconv.FormatFloat(node, 'g', -1, 64)
		if node > 1.6e12 && clock.MatchString(path) {
			into[path] = "<now>"
		}
	default:
		raw, _ := json.Marshal(node) // a string, a boolean or null
		into[or(path, "text")] = p.normal(path, string(raw))
	}
}

var (
	clock    = regexp.MustCompile(`(time|timestamp)(_ms|stamp)?$`)
	random   = regexp.MustCompile(`[0-9a-f]{32}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)
	root     = regexp.MustCompile(`mlflow-artifacts:/\d+`)
	nickname = regexp.MustCompile(`^"[a-z]+-[a-z]+-\d+"$`)
	instant  = regexp.MustCompile(`20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d[.\d]*Z?`)
)

// normal replaces what a server makes up.
func (p *party) normal(path, text string) string {
	if strings.HasSuffix(path, "next_page_token") {
		return "<token>"
	}
	for name, value := range p.names {
		if len(value) >= 8 {
			text = strings.ReplaceAll(text, value, "<"+name+">")
		} else if strings.HasSuffix(path, "_id") && text == strconv.Quote(value) {
			text = strconv.Quote("<" + name + ">")
		}
	}
	text = strings.ReplaceAll(text, strings.TrimPrefix(p.url, "http://"), "<host>")
	text = root.ReplaceAllString(text, "mlflow-artifacts:/<experiment>")
	text = nickname.ReplaceAllString(text, `"<nickname>"`)
	return instant.ReplaceAllString(random.ReplaceAllString(text, "<id>"), "<now>")
}
