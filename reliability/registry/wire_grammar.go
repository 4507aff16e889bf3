package registry

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"unicode"
)

// A filter is what MLflow's search calls take, a list of clauses with AND between them:
//
//	clause    = identifier operator value
//	identifier = [ "attribute." | "tag." | "tags." ] key ; a key may stand in double quotes or backticks
//	operator  = "=" | "!=" | "<" | "<=" | ">" | ">=" | "LIKE" | "ILIKE" | "IN" | "NOT" "IN"
//	value     = 'text' | "text" | number | "(" 'text' { "," 'text' } ")"
//
// Errors have upstream's text where it has one, and the position of the character, from 1.

// A grammar is what one of the searches lets a filter and an order name.
type grammar struct {
	texts     []string          // attributes that compare as texts
	numbers   []string          // attributes that compare as numbers
	lists     []string          // attributes that IN takes
	orders    map[string]string // keys of an order, and what they order by
	otherwise []string          // the order when the request gives none
	last      ordering          // what makes an order total
}

func modelGrammar() grammar {
	return grammar{
		texts: []string{"name"}, lists: []string{"name"},
		orders: map[string]string{
			"name": "name", "timestamp": "last_updated_timestamp", "last_updated_timestamp": "last_updated_timestamp",
		},
		last: ordering{{key: "name"}},
	}
}

func versionGrammar() grammar {
	return grammar{
		texts: []string{"name", "run_id", "source_path"}, numbers: []string{"version_number"},
		lists: []string{"name", "run_id"},
		orders: map[string]string{
			"name": "name", "version_number": "version_number", "creation_timestamp": "creation_timestamp",
			"last_updated_timestamp": "last_updated_timestamp",
		},
		otherwise: []string{"last_updated_timestamp DESC"},
		last:      ordering{{key: "name"}, {key: "version_number", descending: true}},
	}
}

// A clause is one comparison.
type clause struct {
	tag      bool // the key is that of a tag, not an attribute
	key      string
	operator string // in capitals; "NOT IN" is one
	numeric  bool
	text     string
	number   int64
	list     []string
}

// holds reports whether a hit meets the clause. A tag that is not there meets none.
func (c *clause) holds(h *hit) bool {
	if c.numeric {
		a, b := h.number(c.key), c.number
		return map[string]bool{"=": a == b, "!=": a != b, "<": a < b, "<=": a <= b, ">": a > b, ">=": a >= b}[c.operator]
	}
	have := h.text(c.key)
	if c.tag {
		var there bool
		if have, there = h.tags()[c.key]; !there {
			return false
		}
	}
	switch c.operator {
	case "=":
		return have == c.text
	case "!=":
		return have != c.text
	case "LIKE":
		return like([]rune(have), []rune(c.text))
	case "ILIKE":
		return like([]rune(strings.ToLower(have)), []rune(strings.ToLower(c.text)))
	case "IN":
		return slices.Contains(c.list, have)
	}
	return !slices.Contains(c.list, have) // NOT IN
}

// like matches SQL's pattern: % is any text, _ any character.
func like(text, pattern []rune) bool {
	t, p, star, from := 0, 0, -1, 0
	for t < len(text) {
		switch {
		case p < len(pattern) && pattern[p] == '%':
			star, from = p, t
			p++
		case p < len(pattern) && (pattern[p] == '_' || pattern[p] == text[t]):
			p++
			t++
		case star >= 0: // let the last % take one character more
			from++
			p, t = star+1, from
		default:
			return false
		}
	}
	for p < len(pattern) && pattern[p] == '%' {
		p++
	}
	return p == len(pattern)
}

// A word is one token of a filter.
type word struct {
	kind byte   // w: word; s, d: text in single or double quotes; n: number; o: operator, punctuation; 0: the end
	text string // as written
	at   int    // position, from 1
}

// words cuts a filter into its tokens.
func words(filter string) ([]word, error) {
	var list []word
	runes := []rune(filter)
	for i := 0; i < len(runes); {
		c := runes[i]
		start := i
		var kind byte
		switch {
		case unicode.IsSpace(c):
			i++
			continue
		case c == '\'':
			end, err := quoted(runes, i)
			if err != nil {
				return nil, err
			}
			kind, i = 's', end
		case strings.ContainsRune("=!<>(),", c):
			kind = 'o'
			if i++; i < len(runes) && runes[i] == '=' && strings.ContainsRune("!<>", c) {
				i++
			}
		case unicode.IsDigit(c) || c == '-' || c == '+':
			kind = 'n'
			for i++; i < len(runes) && (unicode.IsDigit(runes[i]) || strings.ContainsRune(".eE", runes[i])); i++ {
			}
		case unicode.IsLetter(c) || strings.ContainsRune("_`\"", c):
			end, err := identifier(runes, i)
			if err != nil {
				return nil, err
			}
			if kind, i = 'w', end; c == '"' {
				kind = 'd'
			}
		default:
			return nil, syntax(start, "Invalid clause(s) in filter string: %s", string(c))
		}
		list = append(list, word{kind: kind, text: string(runes[start:i]), at: start + 1})
	}
	return append(list, word{at: len(runes) + 1}), nil
}

