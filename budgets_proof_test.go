package stoa_test

import "strings"

// budgetProofs show that each budget can be exceeded and met.
var budgetProofs = []proof{
	{
		rule: "files fit their budget", name: "801 lines",
		breach: map[string]string{"store/s.go": strings.Repeat("\n", 800)},
		want:   "801 lines",
		mended: map[string]string{"store/s.go": strings.Repeat("\n", 799)},
	},
	{
		rule: "functions fit their budget", name: "121 lines",
		breach: map[string]string{"store/s.go": "func f() {" + strings.Repeat("\n", 120) + "}"},
		want:   "f has 121 lines",
		mended: map[string]string{"store/s.go": "func f() {" + strings.Repeat("\n", 119) + "}"},
	},
	{
		rule: "structs fit their budget", name: "21 fields",
		breach: map[string]string{"store/s.go": "type T struct { a, b int\n" + strings.Repeat("_ int\n", 19) + "}"},
		want:   "struct T has 21 fields",
		mended: map[string]string{"store/s.go": "type T struct { a, b int\n" + strings.Repeat("_ int\n", 18) + "}"},
	},
	{
		rule: "nothing runs before main", name: "init",
		breach: map[string]string{"store/s.go": "func init() {}"},
		want:   "init makes",
		mended: map[string]string{"store/s.go": "type t int\nfunc (t) init() {}"},
	},
	{
		rule: "package variables do not change", name: "without a value",
		breach: map[string]string{"store/s.go": "var count int"},
		want:   "no value from the start",
		mended: map[string]string{"store/s.go": "import \"errors\"\nvar errFull = errors.New(`full`)\nvar _ error = errFull"},
	},
	{
		rule: "package variables do not change", name: "mutex",
		breach: map[string]string{"store/s.go": "import \"sync\"\nvar mu = sync.Mutex{}"},
		want:   "lives by changing",
		mended: map[string]string{"store/s.go": "import \"regexp\"\nvar digits = regexp.MustCompile(`[0-9]`)"},
	},
	{
		rule: "package variables do not change", name: "pointer to a pool, atomic, channel",
		breach: map[string]string{"store/s.go": "import \"sync\"\nvar pool = &sync.Pool{}"},
		want:   "lives by changing",
		mended: map[string]string{"store/s.go": "type t struct{}\nvar zero = &t{}"},
	},
	{
		rule: "package variables do not change", name: "typed atomic",
		breach: map[string]string{"store/s.go": "import \"sync/atomic\"\nvar now atomic.Pointer[int]"},
		want:   "lives by changing",
		mended: map[string]string{"store/s.go": "var now = 3"},
	},
	{
		rule: "package variables do not change", name: "a client from elsewhere",
		breach: map[string]string{"store/s.go": "import \"prometheus\"\nvar calls = prometheus.NewCounter()"},
		want:   "comes from prometheus.NewCounter",
		mended: map[string]string{"store/s.go": "import \"time\"\nvar wait = time.Duration(3)"},
	},
	{
		rule: "package variables do not change", name: "filled later",
		breach: map[string]string{"store/s.go": "var known = make(map[string]int)"},
		want:   "is made empty",
		mended: map[string]string{"store/s.go": "var known = map[string]int{`a`: 1}"},
	},
	{
		rule: "package variables do not change", name: "element assigned in another file",
		breach: map[string]string{
			"store/a.go": "var known = map[string]int{}",
			"store/b.go": "func f() { known[`a`] = 1 }",
		},
		want: "is assigned to",
		mended: map[string]string{
			"store/a.go": "var known = map[string]int{}",
			"store/b.go": "func f() { known := map[string]int{}; known[`a`] = 1 }",
		},
	},
	{
		rule: "package variables do not change", name: "field assigned by a test",
		breach: map[string]string{
			"store/a.go":      "var limits = struct{ n int }{1}",
			"store/a_test.go": "func f() { limits.n++ }",
		},
		want: "is counted",
		mended: map[string]string{
			"store/a.go":      "var limits = struct{ n int }{1}",
			"store/a_test.go": "func f(limits struct{ n int }) { limits.n++ }",
		},
	},
	{
		rule: "package variables do not change", name: "address taken",
		breach: map[string]string{"store/s.go": "var level = 1\nfunc f() *int { return &level }"},
		want:   "has its address taken",
		mended: map[string]string{"store/s.go": "var level = 1\nfunc f() *int { l := level; return &l }"},
	},
	{
		rule: "package variables do not change", name: "emptied",
		breach: map[string]string{"store/s.go": "var known = map[int]int{}\nfunc f() { clear(known) }"},
		want:   "is emptied",
		mended: map[string]string{"store/s.go": "// x\n//\n//go:embed *.sql\nvar files int"},
	},
	{
		rule: "packages have a noun for a name", name: "util",
		breach: map[string]string{"store/util/u.go": ""},
		want:   "says where code was put",
		mended: map[string]string{"store/blob/u.go": ""},
	},
	{
		rule: "packages are documented", name: "no comment",
		breach: map[string]string{"store/s.go": "", "store/s_test.go": "// Package store is not documented by its test.\npackage store"},
		want:   "no package comment",
		mended: map[string]string{"store/s.go": "// Package store keeps.\npackage store", "store/t.go": ""},
	},
	{
		rule: "exported symbols are documented", name: "function",
		breach: map[string]string{"store/s.go": "func Open() {}"},
		want:   "Open is exported",
		mended: map[string]string{"store/s.go": "// Open opens.\nfunc Open() {}\nfunc shut() {}"},
	},
	{
		rule: "exported symbols are documented", name: "method",
		breach: map[string]string{"store/s.go": "// DB is.\ntype DB[T any] struct{}\nfunc (*DB[T]) Open() {}"},
		want:   "Open is exported",
		mended: map[string]string{"store/s.go": "type db struct{}\nfunc (*db) Open() {}"},
	},
	{
		rule: "exported symbols are documented", name: "type",
		breach: map[string]string{"store/s.go": "type DB struct{}"},
		want:   "DB is exported",
		mended: map[string]string{"store/s.go": "// DB is.\ntype DB struct{}"},
	},
	{
		rule: "exported symbols are documented", name: "constant",
		breach: map[string]string{"store/s.go": "const (\n A = 1\n)"},
		want:   "A is exported",
		mended: map[string]string{"store/s.go": "// The letters.\nconst (\n A = 1\n)\nconst B = 2 // the second"},
	},
	{
		rule: "tests do not sleep", name: "sleep",
		breach: map[string]string{"store/s_test.go": "import \"time\"\nfunc f() { time.Sleep(1) }"},
		want:   "time.Sleep in a test",
		mended: map[string]string{"store/s_test.go": "import (\"time\"; \"testing/synctest\")\n" +
			"func f() { synctest.Test(nil, func() { time.Sleep(1) }) }"},
	},
}
