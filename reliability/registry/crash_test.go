package registry_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stoaproject/stoa/reliability/registry"
	"github.com/stoaproject/stoa/store/blob"
	"github.com/stoaproject/stoa/store/storetest"
)

// crashVariable names, in a child process, the data directory to register in until it is killed.
const crashVariable = "STOA_TEST_CRASH"

// placeVariable names its database.
const placeVariable = "STOA_TEST_PLACE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(crashVariable); dir != "" {
		fmt.Println(registerForEver(context.Background(), dir, os.Getenv(placeVariable)))
		os.Exit(1)
	}
	os.Exit(m.Run())
}

// openDir opens the registry with its artifacts in a directory and its database at a place.
func openDir(ctx context.Context, dir, place string) (*house, error) {
	db, err := storetest.OpenAt(ctx, place)
	if err != nil {
		return nil, err
	}
	blobs, err := blob.Dir(filepath.Join(dir, "blobs"))
	if err != nil {
		return nil, err
	}
	return build(ctx, db, blobs)
}

// registerForEver is the child process: it prints the number of each version that is registered and champion.
func registerForEver(ctx context.Context, dir, place string) error {
	h, err := openDir(ctx, dir, place)
	if err != nil {
		return err
	}
	for i := 0; ; i++ {
		artifact := fmt.Sprintf("model %d %d %s", os.Getpid(), i, strings.Repeat("x", 100_000))
		v, err := h.Register(ctx, candidate("price", artifact))
		if err != nil {
			return err
		}
		err = h.MoveAlias(ctx, registry.Move{
			Model: "price", Alias: "champion", Version: v.Number, By: "approver of price",
		})
		if err != nil {
			return err
		}
		fmt.Println(v.Number)
	}
}

// TestKilledProcess kills a registering process at random moments. What it said was registered is, and nothing is
// broken.
func TestKilledProcess(t *testing.T) {
	dir, place := t.TempDir(), storetest.Place(t)
	for range 6 {
		last := runUntilKilled(t, dir, place, 1+rand.IntN(10))
		h, err := openDir(t.Context(), dir, place)
		if err != nil {
			t.Fatal(err)
		}
		h.sound(t)
		aliases, err := h.Aliases(t.Context(), "price")
		if err != nil || aliases["champion"] < last {
			t.Errorf("version %d was champion; aliases %v, %v", last, aliases, err)
		}
		if noted := noted(t, h); !maps.Equal(aliases, noted) {
			t.Errorf("aliases %v, and the ledger's notes add up to %v", aliases, noted)
		}
		if _, err := h.Sweep(t.Context(), nil); err != nil {
			t.Error(err)
		}
		h.sound(t)
		if err := h.db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

// noted adds up the moves of champion in the ledger. A version that was registered just before a kill never was
// champion, so previous need not be the number before.
func noted(t *testing.T, h *house) map[string]int {
	t.Helper()
	events, err := h.ledger.Events(t.Context(), 0, 0)
	if err != nil {
		t.Fatal(err)
	}
	aliases := map[string]int{}
	for _, event := range events {
		if event.What != "alias.move" {
			continue
		}
		var move struct{ To, Previous int }
		if err := json.Unmarshal(event.Data, &move); err != nil {
			t.Fatal(err)
		}
		aliases["champion"] = move.To
		if move.Previous != 0 {
			aliases["previous"] = move.Previous
		}
	}
	return aliases
}

// runUntilKilled runs the child until it has printed so many lines, kills it, and gives the last number it printed.
func runUntilKilled(t *testing.T, dir, place string, lines int) int {
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
	last, seen := 0, 0
	printed := bufio.NewScanner(output)
	for printed.Scan() {
		if _, err := fmt.Sscan(printed.Text(), &last); err != nil {
			t.Errorf("the child says %q", printed.Text())
			break
		}
		if seen++; seen == lines {
			if err := child.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := child.Wait(); err == nil {
		t.Error("the child ended by itself")
	}
	return last
}
