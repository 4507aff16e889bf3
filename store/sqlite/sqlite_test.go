package sqlite_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"

	"golang.org/x/sys/unix"

	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/sqlite"
	"github.com/stoaproject/stoa/store/storetest"
)

// lockVariable names, in a child process, the data directory to take.
const lockVariable = "STOA_TEST_LOCK"

func TestMain(m *testing.M) {
	if dir := os.Getenv(lockVariable); dir != "" {
		holdLock(dir)
		return
	}
	os.Exit(m.Run())
}

// holdLock is the child process: it takes the directory, says so, and waits for its input to end.
func holdLock(dir string) {
	db, err := sqlite.Open(context.Background(), dir, slog.New(slog.DiscardHandler))
	fmt.Println(err)
	if err == nil {
		_, _ = io.Copy(io.Discard, os.Stdin)
		_ = db.Close()
	}
}

func open(t testing.TB, dir string) *store.DB {
	t.Helper()
	db, err := sqlite.Open(t.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestFilePassesTheSuite(t *testing.T) {
	storetest.DB(t, func(t *testing.T) *store.DB { return open(t, filepath.Join(t.TempDir(), "a b?c%20#d")) })
}

func TestMemoryPassesTheSuite(t *testing.T) {
	storetest.DB(t, func(t *testing.T) *store.DB {
		db, err := sqlite.Memory(t.Context(), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = db.Close() })
		return db
	})
}

func write(ctx context.Context, db *store.DB, statement string, args ...any) error {
	return db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, statement, args...)
		return err
	})
}

func count(t *testing.T, db *store.DB) (n int) {
	t.Helper()
	err := db.Read(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(t.Context(), "SELECT count(*) FROM item").Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestSecondProcessIsToldThePidOfTheFirst(t *testing.T) {
	dir := t.TempDir()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), lockVariable+"="+dir)
	input, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var said string
	if _, err := fmt.Fscanln(output, &said); err != nil || said != "<nil>" {
		t.Fatalf("the child says %q, %v", said, err)
	}
	_, err = sqlite.Open(t.Context(), dir, slog.New(slog.DiscardHandler))
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), fmt.Sprint(child.Process.Pid)) {
		t.Errorf("the second process gets %v; the first has the id %d", err, child.Process.Pid)
	}
	_ = input.Close()
	if err := child.Wait(); err != nil {
		t.Error(err)
	}
	open(t, dir)
}

func TestSecondOpenInTheSameProcess(t *testing.T) {
	dir := t.TempDir()
	open(t, dir)
	if _, err := sqlite.Open(t.Context(), dir, slog.New(slog.DiscardHandler)); !errors.Is(err, store.ErrLocked) {
		t.Errorf("error %v", err)
	}
}

