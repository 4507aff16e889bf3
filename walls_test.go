package stoa_test

import (
	"go/ast"
	"go/token"
	"slices"
	"strings"
)

// The walls of the house.
//
//  1. The foyer (the root package) imports the standard library only; it holds types and constants, no behaviour
//     beyond Error, Unwrap and String, and no interface wider than one method.
//  2. A room imports the foyer, store and ledger. No room imports another room, and no package its sibling.
//  3. Only app imports rooms; only cli imports app; the door imports cli only.
//  4. What a package needs from elsewhere it declares, so no interface is wider than seven methods.
//  5. Third-party imports have an allow-list per package: see thirdParty.
var wallRules = []rule{
	{"foyer holds vocabulary only", checkFoyer},
	{"house imports stay inside the walls", checkHouseImports},
	{"third-party imports are on the allow-list", checkThirdParty},
	{"interfaces are narrow", checkInterfaces},
	{"import chains are short", checkDepth},
}

// A wall says what the packages of one part of the house may import of the house. A package may always import what
// lies beneath it.
type wall struct {
	packages []string
	may      []string
	tests    []string // what its test files may import as well
}

var (
	rooms = []string{
		"reliability/...", "security/...", "cost/...", "operations/...", "performance/...", "principles/...", "review/...",
		"reliability", "security", "cost", "operations", "performance", "principles", "review", "azure/...", "kubernetes/...",
	}
	cellar = []string{"store", "store/*"}
)

// walls is read from the top; the first that matches a package holds for it.
var walls = []wall{
	{packages: []string{""}},
	{packages: []string{"store"}, may: []string{""}, tests: []string{"store/*"}},
	{packages: []string{"store/storetest"}, may: append([]string{""}, cellar...)}, // opens the engines for every suite
	{packages: []string{"store/*"}, may: []string{"", "store"}, tests: []string{"store/*"}},
	{packages: []string{"ledger"}, may: []string{"", "store"}, tests: cellar},
	{packages: rooms, may: []string{"", "store", "ledger"}, tests: cellar},
	{packages: []string{"gateway", "gateway/*"}, may: []string{""}},
	{packages: []string{"manifest"}, may: []string{""}},
	{packages: []string{"train"}, may: []string{""}, tests: []string{"performance/runtime"}},
	{packages: []string{"app"}, may: append([]string{
		"", "ledger", "gateway", "gateway/*", "manifest", "train", "console"}, append(rooms, cellar...)...),
		tests: []string{"cli"}}, // a test binary is the stoa that a retraining command names
	{packages: []string{"cli"}, may: append([]string{"", "app", "ledger", "manifest", "train"}, cellar...),
		tests: []string{"..."}},
	{packages: []string{"cli/*"}, may: []string{""}, tests: []string{"..."}},
	{packages: []string{"cmd/*"}, may: []string{"cli"}},
	{packages: []string{"console"}, may: []string{""}},
	{packages: []string{"examples/..."}}, // an example is a stranger: it speaks HTTP
	{packages: []string{"bench", "bench/..."}, may: []string{"..."}, tests: []string{"..."}},
}

// An allowance lets packages import a third-party module. Tests only, unless product is true.
type allowance struct {
	packages []string
	imports  string // an import path, with everything beneath it
	product  bool
	why      string
}

