// Package experiment is the tracking room: experiments, runs with their params, metrics and tags, the data sets they
// used, the models they logged, the traces of calls, and the artifacts of all of these.
//
// The methods of [Tracking] are the calls of MLflow's REST interface, one each, with its fields, limits and messages, so
// that the stock client works unchanged. Requests and responses carry the wire's names as JSON tags; reading them from
// HTTP and writing errors is the gateway's. A refusal is a *[stoa.Refusal]: not_found is RESOURCE_DOES_NOT_EXIST,
// invalid is INVALID_PARAMETER_VALUE and conflict is RESOURCE_ALREADY_EXISTS.
//
// What is acknowledged is durable, and sending a call again changes nothing: values of metrics, params, inputs and
// outputs are sets, and the latest value of a metric is the greatest by step, time and value, in whatever order they
// came. A batch is one transaction of a few multi-row statements. A param never changes. A deleted run or experiment
// stays until garbage is collected, and takes no writes.
//
// A search reads its filter by [SearchSyntax], finds the numbers of what satisfies it with one index scan for each
// comparison, and then reads what the page shows in one statement per table.
//
// Artifacts are blobs by digest with a table of paths over them. No path or URI that a request supplied is opened: the
// source of a data set and the artifact location of an experiment are text.
package experiment

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"sync"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is what the tracking room needs. DB, Blobs and Logger must be set.
type Config struct {
	DB *store.DB

	// Blobs keeps the artifacts and nothing else: what none of the room's paths names is garbage, and is deleted.
	Blobs store.Blobs

	// Held says whether a registered version needs the artifacts of a run or a logged model, which [Tracking.Purge] then
	// leaves alone. It must not use the database. Nil means that none does.
	Held func(id string) bool

	Ledger *ledger.Ledger   // notes what is purged; nil means that it is not noted
	Now    func() time.Time // nil means time.Now
	Logger *slog.Logger
}

// Tracking is the tracking room in one database. It is safe for concurrent use.
type Tracking struct {
	config Config

	// A blob must not be deleted between its last row and a new one that names it. Making a row holds collecting for
	// reading, and deleting a blob holds it for writing.
	collecting sync.RWMutex
}

// New opens the tracking room in config.DB, making its tables and the experiment "0", Default, when they do not exist.
func New(ctx context.Context, config Config) (*Tracking, error) {
	if config.DB == nil || config.Blobs == nil || config.Logger == nil {
		return nil, errors.New("experiment: DB, Blobs and Logger must be set")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	t := &Tracking{config: config}
	if err := config.DB.Migrate(ctx, "experiment", migrations); err != nil {
		return nil, fmt.Errorf("experiment: %w", err)
	}
	err := config.DB.Write(ctx, func(tx *store.Tx) error {
		now := t.now()
		_, err := tx.Exec(ctx, `INSERT INTO experiment_experiment (id, name, location, stage, created, updated)
			VALUES (0, 'Default', ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`, artifactRoot+"0", stageActive, now, now)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("experiment: %w", err)
	}
	return t, nil
}

const (
	stageActive  = "active"
	stageDeleted = "deleted"

	// artifactRoot is the scheme of locations that the server itself keeps.
	artifactRoot = "mlflow-artifacts:/"
)

// now is the time in milliseconds since 1970.
func (t *Tracking) now() int64 { return t.config.Now().UnixMilli() }

// write runs fn in a transaction and gives its error a reason that a client can be told.
func (t *Tracking) write(ctx context.Context, fn func(*store.Tx) error) error {
	return outward(t.config.DB.Write(ctx, fn))
}

// read is write for reading.
func (t *Tracking) read(ctx context.Context, fn func(*store.Tx) error) error {
	return outward(t.config.DB.Read(ctx, fn))
}

// outward wraps a fault of the store in a refusal, unless it is one already.
func outward(err error) error {
	if err == nil || isRefusal(err) {
		return err
	}
	if reason, known := store.Reason(err); known && reason != stoa.ReasonNotFound {
		return &stoa.Refusal{Reason: reason, Message: "the database cannot do this now", Err: err}
	}
	return fmt.Errorf("experiment: %w", err)
}

// isRefusal reports whether an error is for the client, and not a fault of the store.
func isRefusal(err error) bool {
	var refusal *stoa.Refusal
	return errors.As(err, &refusal)
}

// next takes n numbers of a sequence and returns the first.
func next(ctx context.Context, tx *store.Tx, sequence string, n int) (int64, error) {
	var last int64
	err := tx.QueryRow(ctx, `UPDATE experiment_sequence SET last = last + ? WHERE name = ? RETURNING last`,
		n, sequence).Scan(&last)
	return last - int64(n) + 1, err
}

// invalid is the refusal of a value.
func invalid(format string, args ...any) error {
	return &stoa.Refusal{Reason: stoa.ReasonInvalid, Message: fmt.Sprintf(format, args...)}
}

// notFound is the refusal of a name that nothing has.
func notFound(format string, args ...any) error {
	return &stoa.Refusal{Reason: stoa.ReasonNotFound, Message: fmt.Sprintf(format, args...)}
}

// conflict is the refusal of what exists already.
func conflict(format string, args ...any) error {
	return &stoa.Refusal{Reason: stoa.ReasonConflict, Message: fmt.Sprintf(format, args...)}
}

// parseExperimentID reads an experiment's id, which is a number in a string.
func parseExperimentID(id string) (int64, error) {
	number, err := strconv.ParseInt(id, 10, 64)
	if err != nil {
		return 0, invalid("Invalid experiment ID '%.100s'. Experiment ID must be a valid integer.", id)
	}
	return number, nil
}
