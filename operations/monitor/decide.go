package monitor

import "github.com/stoaproject/stoa"

// Decisions returns the class that an answer decided for each row, read as predictions are when they are recorded. It
// reports false when the answer holds no decision.
func Decisions(answer *stoa.Answer, classes []string) ([]string, bool) {
	d, ok := readDecisions(answer, classes)
	if !ok {
		return nil, false
	}
	out := make([]string, d.rows)
	for i := range out {
		out[i] = d.at(i)
	}
	return out, true
}