var thirdParty = []allowance{
	{[]string{"store"}, "github.com/pressly/goose/v3", true, "numbered migrations with a version table for each room"},
	{[]string{"store/sqlite"}, "modernc.org/sqlite", true, "SQLite without C"},
	{[]string{"cli/transfer"}, "modernc.org/sqlite", true, "reads the database file of an MLflow server that is moved in from"},
	{[]string{"store/sqlite"}, "golang.org/x/sys", true, "the lock on the data directory"},
	{[]string{"store/postgres"}, "github.com/jackc/pgx/v5", true, "PostgreSQL's protocol"},
	{[]string{"store/blob"}, "golang.org/x/sys", false, "a disk that is full, by a limit on the size of files"},
	{[]string{"manifest"}, "github.com/goccy/go-yaml", true, "errors with line and column"},
	{[]string{"app"}, "github.com/goccy/go-yaml", true, "reads the MLmodel file of what is registered over MLflow's wire"},
	{[]string{"manifest"}, "github.com/santhosh-tekuri/jsonschema/v6", false, "checks the examples against the schema"},
	{[]string{"train"}, "github.com/parquet-go/parquet-go", true, "reads Parquet"},
	{[]string{"operations/telemetry"}, "github.com/prometheus/client_golang", true, "the metrics format and its registry"},
	{[]string{"operations/monitor", "operations/delivery"}, "gonum.org/v1/gonum", true, "distribution functions"},
	{[]string{"cli"}, "github.com/spf13/cobra", true, "commands, flags, completion"},
	{[]string{"cli", "examples/..."}, "github.com/vbauerster/mpb/v8", true, "progress bars"},
	{[]string{"cli", "examples/..."}, "golang.org/x/term", true, "whether a terminal listens"},
	{[]string{"app", "examples/..."}, "golang.org/x/sync", true, "groups of goroutines that end together"},
	{[]string{"gateway/mlflow"}, "go.opentelemetry.io/proto/otlp", true, "the messages in which OTLP exporters send traces"},
	{[]string{"gateway/mlflow"}, "google.golang.org/protobuf", true, "decodes those messages, and writes them as JSON"},
	{[]string{"performance/runtime"}, "google.golang.org/protobuf", true, "the wire encoding of ONNX"},
	{[]string{"train"}, "google.golang.org/protobuf", true, "the wire encoding of ONNX"},
	{[]string{"cli", "examples/..."}, "github.com/rogpeppe/go-internal", false, "command-line tests as readable scripts"},
	{[]string{"..."}, "pgregory.net/rapid", false, "property tests"},
	{[]string{"..."}, "go.uber.org/goleak", false, "goroutines left behind"},
}

// checkFoyer keeps wall 1.
func checkFoyer(t *tree) []breach {
	var found []breach
	for _, s := range t.packages()[""] {
		for _, imp := range s.imports() {
			if imp.house || !standard(imp.path) {
				found = append(found, t.breach(imp.spec, "the foyer may import the standard library only, not %s", imp.path))
			}
		}
		for _, decl := range s.file.Decls {
			switch d := decl.(type) {
			case *ast.FuncDecl:
				if d.Recv == nil || !slices.Contains([]string{"Error", "Unwrap", "String"}, d.Name.Name) {
					found = append(found, t.breach(d, "%s is behaviour; the foyer holds types and constants", d.Name.Name))
				}
			case *ast.GenDecl:
				if d.Tok == token.VAR {
					found = append(found, t.breach(d, "the foyer holds no variables"))
				}
			}
		}
		for name, width := range interfaces(s) {
			if width > 1 {
				found = append(found, t.breach(name, "interface %s has %d methods; the foyer allows one", name.Name, width))
			}
		}
	}
	return found
}

// checkHouseImports keeps walls 2 and 3.
func checkHouseImports(t *tree) []breach {
	var found []breach
	for _, s := range t.sources {
		i := slices.IndexFunc(walls, func(w wall) bool { return matchesAny(w.packages, s.pkg) })
		if i < 0 {
			found = append(found, t.breach(s.file.Name, "no wall says what %s may import: give it a line in walls", s.pkg))
			continue
		}
		w := walls[i]
		for _, imp := range s.imports() {
			switch {
			case !imp.house,
				matchesAny(w.may, imp.path),
				s.test && (imp.path == s.pkg || imp.path == "" || matchesAny(w.tests, imp.path)),
				beneath(s.pkg, imp.path),
				sameExample(s.pkg, imp.path):
			default:
				found = append(found, t.breach(imp.spec, "%s must not import %s", or(s.pkg, "the foyer"), imp.path))
			}
		}
	}
	return found
}

