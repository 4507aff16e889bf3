package postgres

import (
	"bytes"
	"io"
	"io/fs"
	"path"
	"strconv"
	"strings"
)

// columnTypes are what the types of the common subset are called here. Text is to compare by its bytes, whatever the
// database's own collation; INTEGER and REAL have 32 bits here and 64 in SQLite.
var columnTypes = map[string]string{
	"BLOB":    "BYTEA",
	"TEXT":    `TEXT COLLATE "C"`,
	"INTEGER": "BIGINT",
	"REAL":    "DOUBLE PRECISION",
}

// number numbers the placeholders of a statement: the n-th '?' outside literals, quoted names and comments is $n.
func number(query string) string {
	if strings.IndexByte(query, '?') < 0 {
		return query
	}
	var b strings.Builder
	b.Grow(len(query) + 16)
	n := 0
	for len(query) > 0 {
		size := token(query)
		if query[0] == '?' {
			n++
			b.WriteByte('$')
			b.WriteString(strconv.Itoa(n))
		} else {
			b.WriteString(query[:size])
		}
		query = query[size:]
	}
	return b.String()
}

// retype gives the columns in the CREATE TABLE and ALTER TABLE statements of a script the types of columnTypes.
func retype(script string) string {
	var b strings.Builder
	words := 0 // of the statement so far, up to two
	var first, second string
	for len(script) > 0 {
		size := token(script)
		text := script[:size]
		script = script[size:]
		switch {
		case text == ";":
			words, first, second = 0, "", ""
		case isWord(text[0]):
			if words++; words == 1 {
				first = text
			} else if words == 2 {
				second = text
			}
			if other, ok := columnTypes[text]; ok && second == "TABLE" && (first == "CREATE" || first == "ALTER") {
				text = other
			}
		}
		b.WriteString(text)
	}
	return b.String()
}

// token gives the length of what s, which is not empty, begins with: a literal, a quoted name, a comment, a word, or
// else one byte. What is not closed goes to the end.
func token(s string) int {
	switch {
	case s[0] == '\'' || s[0] == '"':
		// A doubled quote ends one literal and begins the next, which comes to the same.
		return until(s, 1, s[:1])
	case strings.HasPrefix(s, "--"):
		return until(s, 2, "\n")
	case strings.HasPrefix(s, "/*"):
		return until(s, 2, "*/")
	}
	n := 0
	for n < len(s) && isWord(s[n]) {
		n++
	}
	return max(n, 1)
}

// until gives the length of s up to and with the first end at or after from.
func until(s string, from int, end string) int {
	if i := strings.Index(s[from:], end); i >= 0 {
		return from + i + len(end)
	}
	return len(s)
}

func isWord(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z' || c >= 0x80
}

// migrations gives the scripts of a directory with PostgreSQL's types.
func migrations(files fs.FS) fs.FS { return scripts{files} }

type scripts struct{ fs.FS }

// Open opens a file, rewritten when it is a script.
func (s scripts) Open(name string) (fs.File, error) {
	file, err := s.FS.Open(name)
	if err != nil || path.Ext(name) != ".sql" {
		return file, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	text, err := io.ReadAll(file)
	if err != nil {
		return nil, err
	}
	rewritten := []byte(retype(string(text)))
	return &script{bytes.NewReader(rewritten), scriptInfo{info, int64(len(rewritten))}}, nil
}

// A script is a file in memory.
type script struct {
	*bytes.Reader
	info scriptInfo
}

func (s *script) Stat() (fs.FileInfo, error) { return s.info, nil }
func (s *script) Close() error               { return nil }

// A scriptInfo is that of the original file with another size.
type scriptInfo struct {
	fs.FileInfo
	size int64
}

func (i scriptInfo) Size() int64 { return i.size }
