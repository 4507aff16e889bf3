package monitor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
)

// Judgements returns up to limit judgements after a position, in durable order. Positions begin at 1 and have no gaps,
// except that judgements older than Config.Keep are gone. At is the time of the prediction.
func (m *Monitor) Judgements(ctx context.Context, after int64, limit int) ([]stoa.Judgement, error) {
	var found []stoa.Judgement
	err := m.config.DB.Read(ctx, func(tx *store.Tx) error {
		var err error
		found, err = m.judgements(ctx, tx, `WHERE seq > ? ORDER BY seq LIMIT ?`, after, limit)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("monitor: read judgements: %w", err)
	}
	return found, nil
}

func (m *Monitor) judgements(ctx context.Context, tx *store.Tx, where string, args ...any) ([]stoa.Judgement, error) {
	rows, err := tx.Query(ctx, `SELECT seq, id, line, series, decision, truth, at FROM monitor_judgements `+where, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	var found []stoa.Judgement
	for rows.Next() {
		var (
			j          stoa.Judgement
			number, at int64
		)
		if err := rows.Scan(&j.Seq, &j.ID, &j.Row, &number, &j.Decision, &j.Truth, &at); err != nil {
			return nil, err
		}
		s, ok := m.series.name(number)
		if !ok { // committed between our snapshot and the index's update; the reader comes back for it
			break
		}
		j.Model, j.Version, j.Role, j.At = s.Model, s.Version, s.Role, time.UnixMicro(at).UTC()
		found = append(found, j)
	}
	return found, rows.Err()
}

// An Accuracy is how often a version was right in one role.
type Accuracy struct {
	Series
	Labels int64   `json:"labels"`
	Errors int64   `json:"errors"`
	Value  float64 `json:"accuracy"` // 1 - Errors/Labels; 0 without labels
}

func (a *Accuracy) add(wrong bool, n int64) {
	a.Labels += n
	if wrong {
		a.Errors += n
	}
	a.Value = 1 - float64(a.Errors)/float64(a.Labels)
}

// Accuracy returns the accuracy of every version of a model on predictions made since the hour of a time, from the
// confusion counters. Versions come in order, then roles by name.
func (m *Monitor) Accuracy(ctx context.Context, model string, since time.Time) ([]Accuracy, error) {
	series := m.series.ofModel(model)
	if len(series) == 0 {
		return nil, nil
	}
	found := make(map[int64]*Accuracy)
	in, args := numbers(series)
	err := m.config.DB.Read(ctx, func(tx *store.Tx) error {
		clear(found)
		rows, err := tx.Query(ctx, `SELECT series, decision, truth, SUM(n) FROM monitor_confusion
			WHERE series IN (`+in+`) AND hour >= ? GROUP BY series, decision, truth`, append(args, hourOf(since.UnixMicro()))...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var (
				number, n       int64
				decision, truth string
			)
			if err := rows.Scan(&number, &decision, &truth, &n); err != nil {
				return err
			}
			if found[number] == nil {
				found[number] = &Accuracy{Series: series[number]}
			}
			found[number].add(decision != truth, n)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("monitor: read accuracy: %w", err)
	}
	return sorted(found), nil
}

// Recent returns the accuracy of every version and role among the last n judgements of a model.
func (m *Monitor) Recent(ctx context.Context, model string, n int) ([]Accuracy, error) {
	series := m.series.ofModel(model)
	if len(series) == 0 {
		return nil, nil
	}
	found := make(map[int64]*Accuracy)
	in, args := numbers(series)
	err := m.config.DB.Read(ctx, func(tx *store.Tx) error {
		clear(found)
		rows, err := tx.Query(ctx, `SELECT series, decision, truth FROM monitor_judgements
			WHERE series IN (`+in+`) ORDER BY seq DESC LIMIT ?`, append(args, n)...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var (
				number          int64
				decision, truth string
			)
			if err := rows.Scan(&number, &decision, &truth); err != nil {
				return err
			}
			if found[number] == nil {
				found[number] = &Accuracy{Series: series[number]}
			}
			found[number].add(decision != truth, 1)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("monitor: read recent accuracy: %w", err)
	}
	return sorted(found), nil
}

// A Count is how often a class was decided in one hour.
type Count struct {
	Series
	Hour     time.Time `json:"hour"`
	Decision string    `json:"decision"`
	N        int64     `json:"n"`
}

// Counts returns the decisions of a model counted since the hour of a time, in order of the hour.
func (m *Monitor) Counts(ctx context.Context, model string, since time.Time) ([]Count, error) {
	series := m.series.ofModel(model)
	if len(series) == 0 {
		return nil, nil
	}
	var found []Count
	in, args := numbers(series)
	err := m.config.DB.Read(ctx, func(tx *store.Tx) error {
		found = nil
		rows, err := tx.Query(ctx, `SELECT series, hour, decision, n FROM monitor_counts
			WHERE series IN (`+in+`) AND hour >= ? ORDER BY hour, series, decision`, append(args, hourOf(since.UnixMicro()))...)
		if err != nil {
			return err
		}
		defer rows.Close()
		for rows.Next() {
			var (
				c            Count
				number, hour int64
			)
			if err := rows.Scan(&number, &hour, &c.Decision, &c.N); err != nil {
				return err
			}
			c.Series, c.Hour = series[number], time.Unix(hour*3600, 0).UTC()
			found = append(found, c)
		}
		return rows.Err()
	})
	if err != nil {
		return nil, fmt.Errorf("monitor: read counts: %w", err)
	}
	return found, nil
}

// numbers returns the placeholders and arguments of an IN list.
func numbers(series map[int64]Series) (string, []any) {
	args := make([]any, 0, len(series)+1)
	for n := range series {
		args = append(args, n)
	}
	return strings.Repeat("?, ", len(args)-1) + "?", args
}

func sorted(found map[int64]*Accuracy) []Accuracy {
	list := make([]Accuracy, 0, len(found))
	for _, a := range found {
		list = append(list, *a)
	}
	slices.SortFunc(list, func(a, b Accuracy) int {
		if a.Version != b.Version {
			return a.Version - b.Version
		}
		return strings.Compare(string(a.Role), string(b.Role))
	})
	return list
}
