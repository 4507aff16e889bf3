package stoa_test

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
)

// The tests of the house read its sources and nothing else. They parse in-process on purpose: a check that runs
// `go list` passes from the test cache, which does not see the files that a subprocess reads.

const module = "github.com/stoaproject/stoa"

// A source is one parsed Go file.
type source struct {
	name  string // slash-separated path from the root: "store/tx.go"
	pkg   string // directory of name, "" for the root: "store"
	test  bool
	lines int
	file  *ast.File
}

// A tree is every Go file of the module, with the other text files that rules read.
type tree struct {
	fsys    fs.FS
	fset    *token.FileSet
	sources []*source
}

// A breach is one place where a rule does not hold.
type breach struct{ at, what string }

func (b breach) String() string { return b.at + ": " + b.what }

// readTree parses the Go files of fsys. It leaves out test data, hidden and built directories, and nested modules.
func readTree(fsys fs.FS) (*tree, error) {
	t := &tree{fsys: fsys, fset: token.NewFileSet()}
	err := fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name != "." && t.skips(name) {
				return fs.SkipDir
			}
			return nil
		}
		if path.Ext(name) != ".go" {
			return nil
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return err
		}
		file, err := parser.ParseFile(t.fset, name, src, parser.ParseComments)
		if err != nil {
			return err
		}
		t.sources = append(t.sources, &source{
			name:  name,
			pkg:   strings.TrimPrefix(path.Dir(name), "."),
			test:  strings.HasSuffix(name, "_test.go"),
			lines: bytes.Count(src, []byte("\n")),
			file:  file,
		})
		return nil
	})
	return t, err
}

func (t *tree) skips(dir string) bool {
	base := path.Base(dir)
	if strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") ||
		slices.Contains([]string{"testdata", "bin", "dist", "vendor"}, base) {
		return true
	}
	_, err := fs.Stat(t.fsys, path.Join(dir, "go.mod"))
	return err == nil
}

func (t *tree) breach(at ast.Node, format string, args ...any) breach {
	p := t.fset.Position(at.Pos())
	return breach{fmt.Sprintf("%s:%d", p.Filename, p.Line), fmt.Sprintf(format, args...)}
}

// packages returns the product's files (without tests) by package.
func (t *tree) packages() map[string][]*source {
	m := map[string][]*source{}
	for _, s := range t.sources {
		if !s.test {
			m[s.pkg] = append(m[s.pkg], s)
		}
	}
	return m
}

// An imported is one import declaration. House is true when path is a package of this module, given from the root.
type imported struct {
	spec  *ast.ImportSpec
	path  string
	house bool
}

func (s *source) imports() []imported {
	var all []imported
	for _, spec := range s.file.Imports {
		p, _ := strconv.Unquote(spec.Path.Value)
		switch {
		case p == module:
			all = append(all, imported{spec, "", true})
		case strings.HasPrefix(p, module+"/"):
			all = append(all, imported{spec, strings.TrimPrefix(p, module+"/"), true})
		default:
			all = append(all, imported{spec, p, false})
		}
	}
	return all
}

// standard reports whether an import path is the standard library's: those have no dot in their first element.
func standard(p string) bool {
	first, _, _ := strings.Cut(p, "/")
	return !strings.Contains(first, ".")
}

// matches reports whether pkg is what pattern says: a path; a path whose elements may be *; or one that ends in /...,
// for everything beneath it.
func matches(pattern, pkg string) bool {
	if pattern == "..." {
		return true
	}
	if base, ok := strings.CutSuffix(pattern, "/..."); ok {
		depth := strings.Count(base, "/") + 1
		parts := strings.Split(pkg, "/")
		return len(parts) > depth && matches(base, strings.Join(parts[:depth], "/"))
	}
	ok, err := path.Match(pattern, pkg)
	return err == nil && ok
}

func matchesAny(patterns []string, pkg string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return matches(p, pkg) })
}

// A rule finds its breaches in a tree.
type rule struct {
	name  string
	check func(*tree) []breach
}

var rules = slices.Concat(wallRules, budgetRules, dependencyRules, documentRules)

func TestHouse(t *testing.T) {
	house, err := readTree(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rules {
		t.Run(r.name, func(t *testing.T) {
			for _, b := range r.check(house) {
				t.Error(b)
			}
		})
	}
}

// A proof is a small tree that breaks one rule, and the same tree mended. A check that cannot fail is a defect.
type proof struct {
	rule   string
	name   string
	breach map[string]string // file name to text
	want   string            // part of the breach's text
	mended map[string]string
}

var proofs = slices.Concat(wallProofs, budgetProofs, dependencyProofs, documentProofs)

func TestRulesFindBreaches(t *testing.T) {
	for _, p := range proofs {
		t.Run(p.rule+"/"+p.name, func(t *testing.T) {
			i := slices.IndexFunc(rules, func(r rule) bool { return r.name == p.rule })
			if i < 0 {
				t.Fatalf("no rule is called %q", p.rule)
			}
			found := rules[i].check(inMemory(t, p.breach))
			if len(found) == 0 || !strings.Contains(fmt.Sprint(found), p.want) {
				t.Errorf("found %v, want a breach that says %q", found, p.want)
			}
			for _, b := range rules[i].check(inMemory(t, p.mended)) {
				t.Errorf("after mending: %v", b)
			}
		})
	}
}

func TestEveryRuleIsProven(t *testing.T) {
	for _, r := range rules {
		if !slices.ContainsFunc(proofs, func(p proof) bool { return p.rule == r.name }) {
			t.Errorf("no proof shows that the rule %q can fail", r.name)
		}
	}
}

func inMemory(t *testing.T, files map[string]string) *tree {
	t.Helper()
	m := fstest.MapFS{}
	for name, text := range files {
		if path.Ext(name) == ".go" && !strings.Contains(text, "package ") {
			pkg := path.Base(path.Dir(name))
			if pkg == "." {
				pkg = "stoa"
			}
			text = "package " + pkg + "\n" + text
		}
		m[name] = &fstest.MapFile{Data: []byte(text)}
	}
	house, err := readTree(m)
	if err != nil {
		t.Fatal(err)
	}
	return house
}

func TestMatches(t *testing.T) {
	for _, c := range []struct {
		pattern, pkg string
		want         bool
	}{
		{"store", "store", true},
		{"store", "store/sqlite", false},
		{"store/*", "store/sqlite", true},
		{"store/*", "store/sqlite/inner", false},
		{"store/...", "store/sqlite/inner", true},
		{"store/...", "store", false},
		{"bench/*/...", "bench/onnxruntime/inner", true},
		{"bench/*/...", "bench/onnxruntime", false},
		{"", "", true},
		{"", "store", false},
		{"...", "anything/at/all", true},
	} {
		if got := matches(c.pattern, c.pkg); got != c.want {
			t.Errorf("matches(%q, %q) = %v, want %v", c.pattern, c.pkg, got, c.want)
		}
	}
}
