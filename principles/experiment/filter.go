package experiment

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// SearchSyntax is the syntax of a filter, in EBNF. An identifier without an entity is an attribute. Keys that are not of
// letters, digits, '_' and '.' stand in double quotes or backticks. Which entities, attributes and comparisons there are
// depends on what is searched.
//
// A comparison, NOT IN and != among them, holds only for what has the key. NaN is unequal to everything, and compares as
// nothing else. LIKE minds the case and ILIKE does not; in both % is any text and _ any character. Strings may be in
// single or double quotes; a quote within is written twice.
const SearchSyntax = `filter     = [ comparison { "AND" comparison } ] .
comparison = identifier ( operator value | [ "NOT" ] "IN" "(" string { "," string } ")" | "IS" [ "NOT" ] "NULL" ) .
identifier = [ entity "." ] key .
operator   = "=" | "!=" | ">" | ">=" | "<" | "<=" | "LIKE" | "ILIKE" | "RLIKE" .
value      = number | string .
`

// The entities that a filter can name.
const (
	entityAttribute = "attribute"
	entityMetric    = "metric"
	entityParam     = "parameter"
	entityTag       = "tag"
	entityDataset   = "dataset"
	entityMetadata  = "metadata"
	entitySpan      = "span"
)

// The operators that are words.
const (
	opLike      = "LIKE"
	opILike     = "ILIKE"
	opRLike     = "RLIKE"
	opIn        = "IN"
	opNotIn     = "NOT IN"
	opIsNull    = "IS NULL"
	opIsNotNull = "IS NOT NULL"
)

// A clause is one comparison of a filter.
type clause struct {
	entity string
	key    string
	op     string
	number float64        // when the field is a number
	text   string         // when it is not
	list   []string       // of IN and NOT IN
	match  *regexp.Regexp // of LIKE, ILIKE and RLIKE
}

// holds reports whether a text satisfies the clause, whose field is not a number.
func (c *clause) holds(text string) bool {
	switch c.op {
	case "=":
		return text == c.text
	case "!=":
		return text != c.text
	case opIn:
		return slices.Contains(c.list, text)
	case opNotIn:
		return !slices.Contains(c.list, text)
	case opIsNotNull:
		return true
	}
	return c.match != nil && c.match.MatchString(text)
}

// A grammar is what can be said of one kind of thing.
type grammar struct {
	entities   map[string]string    // entity by the names that it goes by
	attributes map[string]attribute // by the names that they go by
	textOps    map[string][]string  // operators of the entities whose values are texts
	subkeys    map[string][]string  // keys of the entities that have only some
}

// An attribute is a column of the thing itself.
type attribute struct {
	column  string
	numeric bool
	entity  string // when it is kept as a key of an entity instead, e.g. of the tags; the column is the key
}

// A parser reads one filter.
type parser struct {
	grammar *grammar
	text    string
	at      int // byte at which the token starts
	end     int // byte after it
	kind    tokenKind
}

type tokenKind int

const (
	tokenEnd tokenKind = iota
	tokenWord
	tokenNumber
	tokenString
	tokenOperator
	tokenPunctuation
	tokenOther
)

// parseFilter reads a filter. A syntax error says the position, in characters from 1.
func (g *grammar) parseFilter(text string) ([]clause, error) {
	p := &parser{grammar: g, text: text}
	p.advance()
	var clauses []clause
	for p.kind != tokenEnd {
		c, err := p.comparison()
		if err != nil {
			return nil, err
		}
		clauses = append(clauses, c)
		if p.kind == tokenEnd {
			break
		}
		if !p.isWord("AND") {
			return nil, p.fail("Invalid clause(s) in filter string: '%s'", p.token())
		}
		p.advance()
		if p.kind == tokenEnd {
			return nil, p.fail("Invalid filter '%s': expected a comparison after AND", text)
		}
	}
	return clauses, nil
}

// fail is a syntax error at the present token.
func (p *parser) fail(format string, args ...any) error {
	return invalid("%s (at position %d)", fmt.Sprintf(format, args...), utf8.RuneCountInString(p.text[:p.at])+1)
}

func (p *parser) token() string { return p.text[p.at:p.end] }

func (p *parser) isWord(word string) bool {
	return p.kind == tokenWord && strings.EqualFold(p.token(), word)
}