// mountTmpfs gives a file system of so many bytes, or skips the test.
func mountTmpfs(t *testing.T, size int) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", size)); err != nil {
		t.Skipf("needs the right to mount a file system: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func TestFullDisk(t *testing.T) {
	dir := mountTmpfs(t, 1<<20)
	db := open(t, filepath.Join(dir, "data"))
	if err := write(t.Context(), db, "CREATE TABLE item (body BLOB)"); err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), db, "INSERT INTO item (body) VALUES (zeroblob(1000))"); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)

	for range 3 {
		err := write(t.Context(), db, "INSERT INTO item (body) VALUES (zeroblob(200000))")
		if !errors.Is(err, store.ErrFull) {
			t.Fatalf("writing to a full disk gives %v", err)
		}
		if n := count(t, db); n != 1 {
			t.Fatalf("%d rows", n)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := write(t.Context(), db, "INSERT INTO item (body) VALUES (zeroblob(1000))"); err != nil {
		t.Errorf("with space again: %v", err)
	}
	if n := count(t, db); n != 2 {
		t.Errorf("%d rows", n)
	}
}

func TestOpenOnFullDisk(t *testing.T) {
	dir := mountTmpfs(t, 1<<20)
	db := open(t, filepath.Join(dir, "before"))
	if err := write(t.Context(), db, "CREATE TABLE item (body BLOB)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	ballast := filepath.Join(dir, "ballast")
	fill(t, ballast)
	for _, name := range []string{"before", "new"} {
		_, err := sqlite.Open(t.Context(), filepath.Join(dir, name), slog.New(slog.DiscardHandler))
		if !errors.Is(err, store.ErrFull) {
			t.Errorf("%s: error %v", name, err)
		}
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	open(t, filepath.Join(dir, "before"))
}

// fill writes a file until the disk is full.
func fill(t *testing.T, path string) {
	t.Helper()
	file, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = file.Close() }()
	for err == nil {
		_, err = file.Write(make([]byte, 4096))
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
}

func TestPageLimit(t *testing.T) {
	db := open(t, t.TempDir())
	if err := write(t.Context(), db, "CREATE TABLE item (body BLOB)"); err != nil {
		t.Fatal(err)
	}
	limit := func(pages int) {
		t.Helper()
		if err := write(t.Context(), db, fmt.Sprintf("PRAGMA max_page_count = %d", pages)); err != nil {
			t.Fatal(err)
		}
	}
	limit(10)
	err := write(t.Context(), db, "INSERT INTO item (body) VALUES (zeroblob(200000))")
	if !errors.Is(err, store.ErrFull) || count(t, db) != 0 {
		t.Errorf("error %v, %d rows", err, count(t, db))
	}
	limit(1000)
	if err := write(t.Context(), db, "INSERT INTO item (body) VALUES (zeroblob(200000))"); err != nil {
		t.Error(err)
	}
}

func TestReadOnlyFileSystem(t *testing.T) {
	dir := mountTmpfs(t, 4<<20)
	db := open(t, filepath.Join(dir, "before"))
	if err := write(t.Context(), db, "CREATE TABLE item (id BIGINT)"); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
		t.Skipf("needs the right to mount read-only: %v", err)
	}
	for _, name := range []string{"before", "new"} {
		_, err := sqlite.Open(t.Context(), filepath.Join(dir, name), slog.New(slog.DiscardHandler))
		if !errors.Is(err, store.ErrReadOnly) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

func TestReadOnlyMode(t *testing.T) {
	if os.Geteuid() == 0 {
		t.Skip("the superuser may write to any directory; TestReadOnlyFileSystem covers it")
	}
	dir := t.TempDir()
	if err := os.Chmod(dir, 0o500); err != nil {
		t.Fatal(err)
	}
	if _, err := sqlite.Open(t.Context(), dir, slog.New(slog.DiscardHandler)); !errors.Is(err, store.ErrReadOnly) {
		t.Errorf("error %v", err)
	}
}

func TestDamagedFile(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"no database": func([]byte) []byte { return []byte(strings.Repeat("not a database ", 1000)) },
		"overwritten": func(b []byte) []byte { return append(b[:100:100], make([]byte, len(b)-100)...) },
		"truncated":   func(b []byte) []byte { return b[:len(b)/2] },
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			db := open(t, dir)
			if err := write(t.Context(), db, "CREATE TABLE item (body BLOB)"); err != nil {
				t.Fatal(err)
			}
			for range 100 {
				if err := write(t.Context(), db, "INSERT INTO item (body) VALUES (zeroblob(1000))"); err != nil {
					t.Fatal(err)
				}
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
			path := filepath.Join(dir, "stoa.db")
			whole, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(whole), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := readAll(t, dir); !errors.Is(err, store.ErrCorrupt) {
				t.Errorf("error %v", err)
			}
		})
	}
}

// readAll opens the database in dir and reads the table item.
func readAll(t *testing.T, dir string) error {
	db, err := sqlite.Open(t.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		return err
	}
	defer func() { _ = db.Close() }()
	return db.Read(t.Context(), func(tx *store.Tx) error {
		var total int
		return tx.QueryRow(t.Context(), "SELECT COALESCE(sum(length(body)), 0) FROM item").Scan(&total)
	})
}

func TestReadersSeeASnapshotWhileTheWriterWrites(t *testing.T) {
	db := open(t, t.TempDir())
	if err := write(t.Context(), db, "CREATE TABLE item (id BIGINT)"); err != nil {
		t.Fatal(err)
	}
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(t.Context(), "INSERT INTO item (id) VALUES (1)"); err != nil {
			return err
		}
		seen := make(chan int)
		go func() { seen <- count(t, db) }()
		if n := <-seen; n != 0 {
			t.Errorf("a reader sees %d rows that are not committed", n)
		}
		return nil
	})
	if err != nil || count(t, db) != 1 {
		t.Errorf("error %v, %d rows", err, count(t, db))
	}
}

func TestWritesWaitForTheDiskAfterMigrating(t *testing.T) {
	db := open(t, t.TempDir())
	good, bad := "-- +goose Up\nCREATE TABLE item (id BIGINT);\n", "-- +goose Up\nCREATE TABLE;\n"
	for name, script := range map[string]string{"good": good, "bad": bad} {
		err := db.Migrate(t.Context(), name, fstest.MapFS{"1_a.sql": &fstest.MapFile{Data: []byte(script)}})
		if (err == nil) != (name == "good") {
			t.Errorf("%s: error %v", name, err)
		}
		var level int
		err = db.Write(t.Context(), func(tx *store.Tx) error {
			return tx.QueryRow(t.Context(), "PRAGMA synchronous").Scan(&level)
		})
		if err != nil || level != 2 {
			t.Errorf("%s: synchronous is %d, want 2 (FULL), %v", name, level, err)
		}
	}
}

// rooms stands for the migrations of the house: six rooms of three tables each.
func rooms() map[string]fstest.MapFS {
	all := map[string]fstest.MapFS{}
	for i := range 6 {
		room := fmt.Sprintf("room%d", i)
		var script strings.Builder
		script.WriteString("-- +goose Up\n")
		for table := range 3 {
			fmt.Fprintf(&script, "CREATE TABLE %s_%d (id BIGINT NOT NULL PRIMARY KEY, body TEXT);\n", room, table)
		}
		all[room] = fstest.MapFS{"00001_tables.sql": &fstest.MapFile{Data: []byte(script.String())}}
	}
	return all
}

func start(tb testing.TB, dir string) {
	db, err := sqlite.Open(tb.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		tb.Fatal(err)
	}
	for room, files := range rooms() {
		if err := db.Migrate(tb.Context(), room, files); err != nil {
			tb.Fatal(err)
		}
	}
	if err := db.Close(); err != nil {
		tb.Fatal(err)
	}
}

func BenchmarkFirstStart(b *testing.B) {
	for b.Loop() {
		start(b, b.TempDir())
	}
}

func BenchmarkNextStart(b *testing.B) {
	dir := b.TempDir()
	start(b, dir)
	for b.Loop() {
		start(b, dir)
	}
}

func BenchmarkWrite(b *testing.B) {
	dir := b.TempDir()
	db, err := sqlite.Open(b.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if err := write(b.Context(), db, "CREATE TABLE item (body TEXT)"); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if err := write(b.Context(), db, "INSERT INTO item (body) VALUES (?)", "some text"); err != nil {
			b.Fatal(err)
		}
	}
}
