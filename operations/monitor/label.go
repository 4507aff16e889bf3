package monitor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stoaproject/stoa"
)

// A Label is the truth about one row of a prediction. Model may be empty; when given, only predictions of that model
// join.
type Label struct {
	stoa.Label
	Model string `json:"model,omitempty"`
}

// A Rejection is a label that did not join, and why.
type Rejection struct {
	Label
	Reason  stoa.Reason `json:"reason"`
	Message string      `json:"message"`
}

// A Report says what became of the labels given, each of which is counted once.
type Report struct {
	Joined    int         `json:"joined"`
	Unknown   []Rejection `json:"unknown,omitempty"`   // no such prediction, or its wait is over
	Duplicate []Rejection `json:"duplicate,omitempty"` // the row has a label already, which stands
}

// Label joins labels with the predictions they belong to. When it returns, the judgements are durable. A label that
// cannot be joined is in the report and does not keep the others from joining. by says who sent the labels. More than
// MaxLabels are refused.
func (m *Monitor) Label(ctx context.Context, labels []Label, by string) (Report, error) {
	if len(labels) > MaxLabels {
		return Report{}, &stoa.Refusal{
			Reason:  stoa.ReasonTooLarge,
			Message: fmt.Sprintf("%d labels in one request; at most %d are taken", len(labels), MaxLabels),
			Hint:    "send them in several requests",
		}
	}
	if len(labels) == 0 {
		return Report{}, nil
	}
	var report Report
	err := m.flush(ctx, func(ctx context.Context, w *work) error {
		j, err := w.newJoiner(ctx, labels, by)
		if err != nil {
			return err
		}
		report = Report{}
		for _, label := range labels {
			rejected, err := j.join(ctx, label)
			if err != nil {
				return err
			}
			switch {
			case rejected == nil:
				report.Joined++
			case rejected.Reason == stoa.ReasonDuplicateLabel:
				report.Duplicate = append(report.Duplicate, *rejected)
			default:
				report.Unknown = append(report.Unknown, *rejected)
			}
		}
		return j.finish(ctx)
	})
	if err != nil {
		return Report{}, fmt.Errorf("join labels (none was recorded; send them again): %w", err)
	}
	return report, nil
}

// A joiner joins the labels of one transaction. It reads each segment once, however many labels it gets.
type joiner struct {
	*work
	by      string
	at      int64
	wanted  map[string]bool       // ids of all labels
	truths  map[line][]truth      // labels that rows of these ids have already
	found   map[string][]*waiting // predictions of these ids, oldest first
	read    map[int64]bool        // segments that are in found
	touched map[int64]int64       // rows joined in each segment
}

// A line is one row of the prediction with an id; a truth is a label of it.
type (
	line struct {
		id  string
		row int
	}
	truth struct{ model, value string }
)

// A waiting is a stored prediction with one of the ids wanted.
type waiting struct {
	stored
	series  Series
	segment int64
}

func (w *work) newJoiner(ctx context.Context, labels []Label, by string) (*joiner, error) {
	j := &joiner{
		work: w, by: by, at: w.m.config.Now().UnixMicro(), wanted: make(map[string]bool), truths: make(map[line][]truth),
		found: make(map[string][]*waiting), read: make(map[int64]bool), touched: make(map[int64]int64),
	}
	for _, label := range labels {
		j.wanted[label.ID] = true
	}
	slots := make([]any, 0, len(j.wanted))
	for id := range j.wanted {
		slots = append(slots, slot(id))
	}
	for some := range slices.Chunk(slots, 200) {
		if err := j.readTruths(ctx, some); err != nil {
			return nil, fmt.Errorf("look for earlier labels: %w", err)
		}
	}
	return j, nil
}

// readTruths finds the labels that predictions in some slots have.
func (j *joiner) readTruths(ctx context.Context, slots []any) error {
	rows, err := j.tx.Query(ctx, `SELECT id, line, series, truth FROM monitor_judgements
		WHERE slot IN (`+strings.Repeat("?, ", len(slots)-1)+`?)`, slots...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var (
			l      line
			number int64
			value  string
		)
		if err := rows.Scan(&l.id, &l.row, &number, &value); err != nil {
			return err
		}
		if s, ok := j.name(number); ok && j.wanted[l.id] {
			j.truths[l] = append(j.truths[l], truth{s.Model, value})
		}
	}
	return rows.Err()
}