// syntax is the refusal of a filter at a place, counted from 0.
func syntax(at int, format string, args ...any) error {
	return invalid(fmt.Sprintf(format, args...) + " (at position " + strconv.Itoa(at+1) + ")")
}

// quoted gives the end of a text in quotes. A quote that is doubled does not end it.
func quoted(runes []rune, start int) (end int, err error) {
	for i := start + 1; i < len(runes); i++ {
		if runes[i] != runes[start] {
			continue
		}
		if i+1 < len(runes) && runes[i+1] == runes[start] {
			i++
			continue
		}
		return i + 1, nil
	}
	return 0, syntax(start, "Error on parsing filter: the quote %c is not closed", runes[start])
}

// identifier gives the end of a name, the parts of which may be quoted.
func identifier(runes []rune, start int) (end int, err error) {
	i := start
	for i < len(runes) {
		switch c := runes[i]; {
		case c == '`' || c == '"':
			if i, err = quoted(runes, i); err != nil {
				return 0, err
			}
		case unicode.IsLetter(c) || unicode.IsDigit(c) || strings.ContainsRune("_.-/", c):
			i++
		default:
			return i, nil
		}
	}
	return i, nil
}

// unquote takes the quotes off, when there are any.
func unquote(text string) string {
	if n := len(text); n >= 2 && text[0] == text[n-1] && strings.ContainsRune("'\"`", rune(text[0])) {
		mark := text[:1]
		return strings.ReplaceAll(text[1:n-1], mark+mark, mark)
	}
	return text
}

// A parser reads the tokens of a filter.
type parser struct {
	grammar
	words []word
}

func (p *parser) next() word {
	w := p.words[0]
	if w.kind != 0 {
		p.words = p.words[1:]
	}
	return w
}

// parseFilter reads a filter.
func (g grammar) parseFilter(filter string) ([]clause, error) {
	tokens, err := words(filter)
	if err != nil {
		return nil, err
	}
	p := &parser{grammar: g, words: tokens}
	var clauses []clause
	for p.words[0].kind != 0 {
		if len(clauses) > 0 {
			if and := p.next(); !strings.EqualFold(and.text, "AND") {
				return nil, syntax(and.at-1, "Invalid clause(s) in filter string: %s; expected AND", and.text)
			}
			if p.words[0].kind == 0 {
				break // upstream lets an AND with nothing after it pass
			}
		}
		c, err := p.clause()
		if err != nil {
			return nil, err
		}
		clauses = append(clauses, c)
	}
	return clauses, nil
}

func (p *parser) clause() (clause, error) {
	name := p.next()
	if name.kind != 'w' && name.kind != 'd' {
		return clause{}, syntax(name.at-1, "Invalid comparison clause. Expected 'Identifier' found '%s'", name.text)
	}
	c, err := p.identify(name)
	if err != nil {
		return clause{}, err
	}
	op := p.next()
	c.operator = strings.ToUpper(op.text)
	if c.operator == "NOT" && strings.EqualFold(p.words[0].text, "IN") {
		c.operator += " " + strings.ToUpper(p.next().text)
	}
	known := []string{"=", "!=", "<", "<=", ">", ">=", "LIKE", "ILIKE", "IN", "NOT IN"}
	if !slices.Contains(known, c.operator) {
		return clause{}, syntax(op.at-1, "Invalid comparison clause. Expected comparison found '%s'", op.text)
	}
	return c, p.value(&c, op)
}

// identify reads the left side of a comparison.
func (p *parser) identify(name word) (clause, error) {
	entity, key, dotted := strings.Cut(name.text, ".")
	if !dotted || name.kind == 'd' || strings.HasPrefix(name.text, "`") {
		entity, key = "attribute", name.text
	}
	c := clause{tag: entity == "tag" || entity == "tags", key: unquote(key)}
	if !c.tag && entity != "attribute" {
		return clause{}, syntax(name.at-1, "Invalid entity type '%s'. Valid entity types are ('attribute', 'tag', 'tags')",
			entity)
	}
	c.numeric = !c.tag && slices.Contains(p.numbers, c.key)
	if !c.tag && !c.numeric && !slices.Contains(p.texts, c.key) {
		return clause{}, syntax(name.at-1, "Invalid attribute key '%s' specified. Valid keys are '{%s}'", c.key,
			pythonNames(slices.Concat(p.texts, p.numbers)))
	}
	return c, nil
}

func pythonNames(names []string) string {
	slices.Sort(names)
	return "'" + strings.Join(names, "', '") + "'"
}

