package app_test

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/app"
	"github.com/stoaproject/stoa/store/storetest"
)

// TestDatabaseGoneAndBack takes the database away from a running process and gives it back: inference goes on, what
// needs the database is refused with when to try again, and nothing needs a restart.
func TestDatabaseGoneAndBack(t *testing.T) {
	cluster := storetest.NewCluster(t)
	s := newServer(t, workload)
	s.db = cluster.URL
	s.start()
	s.serveVersion(model(t, 1))
	cluster.Stop(t)
	for range 3 {
		if a := s.infer(oneRow); a.status != http.StatusOK {
			t.Errorf("inference without the database: %d %s", a.status, a.body)
		}
		for name, refused := range map[string]answer{
			"a registration": s.register("price", model(t, 2)),
			"an alias":       s.do(http.MethodPut, "/v1/models/price/aliases/blue", app.AliasRequest{Version: 1}),
			"a label": s.do(http.MethodPost, "/v1/labels", app.LabelRequest{
				Labels: []stoa.Label{{ID: "p", Value: "UP"}}}),
			"reading the ledger": s.do(http.MethodGet, "/v1/audit", nil),
		} {
			if refused.status != http.StatusServiceUnavailable || refused.reason() != stoa.ReasonStorageUnavailable ||
				refused.header.Get("Retry-After") == "" {
				t.Errorf("%s without the database: %d %v %s", name, refused.status, refused.header, refused.body)
			}
		}
	}
	cluster.Start(t)
	if a := s.register("price", model(t, 2)); a.status != http.StatusOK {
		t.Errorf("a registration with the database back: %d %s", a.status, a.body)
	}
	if a := s.infer(oneRow); a.status != http.StatusOK {
		t.Errorf("inference with the database back: %d %s", a.status, a.body)
	}
	var audit app.AuditView
	s.must(http.MethodGet, "/v1/audit", nil, &audit)
	if len(audit.Broken) != 0 {
		t.Errorf("the ledger does not verify: %+v", audit.Broken)
	}
	if err := s.app.Stop(context.Background()); err != nil {
		t.Error(err)
	}
	again, err := app.VerifyLedger(t.Context(), s.data, s.db)
	if err != nil || len(again.Broken) != 0 || again.Rows < audit.Rows {
		t.Errorf("verifying without the process: %+v, %v", again, err)
	}
}

func TestDataDirectoryStaysWithItsKindOfDatabase(t *testing.T) {
	conflict := func(t *testing.T, s *server, want string) {
		t.Helper()
		err := s.tryStart()
		var refusal *stoa.Refusal
		if !errors.As(err, &refusal) || refusal.Reason != stoa.ReasonConflict || !strings.Contains(err.Error(), want) {
			t.Errorf("starting gives %v", err)
		}
	}
	t.Run("embedded, then on a server", func(t *testing.T) {
		s := newServer(t, workload)
		s.db = ""
		s.start()
		if err := s.app.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
		s.db = "postgres://stoa@127.0.0.1:1/stoa"
		conflict(t, s, "has an embedded database")
	})
	t.Run("on a server, then embedded", func(t *testing.T) {
		s := newServer(t, workload)
		if s.db == "" {
			if err := os.Mkdir(s.data, 0o700); err != nil {
				t.Fatal(err)
			}
			where := []byte("PostgreSQL at db.example:5432, database stoa\n")
			if err := os.WriteFile(filepath.Join(s.data, "database"), where, 0o600); err != nil {
				t.Fatal(err)
			}
		} else {
			s.start()
			if err := s.app.Stop(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		s.db = ""
		conflict(t, s, "elsewhere: PostgreSQL at ")
	})
}

// TestDataDirectoryStaysWithItsDatabase starts a process on the wrong database, to which the artifacts of the data
// directory would be nobody's.
func TestDataDirectoryStaysWithItsDatabase(t *testing.T) {
	right, wrong := storetest.Postgres(t), storetest.Postgres(t)
	s := newServer(t, workload)
	s.db = right
	s.start()
	s.serveVersion(model(t, 1))
	if err := s.app.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
	s.db = wrong
	err := s.tryStart()
	var refusal *stoa.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != stoa.ReasonConflict || !strings.Contains(err.Error(), "another") {
		t.Errorf("starting on another database gives %v", err)
	}
	s.db = right
	s.start()
	if a := s.infer(oneRow); a.status != http.StatusOK {
		t.Errorf("back on its own database: %d %s", a.status, a.body)
	}
}

func TestServerThatIsNotThere(t *testing.T) {
	s := newServer(t, workload)
	s.db = "postgres://stoa:hush@127.0.0.1:1/stoa"
	err := s.tryStart()
	var refusal *stoa.Refusal
	if !errors.As(err, &refusal) || refusal.Reason != stoa.ReasonStorageUnavailable ||
		!strings.Contains(refusal.Hint, "--db") || strings.Contains(err.Error(), "hush") {
		t.Errorf("starting gives %v", err)
	}
}
