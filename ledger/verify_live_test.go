package ledger_test

import (
	"context"
	"fmt"
	"path/filepath"
	"sync"
	"testing"

	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store/sqlite"
)

// TestVerifyWhileOthersWrite verifies a ledger that grows meanwhile: what is written between the look at the chain and
// the look at the anchor is no break.
func TestVerifyWhileOthersWrite(t *testing.T) {
	ctx, dir := context.Background(), t.TempDir()
	db, err := sqlite.Open(ctx, dir, discard())
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	l, err := ledger.New(ctx, db, discard(), ledger.WithAnchor(filepath.Join(dir, ledger.AnchorFile)))
	if err != nil {
		t.Fatal(err)
	}
	const events = 100
	var wg sync.WaitGroup
	done := make(chan struct{})
	wg.Go(func() {
		defer close(done)
		for i := range events {
			if _, _, err := l.Propose(ctx, ledger.Proposal{Key: fmt.Sprint(i), Kind: ledger.KindAlias, By: "test"}); err != nil {
				t.Error(err)
			}
		}
	})
	for writing := true; writing; {
		select {
		case <-done:
			writing = false
		default:
		}
		report, err := l.Verify(ctx)
		if err != nil || len(report.Broken) > 0 {
			t.Fatalf("after %d events: %v %v", report.Rows, report.Broken, err)
		}
	}
	wg.Wait()
}
