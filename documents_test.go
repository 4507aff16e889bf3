package stoa_test

import (
	"fmt"
	"go/ast"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Documents rot by pointing at what has moved. They cite symbols and files, and these rules follow every citation.
var documentRules = []rule{
	{"documents link to files that exist", checkLinks},
	{"documents cite symbols that exist", checkCitations},
}

var (
	linkPattern     = regexp.MustCompile(`\]\(([^)#\s]+)(?:#[^)]*)?\)`)
	citationPattern = regexp.MustCompile("`([a-z]+)\\.([A-Za-z]\\w*(?:\\.[A-Za-z]\\w*)?)(?:\\(\\))?`")
	filePattern     = regexp.MustCompile("`((?:[\\w-]+/)+[\\w-]+\\.(?:go|sh|yaml|json|md))`")
)

// documents returns the Markdown files of the tree, by name.
func (t *tree) documents() map[string]string {
	m := map[string]string{}
	_ = fs.WalkDir(t.fsys, ".", func(name string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && name != "." && t.skips(name):
			return fs.SkipDir
		case path.Ext(name) == ".md":
			text, err := fs.ReadFile(t.fsys, name)
			m[name] = string(text)
			return err
		}
		return nil
	})
	return m
}

func checkLinks(t *tree) []breach {
	var found []breach
	for name, text := range t.documents() {
		for _, match := range linkPattern.FindAllStringSubmatch(text, -1) {
			to := match[1]
			if strings.Contains(to, "://") || strings.HasPrefix(to, "mailto:") {
				continue
			}
			if _, err := fs.Stat(t.fsys, path.Join(path.Dir(name), to)); err != nil {
				found = append(found, breach{name, "links to " + to + ", which does not exist"})
			}
		}
		for _, match := range filePattern.FindAllStringSubmatch(text, -1) {
			if _, err := fs.Stat(t.fsys, match[1]); err != nil {
				found = append(found, breach{name, "names " + match[1] + ", which does not exist"})
			}
		}
	}
	return found
}

// checkCitations follows `package.Symbol` and `package.Type.Method` where the package is one of the house.
func checkCitations(t *tree) []breach {
	declared := t.declared()
	var found []breach
	for name, text := range t.documents() {
		for _, match := range citationPattern.FindAllStringSubmatch(text, -1) {
			pkg, symbol := match[1], match[2]
			symbols, house := declared[pkg]
			if house && !fileSuffix(symbol) && !slices.Contains(symbols, symbol) {
				found = append(found, breach{name, fmt.Sprintf("cites %s.%s, which is not declared", pkg, symbol)})
			}
		}
	}
	return found
}

// fileSuffix reports whether what looks like a symbol is the end of a file's name, as in `stoa.go`.
func fileSuffix(symbol string) bool {
	return slices.Contains([]string{"go", "db", "yaml", "md", "json", "onnx", "sh"}, symbol)
}

// declared returns the names that each package declares: symbols, methods and fields as Type.Name.
func (t *tree) declared() map[string][]string {
	m := map[string][]string{}
	for _, s := range t.sources {
		if s.test {
			continue
		}
		pkg := s.file.Name.Name
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				m[pkg] = append(m[pkg], receiver(d)+d.Name.Name)
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						m[pkg] = append(m[pkg], spec.Name.Name)
						if st, ok := spec.Type.(*ast.StructType); ok {
							for _, f := range st.Fields.List {
								for _, n := range f.Names {
									m[pkg] = append(m[pkg], spec.Name.Name+"."+n.Name)
								}
							}
						}
					case *ast.ValueSpec:
						for _, n := range spec.Names {
							m[pkg] = append(m[pkg], n.Name)
						}
					}
				}
			}
		}
	}
	return m
}

// receiver returns "Type." for a method and nothing for a function.
func receiver(fn *ast.FuncDecl) string {
	if fn.Recv == nil {
		return ""
	}
	name := ""
	ast.Inspect(fn.Recv.List[0].Type, func(n ast.Node) bool {
		if id, ok := n.(*ast.Ident); ok && name == "" {
			name = id.Name + "."
		}
		return name == ""
	})
	return name
}

// documentProofs show that a citation can go stale.
var documentProofs = []proof{
	{
		rule: "documents link to files that exist", name: "link",
		breach: map[string]string{"docs/a.md": "[b](b.md#part)"},
		want:   "links to b.md",
		mended: map[string]string{"docs/a.md": "[b](b.md#part), [c](https://example.com/c)", "docs/b.md": ""},
	},
	{
		rule: "documents link to files that exist", name: "file",
		breach: map[string]string{"a.md": "see `store/gone.go`"},
		want:   "names store/gone.go",
		mended: map[string]string{"a.md": "see `store/db.go`", "store/db.go": ""},
	},
	{
		rule: "documents cite symbols that exist", name: "function",
		breach: map[string]string{"a.md": "see `store.Open`", "store/s.go": "func Close() {}"},
		want:   "cites store.Open",
		mended: map[string]string{"a.md": "see `store.Open`, `time.Now`, `store.go`", "store/s.go": "func Open() {}"},
	},
	{
		rule: "documents cite symbols that exist", name: "method",
		breach: map[string]string{"a.md": "see `store.DB.Open`", "store/s.go": "type DB struct{}\nfunc (*DB) Close() {}"},
		want:   "cites store.DB.Open",
		mended: map[string]string{"a.md": "see `store.DB.Open`", "store/s.go": "type DB struct{}\nfunc (*DB) Open() {}"},
	},
}