// join makes the judgements of one label, or says why there are none.
func (j *joiner) join(ctx context.Context, label Label) (*Rejection, error) {
	at := line{label.ID, label.Row}
	for _, known := range j.truths[at] {
		if label.Model != "" && label.Model != known.model {
			continue
		}
		message := "the row has this label already"
		if known.value != label.Value {
			message = fmt.Sprintf("the row has the label %q already, which stands", known.value)
		}
		return &Rejection{Label: label, Reason: stoa.ReasonDuplicateLabel, Message: message}, nil
	}
	found, err := j.predictions(ctx, label.ID)
	if err != nil {
		return nil, err
	}
	joined := false
	var roles []Series
	for _, p := range found {
		if label.Model != "" && label.Model != p.series.Model || slices.Contains(roles, p.series) {
			continue
		}
		if label.Row < 0 || label.Row >= len(p.decisions) || p.decisions[label.Row] == "" {
			continue
		}
		roles = append(roles, p.series)
		j.judge(p.number, label.Label, p.decisions[label.Row], p.at, j.by, j.at)
		j.truths[at] = append(j.truths[at], truth{p.series.Model, label.Value})
		j.touched[p.segment]++
		joined = true
	}
	if joined {
		j.joined = append(j.joined, slot(label.ID))
		return nil, nil
	}
	message := "no prediction with this id waits for a label"
	if len(found) > 0 {
		message = fmt.Sprintf("the prediction has no row %d of this model that waits for a label", label.Row)
	}
	return &Rejection{Label: label, Reason: stoa.ReasonUnknownLabel, Message: message}, nil
}

// predictions returns the predictions with an id: those that somebody received before the shadow's, and of two by the
// same version in the same role the newer one first.
func (j *joiner) predictions(ctx context.Context, id string) ([]*waiting, error) {
	key := slot(id)
	for _, g := range j.segments.list {
		if j.read[g.seq] || !g.filter.may(key) {
			continue
		}
		if err := j.readSegment(ctx, g); err != nil {
			return nil, err
		}
	}
	found := j.found[id]
	slices.SortStableFunc(found, func(a, b *waiting) int {
		return cmp.Or(cmp.Compare(order(a.series.Role), order(b.series.Role)), cmp.Compare(b.segment, a.segment))
	})
	return found, nil
}

// readSegment finds all the predictions wanted that are in a segment.
func (j *joiner) readSegment(ctx context.Context, g *segment) error {
	var body []byte
	if err := j.tx.QueryRow(ctx, `SELECT body FROM monitor_segments WHERE seq = ?`, g.seq).Scan(&body); err != nil {
		return fmt.Errorf("read predictions: %w", err)
	}
	j.read[g.seq] = true
	err := scanStored(body, func(id []byte) bool { return j.wanted[string(id)] }, func(p stored) {
		s, ok := j.name(p.number)
		if !ok {
			return
		}
		j.found[p.id] = slices.Insert(j.found[p.id], 0, &waiting{stored: p, series: s, segment: g.seq})
	})
	if err != nil {
		return fmt.Errorf("segment %d: %w", g.seq, err)
	}
	return nil
}

// order puts the roles that answered someone before the shadow, so that pairs of judgements lie side by side.
func order(r stoa.Role) int {
	if r == stoa.RoleShadow {
		return 1
	}
	return 0
}