// advance goes to the next token.
func (p *parser) advance() {
	p.at = p.end
	for p.at < len(p.text) {
		r, size := utf8.DecodeRuneInString(p.text[p.at:])
		if !unicode.IsSpace(r) {
			break
		}
		p.at += size
	}
	p.end, p.kind = p.at, tokenEnd
	rest := p.text[p.at:]
	if rest == "" {
		return
	}
	first, size := utf8.DecodeRuneInString(rest)
	switch {
	case first == '\'':
		p.quoted(rest, 0)
	case first == '"', first == '`', isWordRune(first) && first != '.' && !unicode.IsDigit(first):
		p.word(rest)
	case unicode.IsDigit(first), strings.ContainsRune("+-.", first):
		n := numberPattern.FindString(rest)
		p.kind, p.end = tokenNumber, p.at+len(n)
		if n == "" {
			p.kind, p.end = tokenOther, p.at+size
		}
	case strings.ContainsRune("(),", first):
		p.kind, p.end = tokenPunctuation, p.at+1
	case strings.ContainsRune("=!<>", first):
		p.kind, p.end = tokenOperator, p.at+1
		if strings.HasPrefix(rest, "!=") || strings.HasPrefix(rest, ">=") || strings.HasPrefix(rest, "<=") ||
			strings.HasPrefix(rest, "==") || strings.HasPrefix(rest, "<>") {
			p.end++
		}
	default:
		p.kind, p.end = tokenOther, p.at+size
	}
}

var numberPattern = regexp.MustCompile(`^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?`)

func isWordRune(r rune) bool {
	return r == '_' || r == '.' || unicode.IsLetter(r) || unicode.IsDigit(r)
}

// quoted reads a string or a quoted key, whose quote is at from, as the end of the token.
func (p *parser) quoted(rest string, from int) bool {
	quote := rest[from]
	for i := from + 1; i < len(rest); i++ {
		if rest[i] != quote {
			continue
		}
		if i+1 < len(rest) && rest[i+1] == quote {
			i++
			continue
		}
		p.kind, p.end = tokenString, p.at+i+1
		return true
	}
	p.kind, p.end = tokenOther, p.at+len(rest)
	return false
}

// word reads a word, with quoted parts after its dots. A word that is one quoted part is a string.
func (p *parser) word(rest string) {
	for i := 0; i < len(rest); {
		r, size := utf8.DecodeRuneInString(rest[i:])
		switch {
		case isWordRune(r):
			i += size
		case (r == '"' || r == '`') && (i == 0 || rest[i-1] == '.'):
			if !p.quoted(rest, i) {
				return
			}
			i = p.end - p.at
			if i < len(rest) && rest[i] != '.' {
				p.kind = tokenWord
				if rest[0] == '"' {
					p.kind = tokenString
				}
				return
			}
		default:
			p.kind, p.end = tokenWord, p.at+i
			return
		}
	}
	p.end = p.at + len(rest)
	if p.kind != tokenString || rest[0] != '"' {
		p.kind = tokenWord
	}
}

// unquoteText gives the content of a token in quotes of any kind, and false when it is in none.
func unquoteText(token string) (string, bool) {
	if len(token) < 2 || !strings.ContainsRune("'\"`", rune(token[0])) || token[len(token)-1] != token[0] {
		return token, false
	}
	quote := token[:1]
	return strings.ReplaceAll(token[1:len(token)-1], quote+quote, quote), true
}

// comparison reads one comparison.
func (p *parser) comparison() (clause, error) {
	var c clause
	if p.kind != tokenWord && !(p.kind == tokenString && p.text[p.at] != '\'') {
		if p.kind == tokenOther || p.kind == tokenPunctuation {
			return c, p.fail("Invalid clause(s) in filter string: '%s'", p.token())
		}
		return c, p.fail("Invalid comparison clause. Expected 'Identifier' found '%s'", p.token())
	}
	numeric, err := p.identifier(&c, p.token())
	if err != nil {
		return c, err
	}
	p.advance()
	at := *p
	if err := p.operator(&c); err != nil {
		return c, err
	}
	if err := at.checkOperator(&c, numeric); err != nil {
		return c, err
	}
	if c.op == opIsNull || c.op == opIsNotNull {
		return c, nil
	}
	if c.op == opIn || c.op == opNotIn {
		return c, p.list(&c)
	}
	return c, p.value(&c, numeric)
}

// identifier reads what is compared.
func (p *parser) identifier(c *clause, token string) (numeric bool, err error) {
	entity, key, dotted := strings.Cut(token, ".")
	if !dotted {
		entity, key = entityAttribute, token
	}
	entity, _ = unquoteText(entity)
	key, _ = unquoteText(key)
	known := false
	if c.entity, known = p.grammar.entities[entity]; !known {
		return false, p.fail("Invalid entity type '%s'. Valid values are %s", entity, quotedList(p.grammar.entityNames()))
	}
	c.key = key
	if subkeys, limited := p.grammar.subkeys[c.entity]; limited && !slices.Contains(subkeys, key) &&
		!(c.entity == entitySpan && strings.HasPrefix(key, "attributes.")) {
		return false, p.fail("Invalid %s key '%s' specified. Valid keys are %s", c.entity, key, quotedList(subkeys))
	}
	if c.entity != entityAttribute {
		if key == "" {
			return false, p.fail("Invalid identifier '%s'. It has no key", token)
		}
		return c.entity == entityMetric, nil
	}
	a, known := p.grammar.attributes[key]
	if !known {
		return false, p.fail("Invalid attribute key '%s' specified. Valid keys are %s", key,
			quotedList(sortedKeys(p.grammar.attributes)))
	}
	c.key = a.column
	if a.entity != "" {
		c.entity = a.entity
	}
	return a.numeric, nil
}

