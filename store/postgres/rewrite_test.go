package postgres

import (
	"io/fs"
	"strings"
	"testing"
	"testing/fstest"
)

func TestPlaceholdersAreNumbered(t *testing.T) {
	for query, want := range map[string]string{
		"SELECT 1":                     "SELECT 1",
		"":                             "",
		"SELECT ?, ? WHERE a=?":        "SELECT $1, $2 WHERE a=$3",
		"VALUES (?,?),(?,?)":           "VALUES ($1,$2),($3,$4)",
		"SELECT '?', ?":                "SELECT '?', $1",
		"SELECT 'it''s ?', ?":          "SELECT 'it''s ?', $1",
		`SELECT "a?""?", ?`:            `SELECT "a?""?", $1`,
		"SELECT ? -- why?\n, ?":        "SELECT $1 -- why?\n, $2",
		"SELECT /* ? -- ' */ ?":        "SELECT /* ? -- ' */ $1",
		"SELECT a - -?":                "SELECT a - -$1",
		"SELECT 'not closed ?":         "SELECT 'not closed ?",
		"SELECT 'größe?', größe > ?":   "SELECT 'größe?', größe > $1",
		"SELECT 1 / ? FROM x WHERE ?=": "SELECT 1 / $1 FROM x WHERE $2=",
	} {
		if got := number(query); got != want {
			t.Errorf("%q gives %q, want %q", query, got, want)
		}
	}
}

func TestColumnsGetPostgresTypes(t *testing.T) {
	for script, want := range map[string]string{
		"CREATE TABLE a (b TEXT NOT NULL, c BLOB)":        `CREATE TABLE a (b TEXT COLLATE "C" NOT NULL, c BYTEA)`,
		"CREATE TABLE a (n INTEGER, r REAL, m BIGINT)":    "CREATE TABLE a (n BIGINT, r DOUBLE PRECISION, m BIGINT)",
		"ALTER TABLE a ADD COLUMN b TEXT":                 `ALTER TABLE a ADD COLUMN b TEXT COLLATE "C"`,
		"CREATE TABLE a (text BIGINT, TEXTS BIGINT)":      "CREATE TABLE a (text BIGINT, TEXTS BIGINT)",
		"CREATE TABLE a (b TEXT DEFAULT 'TEXT; TEXT')":    `CREATE TABLE a (b TEXT COLLATE "C" DEFAULT 'TEXT; TEXT')`,
		"CREATE TABLE a (b BIGINT -- TEXT\n)":             "CREATE TABLE a (b BIGINT -- TEXT\n)",
		"UPDATE a SET b = CAST(c AS TEXT)":                "UPDATE a SET b = CAST(c AS TEXT)",
		"CREATE TABLE a (b BLOB); SELECT CAST(1 AS TEXT)": "CREATE TABLE a (b BYTEA); SELECT CAST(1 AS TEXT)",
		"-- +goose Up\nCREATE TABLE a (b BLOB);\n":        "-- +goose Up\nCREATE TABLE a (b BYTEA);\n",
		"CREATE INDEX TEXT ON a (b)":                      "CREATE INDEX TEXT ON a (b)",
	} {
		if got := retype(script); got != want {
			t.Errorf("%q gives %q, want %q", script, got, want)
		}
	}
}

func TestMigrationsAreAFileSystem(t *testing.T) {
	files := fstest.MapFS{
		"00001_a.sql": {Data: []byte("CREATE TABLE a (b BLOB, c BLOB);\n")},
		"note.txt":    {Data: []byte("CREATE TABLE a (b BLOB);\n")},
	}
	rewritten := migrations(files)
	for name, want := range map[string]string{
		"00001_a.sql": "CREATE TABLE a (b BYTEA, c BYTEA);\n", "note.txt": "CREATE TABLE a (b BLOB);\n",
	} {
		got, err := fs.ReadFile(rewritten, name)
		if err != nil || string(got) != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	if _, err := rewritten.Open("nowhere.sql"); err == nil {
		t.Error("a file that is not there was opened")
	}
}

// FuzzRewriting takes any text: tokens cover it without a gap, each '?' outside of them becomes one '$', and nothing
// else changes.
func FuzzRewriting(f *testing.F) {
	f.Add("SELECT '?', \"?\", ? -- ?\n/* ? */ + ?")
	f.Add("CREATE TABLE a (b TEXT, c BLOB) -- '\n; ALTER TABLE a ADD COLUMN d REAL")
	f.Fuzz(func(t *testing.T, text string) {
		marks, rest := 0, text
		for len(rest) > 0 {
			size := token(rest)
			if size < 1 || size > len(rest) {
				t.Fatalf("a token of %d bytes in %q", size, rest)
			}
			if rest[0] == '?' {
				marks++
			}
			rest = rest[size:]
		}
		numbered := number(text)
		if got := strings.Count(numbered, "$") - strings.Count(text, "$"); got != marks {
			t.Errorf("%q gives %q: %d placeholders, want %d", text, numbered, got, marks)
		}
		if marks == 0 && numbered != text {
			t.Errorf("%q gives %q", text, numbered)
		}
		if !strings.Contains(text, "TABLE") && retype(text) != text {
			t.Errorf("%q gives %q", text, retype(text))
		}
	})
}
