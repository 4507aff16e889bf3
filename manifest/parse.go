package manifest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/lexer"
	"github.com/goccy/go-yaml/parser"
	"github.com/goccy/go-yaml/token"
)

// The bounds on a source.
const (
	maxBytes  = 256 << 10
	maxDepth  = 32  // nested flow collections
	maxColumn = 256 // of a key or an item, which bounds how deep blocks nest
	maxErrors = 100 // reported at once
)

// Load reads the workload file at path, with defaults filled in and Dir set. An error about the file's content is made
// of [*Error], see [Errors].
func Load(path string) (*Workload, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	} else if info.IsDir() {
		return nil, fmt.Errorf("manifest: %s is a directory: name the workload file in it", path)
	}
	src, err := io.ReadAll(io.LimitReader(f, maxBytes+1))
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("manifest: %w", err)
	}
	return parse(path, filepath.Dir(abs), src)
}

// Parse reads a workload file from src, with defaults filled in; name stands for the file in errors. Paths are not
// looked up.
func Parse(name string, src []byte) (*Workload, error) {
	return parse(name, "", src)
}

func parse(name, dir string, src []byte) (*Workload, error) {
	d := &decoder{file: name, at: make(map[string]*token.Token)}
	w := d.workload(dir, src)
	if len(d.errs) == 0 {
		return w, nil
	}
	if len(d.errs) > maxErrors {
		last := d.errs[len(d.errs)-1]
		d.errs = append(d.errs[:maxErrors:maxErrors], &Error{File: name, Line: last.Line, Column: last.Column,
			Message: fmt.Sprintf("and %d more errors", len(d.errs)-maxErrors)})
	}
	return nil, join(d.errs)
}

// workload does the four steps; what it returns counts only when no error was reported.
func (d *decoder) workload(dir string, src []byte) *Workload {
	root := d.nodes(src)
	if root == nil {
		return nil
	}
	w := &Workload{Dir: dir}
	v := reflect.ValueOf(w).Elem()
	initialise(v)
	d.section(root, v, "")
	fill(w)
	d.check(w)
	return w
}

// nodes measures and parses src. It returns nil after it reported an error.
func (d *decoder) nodes(src []byte) (root ast.Node) {
	switch {
	case len(src) > maxBytes:
		d.report(nil, "", "the file is larger than %d bytes", maxBytes)
		return nil
	case !utf8.Valid(src):
		d.report(nil, "save it as UTF-8", "the file is not UTF-8")
		return nil
	case bytes.IndexByte(src, 0) >= 0:
		d.report(nil, "", "the file has NUL bytes")
		return nil
	}
	// The parser is a third party's, and the file may be anyone's: a panic in it is an error in the file.
	defer func() {
		if r := recover(); r != nil {
			d.report(nil, "", "the file is not YAML that can be read: %v", r)
			root = nil
		}
	}()
	src = bytes.TrimPrefix(src, []byte("\uFEFF")) // the mark that some editors put first
	tokens := lexer.Tokenize(string(src))
	if !d.measure(tokens) {
		return nil
	}
	file, err := parser.Parse(tokens, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		d.syntax(err)
		return nil
	}
	var bodies []ast.Node
	for _, doc := range file.Docs {
		if doc.Body != nil {
			bodies = append(bodies, doc.Body)
		}
	}
	switch len(bodies) {
	case 0:
		d.report(nil, `begin with "name:", or run "stoa init" for an example`, "the file is empty")
		return nil
	case 1:
		return bodies[0]
	}
	d.report(bodies[1].GetToken(), "write one workload per file", "the file has more than one document")
	return nil
}

// syntax reports an error of the parser.
func (d *decoder) syntax(err error) {
	var known yaml.Error
	if errors.As(err, &known) {
		d.report(known.GetToken(), "", "not YAML: %s", known.GetMessage())
		return
	}
	message, _, _ := strings.Cut(err.Error(), "\n")
	d.report(nil, "", "not YAML: %s", message)
}

// measure reports nesting that is too deep and the parts of YAML that a workload file does not have. It works on tokens,
// because the parser recurses with the nesting and an alias may expand to any size.
func (d *decoder) measure(tokens token.Tokens) bool {
	before, depth := len(d.errs), 0
	for _, t := range tokens {
		switch t.Type {
		case token.AnchorType, token.AliasType:
			d.report(t, "write the value out where it is used", "anchors and aliases are not part of a workload file")
		case token.MergeKeyType:
			d.report(t, "write the keys out where they are used", "merge keys are not part of a workload file")
		case token.TagType:
			d.report(t, "leave the tag out", "tags are not part of a workload file")
		case token.DirectiveType:
			d.report(t, "leave it out", "directives are not part of a workload file")
		case token.MappingKeyType:
			d.report(t, `write "key: value"`, "the long form of keys is not part of a workload file")
		case token.InvalidType:
			d.report(t, "", "not YAML: %s", t.Error)
		case token.MappingStartType, token.SequenceStartType:
			depth++
			if depth == maxDepth+1 {
				d.report(t, "", "nested more than %d deep", maxDepth)
			}
		case token.MappingEndType, token.SequenceEndType:
			depth--
		case token.MappingValueType, token.SequenceEntryType:
			if depth <= 0 && t.Position.Column > maxColumn {
				d.report(t, "", "nested too deep, or a key too long: it ends beyond column %d", maxColumn)
			}
		}
		if len(d.errs)-before > maxErrors {
			break
		}
	}
	return len(d.errs) == before
}