// operator reads the operator of a comparison.
func (p *parser) operator(c *clause) error {
	switch {
	case p.kind == tokenOperator:
		switch c.op = p.token(); c.op {
		case "==":
			c.op = "="
		case "<>":
			c.op = "!="
		case "!":
			return p.fail("Invalid comparison clause. Expected comparison found '!'")
		}
	case p.isWord(opLike), p.isWord(opILike), p.isWord(opRLike), p.isWord(opIn):
		c.op = strings.ToUpper(p.token())
	case p.isWord("NOT"):
		if p.advance(); !p.isWord(opIn) {
			return p.fail("Invalid comparison clause. Expected IN after NOT, found '%s'", p.token())
		}
		c.op = opNotIn
	case p.isWord("IS"):
		c.op = opIsNull
		if p.advance(); p.isWord("NOT") {
			c.op = opIsNotNull
			p.advance()
		}
		if !p.isWord("NULL") {
			return p.fail("Invalid comparison clause. Expected NULL after IS, found '%s'", p.token())
		}
	default:
		return p.fail("Invalid comparison clause. Expected comparison found '%s'", p.token())
	}
	p.advance()
	return nil
}

// checkOperator refuses an operator that the field does not have.
func (p *parser) checkOperator(c *clause, numeric bool) error {
	valid := p.grammar.textOps[c.entity]
	if numeric {
		valid = []string{"=", "!=", ">", ">=", "<", "<="}
	}
	if !slices.Contains(valid, c.op) {
		return p.fail("Invalid comparator '%s' not one of %s", c.op, quotedList(valid))
	}
	return nil
}

// value reads the right side of a comparison.
func (p *parser) value(c *clause, numeric bool) (err error) {
	if numeric {
		if p.kind != tokenNumber {
			return p.fail("Expected numeric value type for %s: %s. Found %s", c.entity, c.key, p.token())
		}
		if c.number, err = strconv.ParseFloat(p.token(), 64); err != nil {
			return p.fail("Expected numeric value type for %s: %s. Found %s", c.entity, c.key, p.token())
		}
		p.advance()
		return nil
	}
	if p.kind != tokenString {
		return p.fail("Expected a quoted string value for %s (e.g. 'my-value'). Got value %s", c.entity, p.token())
	}
	c.text, _ = unquoteText(p.token())
	if c.op == opLike || c.op == opILike {
		c.match = likePattern(c.text, c.op == opILike)
	}
	if c.op == opRLike {
		if c.match, err = regexp.Compile(c.text); err != nil {
			return p.fail("Invalid regular expression %s", p.token())
		}
	}
	p.advance()
	return nil
}

// list reads the right side of IN.
func (p *parser) list(c *clause) error {
	if p.token() != "(" {
		return p.fail("While parsing a list in the query, expected '(', found '%s'", p.token())
	}
	for {
		if p.advance(); p.kind != tokenString {
			return p.fail("While parsing a list in the query, expected string value, found '%s'", p.token())
		}
		text, _ := unquoteText(p.token())
		c.list = append(c.list, text)
		p.advance()
		if p.token() == ")" && p.kind == tokenPunctuation {
			p.advance()
			return nil
		}
		if p.token() != "," {
			return p.fail("While parsing a list in the query, expected ',' or ')', found '%s'", p.token())
		}
	}
}

// likePattern compiles the pattern of LIKE.
func likePattern(pattern string, anyCase bool) *regexp.Regexp {
	var b strings.Builder
	b.WriteString("(?s")
	if anyCase {
		b.WriteString("i")
	}
	b.WriteString(")^")
	for _, r := range pattern {
		switch r {
		case '%':
			b.WriteString(".*")
		case '_':
			b.WriteString(".")
		default:
			b.WriteString(regexp.QuoteMeta(string(r)))
		}
	}
	b.WriteString("$")
	return regexp.MustCompile(b.String())
}

// entityNames are the entities of the grammar, each once.
func (g *grammar) entityNames() []string {
	var names []string
	for _, entity := range g.entities {
		if !slices.Contains(names, entity) {
			names = append(names, entity)
		}
	}
	slices.Sort(names)
	return names
}

// quotedList writes names as upstream's messages do.
func quotedList(names []string) string {
	return "['" + strings.Join(names, "', '") + "']"
}

func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	return keys
}