// finish counts off the rows that were joined, and removes segments without any other and the judgements that are no
// longer kept.
func (j *joiner) finish(ctx context.Context) error {
	for i, g := range j.segments.list {
		n := j.touched[g.seq]
		if n == 0 {
			continue
		}
		left := *g
		left.waiting -= n
		j.segments.list[i] = &left
		j.totals.Waiting -= n
		query, args := `UPDATE monitor_segments SET waiting = ? WHERE seq = ?`, []any{left.waiting, g.seq}
		if left.waiting <= 0 {
			query, args = `DELETE FROM monitor_segments WHERE seq = ?`, []any{g.seq}
		}
		if _, err := j.tx.Exec(ctx, query, args...); err != nil {
			return fmt.Errorf("count off predictions: %w", err)
		}
	}
	j.segments.remove(func(g *segment) bool { return g.waiting <= 0 })
	if err := j.writeJudgements(ctx); err != nil {
		return err
	}
	if last := j.totals.Judged - j.m.config.Keep; last > 0 {
		if _, err := j.tx.Exec(ctx, `DELETE FROM monitor_judgements WHERE seq <= ?`, last); err != nil {
			return fmt.Errorf("remove old judgements: %w", err)
		}
	}
	return nil
}

// judge appends one judgement and counts it. It is written by writeJudgements.
func (w *work) judge(number int64, label stoa.Label, decision string, at int64, by string, judged int64) {
	w.totals.Judged++
	w.judgements = append(w.judgements, w.totals.Judged, slot(label.ID), label.ID, label.Row, number,
		decision, label.Value, at, judged, by)
	w.confusion[confusionKey{number, hourOf(at), decision, label.Value}]++
}

// writeJudgements writes judgements with few statements: parsing one costs more than inserting a row.
func (w *work) writeJudgements(ctx context.Context) error {
	const (
		columns = 10
		head    = `INSERT INTO monitor_judgements
			(seq, slot, id, line, series, decision, truth, at, judged_at, judged_by) VALUES `
		row = `(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`
	)
	for some := range slices.Chunk(w.judgements, 50*columns) {
		query := head + strings.Repeat(row+", ", len(some)/columns-1) + row
		if _, err := w.tx.Exec(ctx, query, some...); err != nil {
			return fmt.Errorf("write judgements: %w", err)
		}
	}
	w.judgements = nil
	return nil
}

// joinLate joins a shadow decision with labels that came before it. It returns the decisions that still wait.
func (w *work) joinLate(ctx context.Context, id string, e *entry, decided []string, rows int64,
) ([]string, int64, error) {
	known, err := w.labelsOf(ctx, id, e.series)
	if err != nil || len(known) == 0 {
		return decided, rows, err
	}
	decided = slices.Clone(decided)
	number, err := w.number(ctx, e.series)
	if err != nil {
		return nil, 0, err
	}
	for _, k := range known {
		if k.Row >= len(decided) || decided[k.Row] == "" {
			continue
		}
		w.judge(number, k.Label, decided[k.Row], e.at, k.by, k.at)
		decided[k.Row] = ""
		rows--
	}
	return decided, rows, nil
}

// A known is a label that was joined before.
type known struct {
	stoa.Label
	by string
	at int64
}

// labelsOf returns the labels that a prediction has from other series of the same model.
func (w *work) labelsOf(ctx context.Context, id string, s Series) ([]known, error) {
	if err := w.writeJudgements(ctx); err != nil {
		return nil, err
	}
	rows, err := w.tx.Query(ctx, `SELECT line, series, truth, judged_by, judged_at FROM monitor_judgements
		WHERE slot = ? AND id = ?`, slot(id), id)
	if err != nil {
		return nil, fmt.Errorf("look for labels of a shadow: %w", err)
	}
	defer rows.Close()
	labels := make(map[int]known)
	own := make(map[int]bool)
	for rows.Next() {
		k := known{Label: stoa.Label{ID: id}}
		var number int64
		if err := rows.Scan(&k.Row, &number, &k.Value, &k.by, &k.at); err != nil {
			return nil, fmt.Errorf("look for labels of a shadow: %w", err)
		}
		switch other, ok := w.name(number); {
		case ok && other == s:
			own[k.Row] = true
		case ok && other.Model == s.Model:
			labels[k.Row] = k
		}
	}
	var found []known
	for row, k := range labels {
		if !own[row] {
			found = append(found, k)
		}
	}
	slices.SortFunc(found, func(a, b known) int { return cmp.Compare(a.Row, b.Row) })
	return found, rows.Err()
}