// value reads the right side of a comparison, and refuses an operator that does not go with it.
func (p *parser) value(c *clause, op word) error {
	order := slices.Contains([]string{"<", "<=", ">", ">="}, c.operator)
	list := c.operator == "IN" || c.operator == "NOT IN"
	v := p.next()
	switch {
	case c.tag && (order || list):
		return syntax(op.at-1, "Invalid comparator for tag: %s", c.operator)
	case c.numeric && (list || strings.HasSuffix(c.operator, "LIKE")):
		return syntax(op.at-1, "Invalid comparator for attribute %s: %s", c.key, c.operator)
	case order && !c.numeric:
		return syntax(op.at-1, "Invalid comparator for attribute: %s", c.operator)
	case list && !slices.Contains(p.lists, c.key):
		return syntax(v.at-1, "Only ['%s'] attributes support comparison with a list of quoted string values.",
			strings.Join(p.lists, "', '"))
	case list:
		return p.listValue(c, v)
	case c.numeric:
		number, err := strconv.ParseInt(unquote(v.text), 10, 64)
		if err != nil {
			return syntax(v.at-1, "Invalid value for numeric attribute '%s': %s", c.key, v.text)
		}
		c.number = number
		return nil
	case v.kind == 's' || v.kind == 'd':
		c.text = unquote(v.text)
		return nil
	case c.tag:
		return syntax(v.at-1, "Expected a quoted string value for tag (e.g. 'my-value'). Got value %s", v.text)
	}
	return syntax(v.at-1, "Expected a quoted string value or a list of quoted string values for attributes. Got value %s",
		v.text)
}

// listValue reads what follows IN.
func (p *parser) listValue(c *clause, open word) error {
	ill := func(at int) error {
		return syntax(at-1, "While parsing a list in the query, expected a non-empty list of string values, but got "+
			"ill-formed list.")
	}
	if open.text != "(" {
		return ill(open.at)
	}
	for {
		v := p.next()
		if v.kind != 's' && v.kind != 'd' {
			return ill(v.at)
		}
		c.list = append(c.list, unquote(v.text))
		sep := p.next()
		if sep.text == "," && p.words[0].text == ")" { // as Python writes a list of one
			sep = p.next()
		}
		switch sep.text {
		case ")":
			return nil
		case ",":
		default:
			return ill(sep.at)
		}
	}
}

// parseOrder reads order_by, and completes it so that no two hits are equal.
func (g grammar) parseOrder(orderBy []string) (ordering, error) {
	given := orderBy
	if len(orderBy) == 0 {
		orderBy = g.otherwise
	}
	var order ordering
	for _, text := range orderBy {
		fields := strings.Fields(text)
		if len(fields) == 0 || len(fields) > 2 {
			return nil, invalid("Invalid order_by clause '" + text + "'. Could not be parsed.")
		}
		name := unquote(strings.TrimPrefix(fields[0], "attribute."))
		key, known := g.orders[name]
		if !known {
			return nil, invalid(fmt.Sprintf("Invalid order by key '%s' specified. Valid keys are '{%s}'", name,
				pythonNames(slices.Collect(maps.Keys(g.orders)))))
		}
		descending := false
		if len(fields) == 2 {
			if descending = strings.EqualFold(fields[1], "desc"); !descending && !strings.EqualFold(fields[1], "asc") {
				return nil, invalid("Invalid ordering key in order_by clause '" + text + "'.")
			}
		}
		if order.has(key) {
			return nil, invalid(fmt.Sprintf("`order_by` contains duplicate fields: [%s]", pythonList(given)))
		}
		order = append(order, orderKey{key, descending})
	}
	for _, k := range g.last {
		if !order.has(k.key) {
			order = append(order, k)
		}
	}
	return order, nil
}

func pythonList(items []string) string { return "'" + strings.Join(items, "', '") + "'" }

func (o ordering) has(key string) bool {
	return slices.ContainsFunc(o, func(k orderKey) bool { return k.key == key })
}

// A token continues a search after a hit. It does not hold a position, so that what comes or goes between two pages
// neither repeats nor hides a hit.
type token struct {
	Search string  `json:"search"` // what it continues
	After  sortKey `json:"after"`
}

// mark names a search by what it looks for.
func mark(req *SearchRequest) string {
	sum := sha256.Sum256([]byte(req.Filter + "\x00" + strings.Join(req.OrderBy, "\x00")))
	return hex.EncodeToString(sum[:8])
}

func writeToken(req *SearchRequest, after sortKey) string {
	text, err := json.Marshal(token{mark(req), after})
	if err != nil {
		panic(err) // texts and numbers always encode
	}
	return base64.URLEncoding.EncodeToString(text)
}

// readToken gives the key to continue after; nil for the first page.
func readToken(req *SearchRequest) (*sortKey, error) {
	if req.PageToken == "" {
		return nil, nil
	}
	text, err := base64.URLEncoding.DecodeString(req.PageToken)
	if err != nil {
		return nil, invalid("Invalid page token, could not base64-decode")
	}
	var t token
	if err := json.Unmarshal(text, &t); err != nil || t.Search != mark(req) {
		return nil, invalid("Invalid page token: it does not belong to this filter and order_by")
	}
	return &t.After, nil
}
