package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"regexp"

	"github.com/pressly/goose/v3"
)

var roomName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,39}$`)

// Migrate brings the tables of a room to the newest version: it applies the numbered *.sql files of fsys, in goose's
// format, that have not been applied. The files are at the root of fsys or in its directory "migrations". Each file is
// one transaction, and each room has its own version table, so that rooms need not agree on numbers.
//
// A database that a newer program has migrated is refused rather than read with old eyes.
func (db *DB) Migrate(ctx context.Context, room string, fsys fs.FS) error {
	if !roomName.MatchString(room) {
		return fmt.Errorf("store: migrate %.80q: a room's name is lower-case letters, digits and '_'", room)
	}
	select {
	case <-ctx.Done():
		return fmt.Errorf("store: migrate %s: %w", room, context.Cause(ctx))
	case <-db.turn:
	}
	defer func() { db.turn <- struct{}{} }()
	if err := db.relaxed(ctx, func() error { return db.migrate(ctx, room, fsys) }); err != nil {
		return fmt.Errorf("store: migrate %s: %w", room, db.classify(err))
	}
	return nil
}

// relaxed runs fn with commits that do not wait for the disk. A migration that a power failure takes back is applied
// again at the next start, and the first write that waits, without which the new tables hold nothing, makes it durable.
func (db *DB) relaxed(ctx context.Context, fn func() error) (err error) {
	if db.engine.Relax == nil {
		return fn()
	}
	if err := db.engine.Relax(ctx, true); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.engine.Relax(context.WithoutCancel(ctx), false)) }()
	return fn()
}

func (db *DB) migrate(ctx context.Context, room string, fsys fs.FS) error {
	files := fsys
	if _, err := fs.Stat(fsys, "migrations"); err == nil {
		if files, err = fs.Sub(fsys, "migrations"); err != nil {
			return err
		}
	}
	if db.engine.Migrations != nil {
		files = db.engine.Migrations(files)
	}
	// The provider is given the pool and never closed: closing it would close the pool.
	provider, err := goose.NewProvider(goose.Dialect(db.engine.Name), db.engine.Writer, files,
		goose.WithTableName(room+"_migrations"), goose.WithDisableGlobalRegistry(true), goose.WithLogger(goose.NopLogger()))
	if err != nil {
		return err
	}
	sources := provider.ListSources()
	newest := sources[len(sources)-1].Version
	applied, err := provider.Up(ctx)
	if err != nil {
		var partial *goose.PartialError
		if errors.As(err, &partial) {
			return fmt.Errorf("%s: %w", partial.Failed.Source.Path, err)
		}
		return err
	}
	for _, result := range applied {
		db.logger.DebugContext(ctx, "migrated", "room", room, "file", result.Source.Path, "took", result.Duration)
	}
	have, err := provider.GetDBVersion(ctx)
	if err != nil {
		return err
	}
	if have > newest {
		return fmt.Errorf("the tables are at version %d and this program knows %d: run the newer program", have, newest)
	}
	return nil
}
