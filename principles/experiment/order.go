package experiment

import (
	"cmp"
	"math"
	"strings"
)

// An orderKey is one key to order by.
type orderKey struct {
	entity     string
	key        string
	descending bool
	dataset    DatasetName // of a logged model's metric
}

// parseOrder reads the keys to order by: an identifier, and ASC, which is the default, or DESC.
func (g *grammar) parseOrder(texts []string) ([]orderKey, error) {
	var keys []orderKey
	for _, text := range texts {
		p := &parser{grammar: g, text: text}
		p.advance()
		if p.kind != tokenWord && !(p.kind == tokenString && text[p.at] != '\'') {
			return nil, p.fail("Invalid order_by clause '%s'. Could not be parsed.", text)
		}
		var c clause
		if _, err := p.identifier(&c, p.token()); err != nil {
			return nil, err
		}
		if c.entity == entityDataset || c.entity == entitySpan {
			return nil, p.fail("Invalid order_by entity type '%s'", c.entity)
		}
		key := orderKey{entity: c.entity, key: c.key}
		p.advance()
		if p.kind != tokenEnd {
			if !p.isWord("ASC") && !p.isWord("DESC") {
				return nil, p.fail("Invalid ordering key in order_by clause '%s'.", text)
			}
			key.descending = strings.EqualFold(p.token(), "DESC")
			if p.advance(); p.kind != tokenEnd {
				return nil, p.fail("Invalid order_by clause '%s'. Could not be parsed.", text)
			}
		}
		for _, other := range keys {
			if other.entity == key.entity && other.key == key.key {
				return nil, invalid("`order_by` contains duplicate fields: %s", quotedList(texts))
			}
		}
		keys = append(keys, key)
	}
	return keys, nil
}

// A sortValue is what something has for an order key. Whatever the direction, NaN comes after the numbers, and nothing
// after NaN.
type sortValue struct {
	Class  int     `json:"c,omitempty"` // one of the three
	Number Float64 `json:"n,omitempty"`
	Text   string  `json:"t,omitempty"`
}

const (
	classValue = iota
	classNaN
	classNone
)

// compare orders a before b when it is negative.
func (a sortValue) compare(b sortValue, descending bool) int {
	if a.Class != b.Class {
		return cmp.Compare(a.Class, b.Class)
	}
	order := cmp.Or(cmp.Compare(a.Number, b.Number), strings.Compare(a.Text, b.Text))
	if descending {
		return -order
	}
	return order
}

// numberValue is the sort value of a stored number.
func numberValue(value float64, isNaN bool) sortValue {
	if isNaN || math.IsNaN(value) {
		return sortValue{Class: classNaN}
	}
	return sortValue{Number: Float64(value)}
}
