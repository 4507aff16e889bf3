package stoa_test

import (
	"go/ast"
	"go/token"
	"os"
	"path"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// The budgets of the house: what makes a file, a function or a package too much to review.
const (
	fileLines      = 800 // at most; past fileLinesAim the file is named in the test's log
	fileLinesAim   = 450
	functionLines  = 120
	structFields   = 20
	interfaceWidth = 7
)

var budgetRules = []rule{
	{"files fit their budget", checkFiles},
	{"functions fit their budget", checkFunctions},
	{"structs fit their budget", checkStructs},
	{"nothing runs before main", checkInit},
	{"package variables do not change", checkVariables},
	{"packages have a noun for a name", checkNames},
	{"packages are documented", checkPackageComments},
	{"exported symbols are documented", checkDocumented},
	{"tests do not sleep", checkSleeps},
}

// wideStructs may have more fields than the budget, each for a reason.
var wideStructs = map[string]string{}

// linked are the package variables that have no value in the sources because the linker gives it.
var linked = []string{"cli.version"}

// placelessNames say where code was put, not what it is.
var placelessNames = []string{"util", "utils", "common", "helper", "helpers", "manager", "types", "models", "misc", "shared"}

func checkFiles(t *tree) []breach {
	var found []breach
	for _, s := range t.sources {
		if s.lines > fileLines {
			found = append(found, breach{s.name, plural(s.lines, "line") + ", more than " + plural(fileLines, "line")})
		}
	}
	return found
}

func TestFilesAboveTheAim(t *testing.T) {
	house, err := readTree(os.DirFS("."))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range house.sources {
		if s.lines > fileLinesAim {
			t.Logf("%s has %d lines; aim for %d", s.name, s.lines, fileLinesAim)
		}
	}
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return strconv.Itoa(n) + " " + noun + "s"
}

func checkFunctions(t *tree) []breach {
	var found []breach
	for _, s := range t.sources {
		for _, decl := range s.file.Decls {
			fn, ok := decl.(*ast.FuncDecl)
			if !ok {
				continue
			}
			lines := t.fset.Position(fn.End()).Line - t.fset.Position(fn.Pos()).Line + 1
			if lines > functionLines {
				found = append(found, t.breach(fn, "%s has %d lines, more than %d", fn.Name.Name, lines, functionLines))
			}
		}
	}
	return found
}

func checkStructs(t *tree) []breach {
	var found []breach
	for _, s := range t.sources {
		ast.Inspect(s.file, func(n ast.Node) bool {
			spec, ok := n.(*ast.TypeSpec)
			if !ok {
				return true
			}
			st, ok := spec.Type.(*ast.StructType)
			if !ok || st.Fields.NumFields() <= structFields || wideStructs[s.pkg+"."+spec.Name.Name] != "" {
				return true
			}
			found = append(found, t.breach(spec, "struct %s has %d fields, more than %d",
				spec.Name.Name, st.Fields.NumFields(), structFields))
			return true
		})
	}
	return found
}

func checkInit(t *tree) []breach {
	var found []breach
	for _, s := range t.sources {
		for _, decl := range s.file.Decls {
			if fn, ok := decl.(*ast.FuncDecl); ok && fn.Recv == nil && fn.Name.Name == "init" {
				found = append(found, t.breach(fn, "init makes behaviour depend on import order; call it by name from main"))
			}
		}
	}
	return found
}

// checkVariables finds package-level state. A variable of a package is a name for a value that nobody changes: an error,
// an embedded file, a compiled pattern, a table. So it has a value from the start, of a kind that does not change by
// itself (a mutex, a pool, an atomic, a channel do), and nothing in its package assigns to it or takes its address.
func checkVariables(t *tree) []breach {
	var found []breach
	for _, sources := range t.byPackage() {
		vars := map[string]*ast.Ident{}
		for _, s := range sources {
			if s.test {
				continue
			}
			for _, v := range packageVars(s.file) {
				if v.name.Name == "_" || v.embedded || slices.Contains(linked, s.pkg+"."+v.name.Name) {
					continue
				}
				if why := changeable(v); why != "" {
					found = append(found, t.breach(v.name, "package variable %s %s", v.name.Name, why))
				}
				vars[v.name.Name] = v.name
			}
		}
		for _, s := range sources {
			for _, w := range writes(s.file) {
				if v, ok := vars[w.name.Name]; ok && refersTo(s.file, w.name, v) {
					found = append(found, t.breach(w.name, "package variable %s %s", w.name.Name, w.how))
				}
			}
		}
	}
	return found
}

// byPackage returns all files by directory and package clause, so that external tests stand apart.
func (t *tree) byPackage() map[[2]string][]*source {
	m := map[[2]string][]*source{}
	for _, s := range t.sources {
		k := [2]string{s.pkg, s.file.Name.Name}
		m[k] = append(m[k], s)
	}
	return m
}

type packageVar struct {
	name     *ast.Ident
	typ      ast.Expr
	value    ast.Expr // nil when there is none
	embedded bool
}

func packageVars(f *ast.File) []packageVar {
	var vars []packageVar
	for _, decl := range f.Decls {
		gen, ok := decl.(*ast.GenDecl)
		if !ok || gen.Tok != token.VAR {
			continue
		}
		for _, s := range gen.Specs {
			spec := s.(*ast.ValueSpec)
			embedded := hasEmbed(gen.Doc) || hasEmbed(spec.Doc)
			for i, name := range spec.Names {
				v := packageVar{name: name, typ: spec.Type, embedded: embedded}
				switch {
				case len(spec.Values) == len(spec.Names):
					v.value = spec.Values[i]
				case len(spec.Values) == 1:
					v.value = spec.Values[0]
				}
				vars = append(vars, v)
			}
		}
	}
	return vars
}

func hasEmbed(doc *ast.CommentGroup) bool {
	return doc != nil && slices.ContainsFunc(doc.List, func(c *ast.Comment) bool {
		return strings.HasPrefix(c.Text, "//go:embed ")
	})
}

// pureCalls make values that do not change, whatever is called on them.
var pureCalls = []string{
	"errors.New", "fmt.Errorf", "regexp.MustCompile", "template.Must", "strings.NewReplacer", "crc32.MakeTable",
	"reflect.TypeOf", "reflect.TypeFor", "math.Log", "math.Sqrt", "math.Inf", "math.NaN", "big.NewInt", "time.Date",
}

// changeable says why a package variable may change, or nothing.
func changeable(v packageVar) string {
	if living(v.typ) {
		return "is of a type that lives by changing"
	}
	switch value := v.value.(type) {
	case nil:
		return "has no value from the start, so something sets it later"
	case *ast.UnaryExpr:
		if lit, ok := value.X.(*ast.CompositeLit); ok && value.Op == token.AND && living(lit.Type) {
			return "is of a type that lives by changing"
		}
	case *ast.CompositeLit:
		if living(value.Type) {
			return "is of a type that lives by changing"
		}
	case *ast.CallExpr:
		switch fun := value.Fun.(type) {
		case *ast.SelectorExpr:
			pkg, ok := fun.X.(*ast.Ident)
			if ok && pkg.Obj == nil && !slices.Contains(pureCalls, pkg.Name+"."+fun.Sel.Name) && !conversion(fun) {
				return "comes from " + pkg.Name + "." + fun.Sel.Name + ", which is not known to make constant values"
			}
		case *ast.Ident:
			if fun.Name == "make" || fun.Name == "new" {
				return "is made empty, so something fills it later"
			}
		}
	}
	return ""
}

// conversion reports whether a call's function is surely a type: time.Duration(3) and the like.
func conversion(fun *ast.SelectorExpr) bool {
	return slices.Contains([]string{"Duration", "RawMessage", "HandlerFunc", "Month"}, fun.Sel.Name)
}

// living reports whether a type is from sync, sync/atomic or is a channel.
func living(typ ast.Expr) bool {
	switch x := typ.(type) {
	case *ast.SelectorExpr:
		pkg, ok := x.X.(*ast.Ident)
		return ok && (pkg.Name == "sync" || pkg.Name == "atomic")
	case *ast.IndexExpr:
		return living(x.X)
	case *ast.StarExpr:
		return living(x.X)
	case *ast.ChanType:
		return true
	}
	return false
}

type write struct {
	name *ast.Ident
	how  string
}

// writes returns the identifiers at the root of everything that f assigns to, counts up, takes the address of, deletes
// from or clears.
func writes(f *ast.File) []write {
	var all []write
	add := func(x ast.Expr, how string) {
		if name := root(x); name != nil {
			all = append(all, write{name, how})
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.AssignStmt:
			if n.Tok != token.DEFINE {
				for _, x := range n.Lhs {
					add(x, "is assigned to")
				}
			}
		case *ast.IncDecStmt:
			add(n.X, "is counted")
		case *ast.RangeStmt:
			if n.Tok == token.ASSIGN {
				add(n.Key, "is assigned to")
				add(n.Value, "is assigned to")
			}
		case *ast.UnaryExpr:
			if n.Op == token.AND {
				add(n.X, "has its address taken")
			}
		case *ast.CallExpr:
			if fun, ok := n.Fun.(*ast.Ident); ok && len(n.Args) > 0 && (fun.Name == "delete" || fun.Name == "clear") {
				add(n.Args[0], "is emptied")
			}
		}
		return true
	})
	return all
}

