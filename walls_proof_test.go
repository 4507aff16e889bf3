package stoa_test

// wallProofs show that each wall can be breached and mended.
var wallProofs = []proof{
	{
		rule: "foyer holds vocabulary only", name: "third party",
		breach: map[string]string{"stoa.go": `import _ "golang.org/x/sync/errgroup"`},
		want:   "standard library only",
		mended: map[string]string{"stoa.go": `import _ "context"`},
	},
	{
		rule: "foyer holds vocabulary only", name: "a room",
		breach: map[string]string{"stoa.go": `import _ "github.com/stoaproject/stoa/store"`},
		want:   "not store",
		mended: map[string]string{"stoa.go": `import _ "time"`},
	},
	{
		rule: "foyer holds vocabulary only", name: "function",
		breach: map[string]string{"stoa.go": "func Do() {}"},
		want:   "Do is behaviour",
		mended: map[string]string{"stoa.go": "type E int\nfunc (E) Error() string { return `` }", "a_test.go": "func Do() {}"},
	},
	{
		rule: "foyer holds vocabulary only", name: "method",
		breach: map[string]string{"stoa.go": "type T int\nfunc (T) Do() {}"},
		want:   "Do is behaviour",
		mended: map[string]string{"stoa.go": "type T int\nfunc (T) String() string { return `` }"},
	},
	{
		rule: "foyer holds vocabulary only", name: "variable",
		breach: map[string]string{"stoa.go": "var x = 1"},
		want:   "no variables",
		mended: map[string]string{"stoa.go": "const x = 1"},
	},
	{
		rule: "foyer holds vocabulary only", name: "wide interface",
		breach: map[string]string{"stoa.go": "type I interface { A(); B() }"},
		want:   "has 2 methods",
		mended: map[string]string{"stoa.go": "type I interface { A() }"},
	},
	{
		rule: "house imports stay inside the walls", name: "room to room",
		breach: map[string]string{"cost/meter/m.go": `import _ "github.com/stoaproject/stoa/security/access"`},
		want:   "cost/meter must not import security/access",
		mended: map[string]string{"cost/meter/m.go": `import ( _ "github.com/stoaproject/stoa"; _ "github.com/stoaproject/stoa/ledger" )`},
	},
	{
		rule: "house imports stay inside the walls", name: "sibling",
		breach: map[string]string{"operations/monitor/m.go": `import _ "github.com/stoaproject/stoa/operations/delivery"`},
		want:   "operations/monitor must not import operations/delivery",
		mended: map[string]string{"operations/monitor/m.go": `import _ "github.com/stoaproject/stoa/operations/monitor/inner"`},
	},
	{
		rule: "house imports stay inside the walls", name: "pillar to its room",
		breach: map[string]string{"operations/o.go": `import _ "github.com/stoaproject/stoa/operations/monitor"`},
		want:   "operations must not import operations/monitor",
		mended: map[string]string{"operations/o.go": `import _ "github.com/stoaproject/stoa"`},
	},
	{
		rule: "house imports stay inside the walls", name: "room to driver, except in tests",
		breach: map[string]string{"cost/meter/m.go": `import _ "github.com/stoaproject/stoa/store/sqlite"`},
		want:   "must not import store/sqlite",
		mended: map[string]string{"cost/meter/m_test.go": `import _ "github.com/stoaproject/stoa/store/sqlite"`},
	},
	{
		rule: "house imports stay inside the walls", name: "a room's test to another room",
		breach: map[string]string{"cost/meter/m_test.go": `import _ "github.com/stoaproject/stoa/security/access"`},
		want:   "must not import security/access",
		mended: map[string]string{"cost/meter/m_test.go": `import _ "github.com/stoaproject/stoa/cost/meter"`},
	},
	{
		rule: "house imports stay inside the walls", name: "command line to room",
		breach: map[string]string{"cli/c.go": `import _ "github.com/stoaproject/stoa/reliability/registry"`},
		want:   "cli must not import reliability/registry",
		mended: map[string]string{"cli/c.go": `import _ "github.com/stoaproject/stoa/app"`},
	},
	{
		rule: "house imports stay inside the walls", name: "room to app",
		breach: map[string]string{"train/t.go": `import _ "github.com/stoaproject/stoa/app"`},
		want:   "train must not import app",
		mended: map[string]string{"app/a.go": `import _ "github.com/stoaproject/stoa/train"`},
	},
	{
		rule: "house imports stay inside the walls", name: "the door past the command line",
		breach: map[string]string{"cmd/stoa/main.go": `import _ "github.com/stoaproject/stoa/app"`},
		want:   "cmd/stoa must not import app",
		mended: map[string]string{"cmd/stoa/main.go": `import _ "github.com/stoaproject/stoa/cli"`},
	},
	{
		rule: "house imports stay inside the walls", name: "an example past HTTP",
		breach: map[string]string{"examples/electricity/replay/main.go": `import _ "github.com/stoaproject/stoa"`},
		want:   "must not import",
		mended: map[string]string{"examples/electricity/replay/main.go": `import _ "github.com/stoaproject/stoa/examples/electricity"`},
	},
	{
		rule: "house imports stay inside the walls", name: "one example to another",
		breach: map[string]string{"examples/electricity/replay/main.go": `import _ "github.com/stoaproject/stoa/examples/flights"`},
		want:   "must not import examples/flights",
		mended: map[string]string{"examples/electricity/replay/main.go": `import _ "net/http"`},
	},
	{
		rule: "house imports stay inside the walls", name: "a package without a wall",
		breach: map[string]string{"elsewhere/e.go": ""},
		want:   "no wall says what elsewhere may import",
		mended: map[string]string{"bench/gateway/e.go": `import _ "github.com/stoaproject/stoa/app"`},
	},
	{
		rule: "third-party imports are on the allow-list", name: "unknown module",
		breach: map[string]string{"cost/meter/m.go": `import _ "example.com/money"`},
		want:   "cost/meter must not import example.com/money",
		mended: map[string]string{"cost/meter/m.go": `import _ "math/big"`},
	},
	{
		rule: "third-party imports are on the allow-list", name: "known module in another package",
		breach: map[string]string{"cost/meter/m.go": `import _ "modernc.org/sqlite"`},
		want:   "cost/meter must not import modernc.org/sqlite",
		mended: map[string]string{"cost/meter/m_test.go": `import _ "pgregory.net/rapid"`},
	},
	{
		rule: "third-party imports are on the allow-list", name: "a test's module in the product",
		breach: map[string]string{"cost/meter/m.go": `import _ "pgregory.net/rapid"`},
		want:   "cost/meter must not import pgregory.net/rapid",
		mended: map[string]string{"cost/meter/m_test.go": `import _ "go.uber.org/goleak"`},
	},
	{
		rule: "third-party imports are on the allow-list", name: "an allowance without use",
		breach: map[string]string{"store/s.go": ``},
		want:   "take its line out",
		mended: map[string]string{"store/s.go": `import _ "github.com/pressly/goose/v3"`},
	},
	{
		rule: "interfaces are narrow", name: "eight methods",
		breach: map[string]string{"store/s.go": "type I interface { A(); B(); C(); D(); E(); F(); G(); H() }"},
		want:   "has 8 methods",
		mended: map[string]string{"store/s.go": "type I interface { A(); B(); C(); D(); E(); F(); G() }"},
	},
	{
		rule: "import chains are short", name: "eight deep",
		breach: chain(8),
		want:   "stands on 7 packages",
		mended: chain(7),
	},
}

// chain makes a tree of n packages that import one another in a row.
func chain(n int) map[string]string {
	m := map[string]string{}
	for i := range n {
		text := ""
		if i+1 < n {
			text = `import _ "github.com/stoaproject/stoa/p` + string(rune('a'+i+1)) + `"`
		}
		m["p"+string(rune('a'+i))+"/p.go"] = text
	}
	return m
}
