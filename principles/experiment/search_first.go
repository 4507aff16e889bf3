package experiment

import (
	"context"
	"errors"

	"github.com/stoaproject/stoa/store"
)

// spare is how many more candidates are taken than a page has, for those that turn out to be deleted or on a page before.
const spare = 64

var errEnough = errors.New("enough")

// first gives the candidates that come first by the first order key, when that is the latest value of a metric: those
// with the best values, ties included, and somewhat more of them than a page has. Everything else comes after them. It
// gives nil when there are too few with a value to tell, or the order is another.
func (q *query) first(ctx context.Context, tx *store.Tx, candidates *numbers, after *position) (*numbers, error) {
	if len(q.order) == 0 || q.order[0].entity != entityMetric || q.subject.metrics != latestTable ||
		len(q.experiments) != 1 || after != nil && after.Keys[0].Class != classValue {
		return nil, nil
	}
	key := q.order[0]
	statement := "SELECT run, value FROM " + latestTable + " WHERE experiment = ? AND key = ? AND is_nan = 0"
	args := []any{q.experiments[0], key.key}
	bound, direction := " AND value >= ?", " ORDER BY value"
	if key.descending {
		bound, direction = " AND value <= ?", " ORDER BY value DESC"
	}
	if after != nil {
		statement += bound
		args = append(args, float64(after.Keys[0].Number))
	}
	rows, err := tx.Query(ctx, statement+direction, args...)
	if err != nil {
		return nil, err
	}
	best := &numbers{}
	taken, worst := 0, 0.0
	err = scanAll(rows, func() error {
		var id int64
		var value float64
		if err := rows.Scan(&id, &value); err != nil {
			return err
		}
		if candidates != nil && !candidates.has(id) {
			return nil
		}
		if taken >= q.limit+spare && value != worst {
			return errEnough
		}
		best.insert(id)
		taken, worst = taken+1, value
		return nil
	})
	if errors.Is(err, errEnough) {
		return best, nil
	}
	return nil, err
}