// root returns the variable that x is a part of: v for v, v.f, v[i] and *v.
func root(x ast.Expr) *ast.Ident {
	switch x := x.(type) {
	case *ast.Ident:
		return x
	case *ast.SelectorExpr:
		return root(x.X)
	case *ast.IndexExpr:
		return root(x.X)
	case *ast.StarExpr:
		return root(x.X)
	case *ast.ParenExpr:
		return root(x.X)
	}
	return nil
}

// refersTo reports whether a use in f is of the package variable v, and not of something local with the same name: the
// parser resolves what is declared in the same file and lists the rest.
func refersTo(f *ast.File, use, v *ast.Ident) bool {
	if use.Obj != nil {
		return use.Obj == v.Obj
	}
	return slices.Contains(f.Unresolved, use)
}

func checkNames(t *tree) []breach {
	var found []breach
	for pkg, sources := range t.packages() {
		if slices.Contains(placelessNames, path.Base(pkg)) {
			found = append(found, t.breach(sources[0].file.Name, "%s says where code was put, not what it is", pkg))
		}
	}
	return found
}

func checkPackageComments(t *tree) []breach {
	var found []breach
	for pkg, sources := range t.packages() {
		if !slices.ContainsFunc(sources, func(s *source) bool { return s.file.Doc.Text() != "" }) {
			found = append(found, t.breach(sources[0].file.Name, "%s has no package comment; it is the package's design", pkg))
		}
	}
	return found
}

