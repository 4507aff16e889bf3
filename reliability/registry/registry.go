// Package registry keeps the versions of models: which artifacts there are, where they come from, and which of them is
// in service.
//
// A version is immutable. It is an artifact in the blob store, addressed by its SHA-256, and a row that says what
// made it. Versions of a model are numbered from 1 without gaps, and a number is never given again: a version that is
// deleted keeps its row, emptied. An artifact is inspected before it is stored; the blob is written first, and the row
// and the ledger's note of it follow in one transaction. A crash in between leaves a blob that no row names, which
// [Registry.Sweep] removes.
//
// [Registry.Register] refuses what cannot be served. A version that comes over MLflow's wire ([Wire]) is kept all the
// same, of whatever flavour it is; it says why it is not servable, and can never be champion. Its source is a text
// that only [Config.Resolve] looks up, in Stoa's own store: no path or address that a request supplied is opened.
//
// An alias is a name that moves. The aliases champion and previous say what serves and what to go back to, so they
// move only for a change that the ledger has let through, or by somebody named as approver. The workload may set
// further conditions on any alias ([Rule]): who moves it, which gates the version must have passed, how many people
// must agree. Every move is a note in the ledger, in the same transaction. See [Registry.MoveAlias] for the rules.
//
// What is known of a version from the run that made it to the rollouts that it went through is its [Lineage].
//
// Everything but the artifacts is held in memory as well, as an immutable snapshot that is replaced after each commit:
// no read waits for the database, and [Registry.OnChange] tells the routing when to look again.
package registry

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// DefaultMaxArtifact is the largest artifact taken, in bytes, unless [Config] says otherwise.
const DefaultMaxArtifact = 1 << 30

// Config is what a registry needs. DB, Blobs, Ledger, Inspect and Logger must be set.
type Config struct {
	DB     *store.DB
	Blobs  store.Blobs
	Ledger *ledger.Ledger

	// Inspect reads an artifact's signature. Its error, normally a *[stoa.Refusal], refuses the artifact.
	Inspect func(artifact []byte) (inputs, outputs []stoa.TensorSpec, err error)

	// Approvers names who may move champion and previous of a model by hand; nil means nobody.
	Approvers func(model string) []string

	// Rule gives the conditions on moving an alias of a model; nil means that there are none beyond the registry's own.
	Rule func(model, alias string) Rule

	// Resolve finds the artifact that the source of a version names, within what the run and the caller may name. The
	// source is a runs:/, models:/m-… or mlflow-artifacts:/ URI. The reader, which the registry closes, is nil when
	// there is nothing that can be served in process, and Resolved.Unservable says why. Nil resolves nothing.
	Resolve func(ctx context.Context, source, runID string) (io.ReadCloser, Resolved, error)

	// Locate gives the URI at which MLflow's client finds the files of a version that was registered without a source;
	// nil and "" mean that it does not.
	Locate func(v stoa.Version) string

	// Run tells of a tracked run, for the lineage; not_found when it is gone. Nil means that runs are not tracked.
	Run func(ctx context.Context, id string) (Run, error)

	MaxArtifact int64            // bytes; 0 means DefaultMaxArtifact
	Now         func() time.Time // nil means time.Now
	Logger      *slog.Logger
}

// A Registry is the registry in one database. It is safe for concurrent use.
type Registry struct {
	config Config

	// A sweep must not run between the writing of a blob and of its row. Registering holds it for reading.
	sweeping sync.RWMutex

	current atomic.Pointer[snapshot] // replaced only in a commit, so one at a time

	listening sync.Mutex
	listeners []func()
}

