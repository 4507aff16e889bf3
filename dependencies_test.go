package stoa_test

import (
	"io/fs"
	"slices"
	"strings"
)

// Every direct dependency has its line in docs/dependencies.md, and go.mod says which those are.
var dependencyRules = []rule{
	{"direct dependencies are justified", checkJustified},
	{"go.mod knows what is direct", checkDirect},
}

const dependenciesFile = "docs/dependencies.md"

// checkJustified compares the modules that the product and its tests import with the rows of docs/dependencies.md.
func checkJustified(t *tree) []breach {
	var found []breach
	rows := t.justified()
	imported := t.importedModules()
	for _, m := range imported {
		if !slices.Contains(rows, m) {
			found = append(found, breach{dependenciesFile, m + " is imported and has no row here"})
		}
	}
	for _, m := range rows {
		if !slices.Contains(imported, m) {
			found = append(found, breach{dependenciesFile, m + " has a row here and is not imported"})
		}
	}
	return found
}

// checkDirect compares the modules that the tree imports with those that go.mod marks as direct.
func checkDirect(t *tree) []breach {
	var found []breach
	imported := t.importedModules()
	for m, direct := range t.required() {
		if direct != slices.Contains(imported, m) {
			state := map[bool]string{true: "marked direct and is not imported", false: "imported and is marked indirect"}[direct]
			found = append(found, breach{"go.mod", m + " is " + state + ": run go mod tidy"})
		}
	}
	return found
}

// justified returns the modules that start a row of a table in docs/dependencies.md.
func (t *tree) justified() []string {
	text, _ := fs.ReadFile(t.fsys, dependenciesFile)
	var modules []string
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "| `"); ok {
			name, _, _ := strings.Cut(rest, "`")
			modules = append(modules, name)
		}
	}
	return modules
}

// required returns the modules that go.mod requires, and whether it marks them as direct.
func (t *tree) required() map[string]bool {
	text, _ := fs.ReadFile(t.fsys, "go.mod")
	modules := map[string]bool{}
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(strings.TrimPrefix(line, "require "))
		if len(fields) >= 2 && strings.Contains(fields[0], "/") && strings.HasPrefix(fields[1], "v") {
			modules[fields[0]] = !strings.HasSuffix(strings.TrimSpace(line), "// indirect")
		}
	}
	return modules
}

// importedModules returns the modules of go.mod that some file imports, tests included, sorted.
func (t *tree) importedModules() []string {
	required := t.required()
	var modules []string
	for _, s := range t.sources {
		for _, imp := range s.imports() {
			if imp.house || standard(imp.path) {
				continue
			}
			best := ""
			for m := range required {
				if (imp.path == m || strings.HasPrefix(imp.path, m+"/")) && len(m) > len(best) {
					best = m
				}
			}
			if best != "" {
				modules = append(modules, best)
			}
		}
	}
	slices.Sort(modules)
	return slices.Compact(modules)
}

const gooseInGoMod = "module x\n\nrequire (\n\tgithub.com/pressly/goose/v3 v3.29.0\n\tmodernc.org/libc v1.0.0 // indirect\n)\n"

// dependencyProofs show that each list can fall behind the others.
var dependencyProofs = []proof{
	{
		rule: "direct dependencies are justified", name: "no row",
		breach: map[string]string{"go.mod": gooseInGoMod, "store/s.go": `import _ "github.com/pressly/goose/v3"`},
		want:   "has no row",
		mended: map[string]string{
			"go.mod": gooseInGoMod, "store/s.go": `import _ "github.com/pressly/goose/v3"`,
			dependenciesFile: "| `github.com/pressly/goose/v3` | migrations |\n",
		},
	},
	{
		rule: "direct dependencies are justified", name: "no import",
		breach: map[string]string{"go.mod": gooseInGoMod, dependenciesFile: "| `github.com/pressly/goose/v3` | migrations |\n"},
		want:   "is not imported",
		mended: map[string]string{"go.mod": gooseInGoMod},
	},
	{
		rule: "go.mod knows what is direct", name: "direct without import",
		breach: map[string]string{"go.mod": gooseInGoMod},
		want:   "goose/v3 is marked direct and is not imported",
		mended: map[string]string{"go.mod": gooseInGoMod, "store/s_test.go": `import _ "github.com/pressly/goose/v3/lock"`},
	},
	{
		rule: "go.mod knows what is direct", name: "import marked indirect",
		breach: map[string]string{"go.mod": gooseInGoMod, "store/s.go": "import (\n_ \"github.com/pressly/goose/v3\"\n_ \"modernc.org/libc\"\n)"},
		want:   "libc is imported and is marked indirect",
		mended: map[string]string{"go.mod": gooseInGoMod, "store/s.go": `import _ "github.com/pressly/goose/v3"`},
	},
}