// beneath reports whether pkg may import imp as a part of its own. A pillar's own package has no parts: the rooms
// beneath it are rooms.
func beneath(pkg, imp string) bool {
	pillar := slices.Contains(rooms, pkg)
	return pkg != "" && !pillar && strings.HasPrefix(imp, pkg+"/")
}

// sameExample reports whether two packages belong to one example, whose own affair its inside is.
func sameExample(pkg, imp string) bool {
	a, b := strings.SplitN(pkg, "/", 3), strings.SplitN(imp, "/", 3)
	return a[0] == "examples" && len(a) > 1 && len(b) > 1 && slices.Equal(a[:2], b[:2])
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// checkThirdParty keeps wall 5, in both directions: an allowance that nobody uses goes away.
func checkThirdParty(t *tree) []breach {
	var found []breach
	used := make([]bool, len(thirdParty))
	for _, s := range t.sources {
		if matches("bench/...", s.pkg) {
			continue
		}
		for _, imp := range s.imports() {
			if imp.house || standard(imp.path) {
				continue
			}
			allowed := false
			for i, a := range thirdParty {
				if (imp.path == a.imports || strings.HasPrefix(imp.path, a.imports+"/")) && matchesAny(a.packages, s.pkg) &&
					(s.test || a.product) {
					allowed, used[i] = true, true
				}
			}
			if !allowed {
				found = append(found, t.breach(imp.spec,
					"%s must not import %s; if nothing at hand does the work, give it a line with a reason in thirdParty and in "+
						"docs/dependencies.md", s.pkg, imp.path))
			}
		}
	}
	for i, a := range thirdParty {
		if !used[i] && t.has(a.packages) {
			found = append(found, breach{"walls_test.go", "nothing in " + strings.Join(a.packages, ", ") + " imports " +
				a.imports + " any more: take its line out of thirdParty"})
		}
	}
	return found
}

// has reports whether every one of the named packages is in the tree, so that small trees prove one rule at a time.
func (t *tree) has(packages []string) bool {
	for _, p := range packages {
		if p == "..." || !slices.ContainsFunc(t.sources, func(s *source) bool { return matches(p, s.pkg) }) {
			return false
		}
	}
	return true
}

// interfaces returns the interface types that a file declares, and how many methods each lists.
func interfaces(s *source) map[*ast.Ident]int {
	m := map[*ast.Ident]int{}
	ast.Inspect(s.file, func(n ast.Node) bool {
		spec, ok := n.(*ast.TypeSpec)
		if !ok {
			return true
		}
		if it, ok := spec.Type.(*ast.InterfaceType); ok {
			m[spec.Name] = it.Methods.NumFields()
		}
		return true
	})
	return m
}

// checkInterfaces keeps wall 4: past seven methods the boundary is wrong.
func checkInterfaces(t *tree) []breach {
	var found []breach
	for _, s := range t.sources {
		for name, width := range interfaces(s) {
			if width > interfaceWidth {
				found = append(found, t.breach(name, "interface %s has %d methods, more than %d",
					name.Name, width, interfaceWidth))
			}
		}
	}
	return found
}

// checkDepth bounds the longest chain of imports within the product at the six packages cmd/stoa → cli → app → a room
// → ledger → store, and the foyer beneath them all.
func checkDepth(t *tree) []breach {
	const limit = 7
	packages := t.packages()
	depth := map[string]int{}
	var measure func(pkg string) int
	measure = func(pkg string) int {
		if d, ok := depth[pkg]; ok {
			return d
		}
		deepest := 0
		for _, s := range packages[pkg] {
			for _, imp := range s.imports() {
				if imp.house && imp.path != pkg {
					deepest = max(deepest, measure(imp.path))
				}
			}
		}
		depth[pkg] = deepest + 1
		return deepest + 1
	}
	var found []breach
	for pkg, sources := range packages {
		if d := measure(pkg); d > limit {
			found = append(found, t.breach(sources[0].file.Name, "%s stands on %d packages, more than %d", pkg, d-1, limit-1))
		}
	}
	return found
}