// New opens the registry in config.DB, making its tables when they do not exist.
func New(ctx context.Context, config Config) (*Registry, error) {
	if config.DB == nil || config.Blobs == nil || config.Ledger == nil || config.Inspect == nil || config.Logger == nil {
		return nil, errors.New("registry: DB, Blobs, Ledger, Inspect and Logger must be set")
	}
	if config.Now == nil {
		config.Now = time.Now
	}
	if config.Approvers == nil {
		config.Approvers = func(string) []string { return nil }
	}
	if config.Rule == nil {
		config.Rule = func(string, string) Rule { return Rule{} }
	}
	if config.MaxArtifact <= 0 {
		config.MaxArtifact = DefaultMaxArtifact
	}
	r := &Registry{config: config}
	if err := config.DB.Migrate(ctx, "registry", migrations); err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	var loaded *snapshot
	err := config.DB.Read(ctx, func(tx *store.Tx) (err error) {
		loaded, err = load(ctx, tx)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("registry: %w", err)
	}
	r.current.Store(loaded)
	return r, nil
}

// A Model is what the registry knows about a model as a whole.
type Model struct {
	Name     string         `json:"name"`
	Versions int            `json:"versions"` // number of the newest version; 0 when there is none yet
	Aliases  map[string]int `json:"aliases"`  // version by alias
	Newest   time.Time      `json:"newest"`   // when the newest version was registered; zero when there is none
}

// Models gives all models in the order of their names. Prompts, which MLflow keeps beside models, are none.
func (r *Registry) Models(context.Context) ([]Model, error) {
	now := r.current.Load()
	models := make([]Model, 0, len(now.models))
	for _, name := range slices.Sorted(maps.Keys(now.models)) {
		m := now.models[name]
		if m.isPrompt() {
			continue
		}
		one := Model{Name: name, Versions: len(m.versions), Aliases: maps.Clone(m.aliases)}
		if one.Versions > 0 {
			one.Newest = m.versions[one.Versions-1].CreatedAt
		}
		models = append(models, one)
	}
	return models, nil
}

// Versions gives the versions of a model in the order of their numbers, without those that are deleted; a
// *[stoa.Refusal] (unknown_model) when there is no such model.
func (r *Registry) Versions(_ context.Context, model string) ([]stoa.Version, error) {
	m, err := r.current.Load().model(model)
	if err != nil {
		return nil, err
	}
	versions := make([]stoa.Version, 0, len(m.versions))
	for _, v := range m.versions {
		if !v.deleted {
			versions = append(versions, clone(v.Version))
		}
	}
	return versions, nil
}

// Aliases gives the version of each alias of a model; a *[stoa.Refusal] (unknown_model) when there is no such model.
func (r *Registry) Aliases(_ context.Context, model string) (map[string]int, error) {
	m, err := r.current.Load().model(model)
	if err != nil {
		return nil, err
	}
	return maps.Clone(m.aliases), nil
}

// Version finds a version of a model by its number ("3"), an alias ("champion") or its digest ("sha256:…"). The error
// is a *[stoa.Refusal]: unknown_model or unknown_version.
func (r *Registry) Version(_ context.Context, model, ref string) (stoa.Version, error) {
	m, err := r.current.Load().model(model)
	if err != nil {
		return stoa.Version{}, err
	}
	if v, found := m.find(ref); found {
		return clone(v.Version), nil
	}
	return stoa.Version{}, m.noVersion(model, ref)
}

// noVersion says that a model does not have what ref names.
func (m *model) noVersion(name, ref string) error {
	return &stoa.Refusal{
		Reason:  stoa.ReasonUnknownVersion,
		Message: fmt.Sprintf("model %q has no version or alias %.80q", name, ref),
		Hint:    fmt.Sprintf("it has the versions 1 to %d and the aliases %s", len(m.versions), m.aliasNames()),
	}
}

// Artifact reads the artifact of a version, and gives it only when it has the version's digest and size. A version that
// is not servable has none: the error is then a *[stoa.Refusal] (unsupported) with the reason.
func (r *Registry) Artifact(ctx context.Context, v stoa.Version) (artifact []byte, err error) {
	if !v.Servable {
		return nil, &stoa.Refusal{
			Reason:  stoa.ReasonUnsupported,
			Message: fmt.Sprintf("version %d of %q cannot be served in this process: %s", v.Number, v.Model, v.Unservable),
		}
	}
	blob, err := r.config.Blobs.Open(ctx, v.Digest)
	if err != nil {
		return nil, fmt.Errorf("registry: artifact of %s version %d: %w", v.Model, v.Number, err)
	}
	defer func() { err = errors.Join(err, blob.Close()) }()
	artifact, err = io.ReadAll(blob)
	if err != nil {
		return nil, fmt.Errorf("registry: artifact of %s version %d: %w", v.Model, v.Number, err)
	}
	return artifact, nil
}

// Generation counts the changes of versions and aliases since the registry was opened.
func (r *Registry) Generation() uint64 { return r.current.Load().generation }

// OnChange has fn called after every change, with the change already visible; it may be called from several
// goroutines, and need not be called for each of two changes in quick succession. fn may use the registry. Changes that
// a process makes to another registry on the same database are not seen.
func (r *Registry) OnChange(fn func()) {
	r.listening.Lock()
	defer r.listening.Unlock()
	r.listeners = append(r.listeners, fn)
}

// changed tells the listeners when there has been a change since the generation before.
func (r *Registry) changed(before uint64) {
	if r.Generation() == before {
		return
	}
	r.listening.Lock()
	listeners := slices.Clone(r.listeners)
	r.listening.Unlock()
	for _, listener := range listeners {
		listener()
	}
}

// checkName refuses what cannot name a model or an alias.
func checkName(what, name string) error {
	valid := len(name) >= 1 && len(name) <= 128 && name != "." && name != ".."
	for _, c := range []byte(name) {
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		valid = valid && (letter || '0' <= c && c <= '9' || strings.IndexByte("._-", c) >= 0)
	}
	if valid {
		return nil
	}
	return &stoa.Refusal{
		Reason:  stoa.ReasonInvalid,
		Message: fmt.Sprintf("%.140q cannot name %s", name, what),
		Hint:    "use 1 to 128 letters, digits, '.', '_' and '-'",
	}
}

// checkAlias refuses what cannot name an alias: it must not look like a version's number.
func checkAlias(name string) error {
	if _, err := strconv.ParseUint(name, 10, 64); err == nil {
		return &stoa.Refusal{
			Reason:  stoa.ReasonInvalid,
			Message: fmt.Sprintf("%.140q cannot name an alias", name),
			Hint:    "a number names a version; choose a name with a letter in it",
		}
	}
	return checkName("an alias", name)
}
