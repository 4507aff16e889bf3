package postgres_test

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/store"
	"github.com/stoaproject/stoa/store/storetest"
)

func write(ctx context.Context, db *store.DB, statement string, args ...any) error {
	return db.Write(ctx, func(tx *store.Tx) error {
		_, err := tx.Exec(ctx, statement, args...)
		return err
	})
}

// number reads one number.
func number(t testing.TB, db *store.DB, query string, args ...any) (n int) {
	t.Helper()
	err := db.Read(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(t.Context(), query, args...).Scan(&n)
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// writerProcess is the server's process for the writer's connection.
func writerProcess(t *testing.T, db *store.DB) (pid int) {
	t.Helper()
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(t.Context(), "SELECT pg_backend_pid()").Scan(&pid)
	})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

func mustWrite(t testing.TB, db *store.DB, statement string, args ...any) {
	t.Helper()
	if err := write(t.Context(), db, statement, args...); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}

const makeItem = "CREATE TABLE item (id BIGINT NOT NULL PRIMARY KEY)"

func TestServerGoneAndBack(t *testing.T) {
	c := storetest.NewCluster(t)
	db := open(t, c.URL)
	mustWrite(t, db, makeItem)
	mustWrite(t, db, "INSERT INTO item (id) VALUES (1)")
	for round := range 2 {
		c.Stop(t)
		for range 3 {
			err := write(t.Context(), db, "INSERT INTO item (id) VALUES (100)")
			if reason, _ := store.Reason(err); reason != stoa.ReasonStorageUnavailable {
				t.Fatalf("writing without a server gives %v", err)
			}
			err = db.Read(t.Context(), func(*store.Tx) error { return nil })
			if !errors.Is(err, store.ErrUnavailable) {
				t.Fatalf("reading without a server gives %v", err)
			}
		}
		c.Start(t)
		mustWrite(t, db, "INSERT INTO item (id) VALUES (?)", round+2)
		if n := number(t, db, "SELECT count(*) FROM item"); n != round+2 {
			t.Errorf("%d rows after round %d", n, round)
		}
	}
}

func TestServerNeverThere(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	_, err = storetest.OpenAt(t.Context(), "postgres://stoa:hush@"+address+"/stoa")
	if !errors.Is(err, store.ErrUnavailable) || strings.Contains(err.Error(), "hush") {
		t.Errorf("error %v", err)
	}
	_, err = storetest.OpenAt(t.Context(), "postgres://stoa:hush@"+address+"/stoa?sslmode=sometimes")
	if err == nil || strings.Contains(err.Error(), "hush") {
		t.Errorf("error %v", err)
	}
}

func TestSecondOwnerIsToldOfTheFirst(t *testing.T) {
	place := storetest.Postgres(t)
	first := open(t, place)
	mustWrite(t, first, makeItem)
	_, err := storetest.OpenAt(t.Context(), place)
	if !errors.Is(err, store.ErrLocked) || !strings.Contains(err.Error(), `"stoa `) ||
		!strings.Contains(err.Error(), "127.0.0.1") {
		t.Errorf("the second gets %v", err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	second := open(t, place)
	mustWrite(t, second, "INSERT INTO item (id) VALUES (1)")
	open(t, storetest.Postgres(t)) // another schema is another house
}

// TestOwnershipLost breaks the connection of an owner that then sits idle, so that another becomes the owner: the first
// may not write any more, until it is the owner again.
func TestOwnershipLost(t *testing.T) {
	place := storetest.Postgres(t)
	first := open(t, place)
	mustWrite(t, first, makeItem)
	number(t, first, "SELECT CASE WHEN pg_terminate_backend(?) THEN 1 ELSE 0 END", writerProcess(t, first))
	second := open(t, place)
	if err := write(t.Context(), first, "INSERT INTO item (id) VALUES (1)"); !errors.Is(err, store.ErrLocked) {
		t.Errorf("the former owner gets %v", err)
	}
	mustWrite(t, second, "INSERT INTO item (id) VALUES (2)")
	if err := second.Close(); err != nil {
		t.Fatal(err)
	}
	mustWrite(t, first, "INSERT INTO item (id) VALUES (3)")
	if n := number(t, first, "SELECT count(*) FROM item"); n != 2 {
		t.Errorf("%d rows", n)
	}
}

func TestBrokenConnectionIsReplaced(t *testing.T) {
	db := open(t, storetest.Postgres(t))
	mustWrite(t, db, makeItem)
	for id := range 5 {
		number(t, db, "SELECT CASE WHEN pg_terminate_backend(?) THEN 1 ELSE 0 END", writerProcess(t, db))
		mustWrite(t, db, "INSERT INTO item (id) VALUES (?)", id)
	}
}

func TestConnectionLostWithinATransaction(t *testing.T) {
	db := open(t, storetest.Postgres(t))
	mustWrite(t, db, makeItem)
	pid := writerProcess(t, db)
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		if _, err := tx.Exec(t.Context(), "INSERT INTO item (id) VALUES (1)"); err != nil {
			return err
		}
		number(t, db, "SELECT CASE WHEN pg_terminate_backend(?) THEN 1 ELSE 0 END", pid)
		_, err := tx.Exec(t.Context(), "INSERT INTO item (id) VALUES (2)")
		return err
	})
	if !errors.Is(err, store.ErrUnavailable) || number(t, db, "SELECT count(*) FROM item") != 0 {
		t.Errorf("error %v", err)
	}
}

func TestCancelledStatementKeepsTheConnection(t *testing.T) {
	db := open(t, storetest.Postgres(t))
	before := writerProcess(t, db)
	ctx, cancel := context.WithCancel(t.Context())
	err := db.Write(ctx, func(tx *store.Tx) error {
		go cancel()
		_, err := tx.Exec(ctx, "SELECT pg_sleep(60)")
		return err
	})
	if err == nil {
		t.Error("the statement was not cancelled")
	}
	if after := writerProcess(t, db); after != before {
		t.Errorf("the writer's process was %d and is %d", before, after)
	}
}

func TestCommitsWaitForTheDisk(t *testing.T) {
	db := open(t, storetest.Postgres(t)+"&synchronous_commit=off")
	var setting string
	err := db.Write(t.Context(), func(tx *store.Tx) error {
		return tx.QueryRow(t.Context(), "SELECT current_setting('synchronous_commit')").Scan(&setting)
	})
	if err != nil || setting != "on" {
		t.Errorf("synchronous_commit is %q, %v", setting, err)
	}
}

// A proxy stands between the store and the server, and breaks connections.
type proxy struct {
	url    string
	server string // address
	cut    atomic.Int32
	mu     sync.Mutex
	conns  []net.Conn
}

// What a proxy does at the next commit.
const (
	pass       int32 = iota
	cutBefore        // the server never gets it
	cutAfter         // the server gets it, and its answer is lost
	cutHalfway       // like cutBefore, and the server does not notice that the client is gone
)

func newProxy(t *testing.T, place string) *proxy {
	t.Helper()
	at, err := url.Parse(place)
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &proxy{server: at.Host}
	at.Host = listener.Addr().String()
	p.url = at.String()
	var group sync.WaitGroup
	t.Cleanup(func() {
		_ = listener.Close()
		p.mu.Lock()
		for _, conn := range p.conns {
			_ = conn.Close()
		}
		p.mu.Unlock()
		group.Wait()
	})
	group.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			server, err := net.Dial("tcp", p.server)
			if err != nil {
				_ = client.Close()
				continue
			}
			p.mu.Lock()
			p.conns = append(p.conns, client, server)
			p.mu.Unlock()
			group.Go(func() { p.up(client, server) })
			group.Go(func() {
				_, _ = copyAll(client, server)
				_ = client.Close()
			})
		}
	})
	return p
}

