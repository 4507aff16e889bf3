package manifest

import (
	"bytes"
	"encoding/json"
	"flag"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write the schema instead of comparing it")

const durationPattern = `^([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h)(([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|ms|s|m|h))*$`

func TestSchemaIsUpToDate(t *testing.T) {
	got := generate(t)
	for _, path := range []string{"workload.schema.json", "../docs/workload.schema.json"} {
		if *update {
			if err := os.WriteFile(path, got, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is not what the types say: run go test ./manifest -run Schema -update", path)
		}
	}
}

func TestExamplesValidate(t *testing.T) {
	paths, err := filepath.Glob("../examples/*/workload.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, compile(t), src); err != nil {
			t.Errorf("%s does not validate against the schema: %v", path, err)
		}
		if _, err := Load(path); err != nil {
			t.Errorf("%s does not load: %v", path, err)
		}
	}
}

func TestTemplateValidates(t *testing.T) {
	for _, name := range []string{"churn", "My Workload!", "", strings.Repeat("x", 100), "-", "é"} {
		src := Template(name)
		if err := validate(t, compile(t), src); err != nil {
			t.Errorf("Template(%q) does not validate against the schema: %v", name, err)
		}
		if _, err := Parse("template", src); err != nil {
			t.Errorf("Template(%q) does not parse: %v", name, err)
		}
	}
}

// compile prepares the embedded schema.
func compile(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("workload.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("workload.schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// validate checks src against a schema.
func validate(t *testing.T, schema *jsonschema.Schema, src []byte) error {
	t.Helper()
	asJSON, err := yaml.YAMLToJSON(src)
	if err != nil {
		t.Fatal(err)
	}
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(asJSON))
	if err != nil {
		t.Fatal(err)
	}
	return schema.Validate(value)
}

// An object is a JSON object whose keys keep an order worth reading.
type object []member

type member struct {
	key   string
	value any
}

func (o object) MarshalJSON() ([]byte, error) {
	b := []byte{'{'}
	for i, m := range o {
		if i > 0 {
			b = append(b, ',')
		}
		b = strconv.AppendQuote(b, m.key)
		b = append(b, ':')
		var value bytes.Buffer
		enc := json.NewEncoder(&value)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(m.value); err != nil {
			return nil, err
		}
		b = append(b, bytes.TrimSpace(value.Bytes())...)
	}
	return append(b, '}'), nil
}

// generate makes the schema from the types, their tags and their comments.
func generate(t *testing.T) []byte {
	t.Helper()
	comments := readComments(t)
	g := generator{comments: comments}
	root := object{
		{"$schema", "https://json-schema.org/draft/2020-12/schema"},
		{"title", "Stoa workload"},
	}
	root = append(root, g.section(reflect.TypeFor[Workload](), "A Stoa workload file.")...)
	var buffer, indented bytes.Buffer
	enc := json.NewEncoder(&buffer)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(root); err != nil {
		t.Fatal(err)
	}
	if err := json.Indent(&indented, bytes.TrimSpace(buffer.Bytes()), "", "  "); err != nil {
		t.Fatal(err)
	}
	for _, key := range g.undocumented {
		t.Errorf("%s has no comment", key)
	}
	return append(indented.Bytes(), '\n')
}

type generator struct {
	comments     map[string]string // by "Type.Field"
	undocumented []string
}

func (g *generator) section(t reflect.Type, description string) object {
	var properties object
	var required []string
	for _, f := range fields(t) {
		sf := t.Field(f.goes)
		comment := g.comments[t.Name()+"."+sf.Name]
		if comment == "" {
			g.undocumented = append(g.undocumented, t.Name()+"."+sf.Name)
		}
		properties = append(properties, member{f.key, g.value(sf.Type, comment, &f.rules)})
		if f.rules.required {
			required = append(required, f.key)
		}
	}
	o := object{{"description", description}, {"type", "object"}, {"properties", properties}}
	if required != nil {
		o = append(o, member{"required", required})
	}
	if t == reflect.TypeFor[Fallback]() {
		one := make([]object, 0, 3)
		for _, key := range []string{"model", "rule", "answer"} {
			one = append(one, object{{"required", []string{key}}})
		}
		o = append(o, member{"oneOf", one}, member{"dependentRequired", map[string][]string{"version": {"model"}}})
	}
	return append(o, member{"additionalProperties", false})
}

func (g *generator) value(t reflect.Type, description string, r *rules) object {
	switch {
	case t.Kind() == reflect.Pointer:
		return g.value(t.Elem(), description, r)
	case t.Kind() == reflect.Struct:
		return g.section(t, description)
	}
	var o object
	if description != "" {
		o = object{{"description", description}}
	}
	switch {
	case t == durationType:
		o = append(o, member{"type", "string"}, member{"pattern", durationPattern})
	case t == refType:
		o = append(o, member{"oneOf", []object{{{"type", "integer"}, {"minimum", 1}},
			{{"type", "string"}, {"pattern", refPattern}}}})
	case t.Kind() == reflect.Map:
		o = append(o, member{"type", "object"}, member{"propertyNames", object{{"pattern", namePattern}}},
			member{"additionalProperties", g.value(t.Elem(), g.comments[elem(t).Name()], &rules{})})
		if r.items > 0 {
			o = append(o, member{"minProperties", r.items})
		}
	case t.Kind() == reflect.Slice:
		o = append(o, member{"type", "array"},
			member{"items", g.value(t.Elem(), g.comments[elem(t).Name()], &rules{})})
		if r.items > 0 {
			o = append(o, member{"minItems", r.items})
		}
	case t.Kind() == reflect.String:
		o = append(o, member{"type", "string"})
		o = append(o, stringRules(r)...)
	case t.Kind() == reflect.Bool:
		o = append(o, member{"type", "boolean"})
	case t.Kind() == reflect.Float64:
		o = append(o, member{"type", "number"})
	default:
		o = append(o, member{"type", "integer"})
	}
	for _, b := range []struct {
		key string
		is  *float64
	}{{"minimum", r.min}, {"maximum", r.max}, {"exclusiveMinimum", r.above}, {"exclusiveMaximum", r.below}} {
		if b.is != nil {
			o = append(o, member{b.key, *b.is})
		}
	}
	if r.initial != nil {
		v := reflect.New(t).Elem()
		setText(v, *r.initial)
		if t == durationType {
			o = append(o, member{"default", *r.initial})
		} else {
			o = append(o, member{"default", v.Interface()})
		}
	}
	return o
}

func stringRules(r *rules) object {
	switch {
	case r.enum != nil:
		return object{{"enum", r.enum}}
	case r.name:
		return object{{"pattern", namePattern}}
	case r.required:
		return object{{"minLength", 1}}
	}
	return nil
}

// elem is what a map or list holds.
func elem(t reflect.Type) reflect.Type {
	t = t.Elem()
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	return t
}

// readComments returns the comments of the package's types and their fields, on one line each.
func readComments(t *testing.T) map[string]string {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "workload.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	oneLine := func(c *ast.CommentGroup) string { return strings.Join(strings.Fields(c.Text()), " ") }
	comments := make(map[string]string)
	for _, decl := range file.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok {
			continue
		}
		for _, spec := range gen.Specs {
			ts, ok := spec.(*ast.TypeSpec)
			if !ok {
				continue
			}
			comments[ts.Name.Name] = oneLine(gen.Doc)
			if st, ok := ts.Type.(*ast.StructType); ok {
				for _, f := range st.Fields.List {
					for _, name := range f.Names {
						comments[ts.Name.Name+"."+name.Name] = oneLine(f.Doc)
					}
				}
			}
		}
	}
	return comments
}
