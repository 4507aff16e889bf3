package storetest

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A Cluster is a PostgreSQL of one test's own, which it may stop and start again.
type Cluster struct {
	URL  string // of its database; the same after a stop and a start
	dir  string
	tool string // tools/postgres
}

// NewCluster starts a PostgreSQL that ends with the test, or skips the test where [Postgres] would.
func NewCluster(t testing.TB) *Cluster {
	t.Helper()
	if os.Getenv(PostgresVariable) == "" {
		t.Skipf("SKIPPED: %s names no PostgreSQL; make test-postgres starts one", PostgresVariable)
	}
	dir, err := os.MkdirTemp("", "stoa-postgres-test-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // another user runs the server
		t.Fatal(err)
	}
	c := &Cluster{dir: filepath.Join(dir, "cluster"), tool: findTool(t)}
	t.Cleanup(func() {
		c.run(t, "remove")
		_ = os.RemoveAll(dir)
	})
	c.Start(t)
	return c
}

// Start starts the server and waits until it answers.
func (c *Cluster) Start(t testing.TB) {
	t.Helper()
	url := c.run(t, "start")
	if c.URL != "" && c.URL != url {
		t.Fatalf("the server came back at %s instead of %s", url, c.URL)
	}
	c.URL = url
}

// Stop ends the server at once, as a power failure would, and keeps its data.
func (c *Cluster) Stop(t testing.TB) {
	t.Helper()
	c.run(t, "stop")
}

// run runs tools/postgres and gives what it prints.
func (c *Cluster) run(t testing.TB, verb string) string {
	t.Helper()
	cmd := exec.Command(c.tool, verb, c.dir)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	printed, err := cmd.Output()
	if err != nil {
		t.Fatalf("tools/postgres %s: %v\n%s", verb, err, &stderr)
	}
	return strings.TrimSpace(string(printed))
}

// findTool finds tools/postgres from the directory of the test upwards.
func findTool(t testing.TB) string {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for {
		path := filepath.Join(dir, "tools", "postgres")
		if _, err := os.Stat(path); err == nil {
			return path
		}
		if dir == filepath.Dir(dir) {
			t.Fatal("there is no tools/postgres above the directory of the test")
		}
		dir = filepath.Dir(dir)
	}
}
