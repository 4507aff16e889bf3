package manifest

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// An Error is one thing wrong with a workload file.
type Error struct {
	File    string // as given to Load or Parse
	Line    int    // from 1
	Column  int    // from 1, in characters
	Message string // what is wrong
	Hint    string // what to do next; may be empty
}

// Error returns "file:line:column: message (hint)".
func (e *Error) Error() string {
	s := fmt.Sprintf("%s:%d:%d: %s", e.File, e.Line, e.Column, e.Message)
	if e.Hint != "" {
		s += " (" + e.Hint + ")"
	}
	return s
}

// Errors returns every [*Error] in err, in the order of their positions: err is what Load or Parse returned.
func Errors(err error) []*Error {
	var all []*Error
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		for _, e := range joined.Unwrap() {
			all = append(all, Errors(e)...)
		}
		return all
	}
	var one *Error
	if errors.As(err, &one) {
		all = append(all, one)
	}
	return all
}

// join makes one error of all, ordered by position, or nil when there is none.
func join(all []*Error) error {
	if len(all) == 0 {
		return nil
	}
	slices.SortStableFunc(all, func(a, b *Error) int {
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	errs := make([]error, 0, len(all))
	for _, e := range all {
		errs = append(errs, e)
	}
	return errors.Join(errs...)
}

// closest returns a hint that names the word of known that is nearest to word, or lists known when none is near.
func closest(word string, known []string) string {
	if len(known) == 0 {
		return ""
	}
	best, distance := "", len(word)/2+1
	for _, k := range known {
		if d := editDistance(strings.ToLower(word), strings.ToLower(k)); d < distance {
			best, distance = k, d
		}
	}
	if best != "" {
		return fmt.Sprintf("did you mean %q?", best)
	}
	const shown = 12
	if len(known) > shown {
		return fmt.Sprintf("known: %s and %d more", strings.Join(known[:shown], ", "), len(known)-shown)
	}
	return "known: " + strings.Join(known, ", ")
}

// editDistance is the number of insertions, deletions, substitutions and swaps of neighbours between a and b (the
// optimal string alignment distance). Words longer than any key are not compared: their distance is their length.
func editDistance(a, b string) int {
	const longest = 64
	if len(a) > longest || len(b) > longest {
		return max(len(a), len(b))
	}
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
