package ledger_test

import (
	"bufio"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store/storetest"
)

// crashVariable names, in a child process, the data directory to write to until it is killed.
const crashVariable = "STOA_TEST_CRASH"

// placeVariable names its database.
const placeVariable = "STOA_TEST_PLACE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashVariable); dir != "" {
		fmt.Println(writeForEver(context.Background(), dir, os.Getenv(placeVariable)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// writeForEver is the child process: it prints the id of each entry that is durably done.
func writeForEver(ctx context.Context, dir, place string) error {
	db, err := storetest.OpenAt(ctx, place)
	if err != nil {
		return err
	}
	l, err := ledger.New(ctx, db, discard(), ledger.WithAnchor(filepath.Join(dir, ledger.AnchorFile)))
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		entry, _, err := l.Propose(ctx, proposal(fmt.Sprintf("%d-%d", os.Getpid(), i)))
		if err != nil {
			return err
		}
		if _, err := l.Approve(ctx, entry.ID, "ada", ""); err != nil {
			return err
		}
		if _, err := l.Start(ctx, entry.ID); err != nil {
			return err
		}
		if _, err := l.Finish(ctx, entry.ID, i); err != nil {
			return err
		}
		fmt.Println(entry.ID)
	}
}

// TestKilledProcess kills a writing process at random moments. What it said was done is done, and the chain is sound.
func TestKilledProcess(t *testing.T) {
	dir, place := t.TempDir(), storetest.Place(t)
	for range 6 {
		done := runUntilKilled(t, dir, place, 1+rand.IntN(12))
		db, err := storetest.OpenAt(t.Context(), place)
		if err != nil {
			t.Fatal(err)
		}
		l := open(t, db, ledger.WithAnchor(filepath.Join(dir, ledger.AnchorFile)))
		sound(t, l)
		for _, id := range done {
			if entry := must(t)(l.Get(t.Context(), id)); entry.State != ledger.StateDone {
				t.Errorf("entry %d was done and is %s", id, entry.State)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// runUntilKilled runs the child until it has printed so many lines, kills it, and gives all the ids it printed.
func runUntilKilled(t *testing.T, dir, place string, lines int) []int64 {
	t.Helper()
	child := exec.CommandContext(t.Context(), os.Args[0])
	child.Env = append(os.Environ(), crashVariable+"="+dir, placeVariable+"="+place)
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	var ids []int64
	printed := bufio.NewScanner(output)
	for printed.Scan() {
		var id int64
		if _, err := fmt.Sscan(printed.Text(), &id); err != nil {
			t.Errorf("the child says %q", printed.Text())
			break
		}
		if ids = append(ids, id); len(ids) == lines {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := child.Wait(); err == nil {
		t.Error("the child ended by itself")
	}
	return ids
}