// checkDocumented wants a comment on every exported function, type, constant and variable, and on every exported method
// of an exported type. One comment may stand for a group of constants or variables, or at the end of their line.
func checkDocumented(t *tree) []breach {
	var found []breach
	missing := func(at ast.Node, name string) {
		found = append(found, t.breach(at, "%s is exported and has no comment", name))
	}
	for _, s := range t.sources {
		if s.test || s.file.Name.Name == "main" {
			continue
		}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Name.IsExported() && d.Doc.Text() == "" && exportedReceiver(d) {
					missing(d, d.Name.Name)
				}
			case *ast.GenDecl:
				for _, spec := range d.Specs {
					switch spec := spec.(type) {
					case *ast.TypeSpec:
						if spec.Name.IsExported() && d.Doc.Text() == "" && spec.Doc.Text() == "" && spec.Comment.Text() == "" {
							missing(spec, spec.Name.Name)
						}
					case *ast.ValueSpec:
						if spec.Names[0].IsExported() && d.Doc.Text() == "" && spec.Doc.Text() == "" && spec.Comment.Text() == "" {
							missing(spec, spec.Names[0].Name)
						}
					}
				}
			}
		}
	}
	return found
}

func exportedReceiver(fn *ast.FuncDecl) bool {
	if fn.Recv == nil {
		return true
	}
	typ := fn.Recv.List[0].Type
	for {
		switch x := typ.(type) {
		case *ast.StarExpr:
			typ = x.X
		case *ast.IndexExpr:
			typ = x.X
		case *ast.Ident:
			return x.IsExported()
		default:
			return false
		}
	}
}

// checkSleeps finds tests that wait for the clock. Inside synctest.Test the clock is the test's own, and sleeping is how
// it moves.
func checkSleeps(t *tree) []breach {
	var found []breach
	for _, s := range t.sources {
		if !s.test {
			continue
		}
		ast.Inspect(s.file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok {
				return true
			}
			if selects(call.Fun, "synctest", "Test") {
				return false
			}
			if selects(call.Fun, "time", "Sleep") {
				found = append(found, t.breach(call, "time.Sleep in a test: use testing/synctest or a channel"))
			}
			return true
		})
	}
	return found
}

func selects(x ast.Expr, pkg, name string) bool {
	sel, ok := x.(*ast.SelectorExpr)
	if !ok || sel.Sel.Name != name {
		return false
	}
	id, ok := sel.X.(*ast.Ident)
	return ok && id.Name == pkg
}