// copyAll copies until either side ends.
func copyAll(to, from net.Conn) (n int, err error) {
	buffer := make([]byte, 1<<16)
	for {
		got, err := from.Read(buffer)
		if err != nil {
			return n, err
		}
		if _, err := to.Write(buffer[:got]); err != nil {
			return n, err
		}
		n += got
	}
}

// up carries what the client says, as far as the proxy lets it.
func (p *proxy) up(client, server net.Conn) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := client.Read(buffer)
		if err != nil {
			_ = server.Close()
			return
		}
		if bytes.Contains(buffer[:n], []byte("commit\x00")) {
			switch p.cut.Swap(pass) {
			case cutBefore:
				_, _ = client.Close(), server.Close()
				return
			case cutAfter:
				_ = client.Close()
				_, _ = server.Write(buffer[:n])
				// The server is left to commit and to find out by itself that nobody listens.
				return
			case cutHalfway:
				_ = client.Close()
				return
			}
		}
		if _, err := server.Write(buffer[:n]); err != nil {
			_ = client.Close()
			return
		}
	}
}

func TestLostAnswerToACommit(t *testing.T) {
	for name, test := range map[string]struct {
		cut  int32
		made bool
	}{
		"after the server got it":           {cutAfter, true},
		"before the server got it":          {cutBefore, false},
		"and the server takes us for alive": {cutHalfway, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProxy(t, storetest.Postgres(t))
			db := open(t, p.url)
			mustWrite(t, db, makeItem)
			p.cut.Store(test.cut)
			hooked := false
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			err := db.Write(ctx, func(tx *store.Tx) error {
				tx.OnCommit(func() { hooked = true })
				_, err := tx.Exec(ctx, "INSERT INTO item (id) VALUES (1)")
				return err
			})
			rows := number(t, db, "SELECT count(*) FROM item")
			if (err == nil) != test.made || hooked != test.made || (rows == 1) != test.made {
				t.Errorf("error %v, commit hook ran: %v, %d rows", err, hooked, rows)
			}
			if err != nil && !errors.Is(err, store.ErrUnavailable) {
				t.Errorf("error %v", err)
			}
			mustWrite(t, db, "INSERT INTO item (id) VALUES (2)")
		})
	}
}
