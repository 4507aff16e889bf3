package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/app"
)

// remoteFlags are the flags of every command that reaches a running server.
type remoteFlags struct {
	url  string
	data string
	json bool
}

// A remote is a running server.
type remote struct {
	base string
	key  string
	http *http.Client
}

// dataDir is the data directory that the flags name.
func (f *remoteFlags) dataDir() string {
	if f.data != "" {
		return f.data
	}
	return app.DefaultData
}

// connect finds the server and the key.
func (f *remoteFlags) connect() (*remote, error) {
	r := &remote{base: f.url, key: os.Getenv("STOA_KEY"), http: &http.Client{Timeout: 5 * time.Minute}}
	if r.base == "" && f.data == "" {
		r.base = os.Getenv("STOA_URL")
	}
	if r.base == "" {
		text, err := os.ReadFile(filepath.Join(f.dataDir(), app.URLFile))
		if err != nil {
			return nil, &stoa.Refusal{
				Reason: stoa.ReasonUnreachable, Message: "no running server found",
				Hint: "give --url, set STOA_URL, or point --data at the data directory of a running stoa up", Err: err,
			}
		}
		r.base = strings.TrimSpace(string(text))
	}
	if r.key == "" || f.data != "" {
		text, err := os.ReadFile(filepath.Join(f.dataDir(), app.OwnerKeyFile))
		switch {
		case err == nil:
			r.key = strings.TrimSpace(string(text))
		case r.key == "":
			return nil, &stoa.Refusal{
				Reason: stoa.ReasonUnauthenticated, Message: "no key found",
				Hint: "set STOA_KEY, or point --data at the data directory that holds " + app.OwnerKeyFile, Err: err,
			}
		}
	}
	u, err := url.Parse(r.base)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return nil, &usageError{fmt.Errorf("%q is not the address of a server, like http://127.0.0.1:8080", r.base)}
	}
	r.base = strings.TrimRight(r.base, "/")
	return r, nil
}

// send sends in as JSON (nothing when nil) and decodes the answer into out (nothing when nil).
func (r *remote) send(ctx context.Context, method, path string, in, out any) error {
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return err
		}
		body = bytes.NewReader(raw)
	}
	return r.do(ctx, method, path, "application/json", body, out)
}

// change sends a request that has no result of its own; with --json it prints done.
func (r *remote) change(cmd *cobra.Command, f *remoteFlags, method, path string, done any) error {
	if err := r.send(cmd.Context(), method, path, nil, nil); err != nil || !f.json {
		return err
	}
	return printJSON(cmd.OutOrStdout(), done)
}

// do sends one request. An answer of 400 or above becomes a *stoa.Refusal.
func (r *remote) do(ctx context.Context, method, path, contentType string, body io.Reader, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, body)
	if err != nil {
		return err
	}
	req.Header.Set("Authorization", "Bearer "+r.key)
	if body != nil {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := r.http.Do(req)
	if err != nil {
		var netErr *url.Error
		if errors.As(err, &netErr) {
			err = netErr.Err
		}
		return &stoa.Refusal{
			Reason: stoa.ReasonUnreachable, Message: "no server answers at " + r.base,
			Hint: "is stoa up running? its address is printed at start", Err: err,
		}
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("reading the answer of %s: %w", path, err)
	}
	if resp.StatusCode >= http.StatusBadRequest {
		return refusalOf(resp, raw)
	}
	if text, ok := out.(*[]byte); ok {
		*text = raw
		return nil
	}
	if out == nil || len(raw) == 0 {
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return fmt.Errorf("the answer of %s is not what this version of stoa expects: %w", path, err)
	}
	return nil
}

func refusalOf(resp *http.Response, raw []byte) error {
	var wire struct {
		Error  string      `json:"error"`
		Reason stoa.Reason `json:"reason"`
		Hint   string      `json:"hint"`
	}
	if json.Unmarshal(raw, &wire) != nil || wire.Error == "" {
		wire.Error = fmt.Sprintf("%s: %s", resp.Status, bytes.TrimSpace(raw))
	}
	if resp.StatusCode == http.StatusUnauthorized && wire.Hint == "" {
		wire.Hint = "set STOA_KEY, or point --data at the server's data directory"
	}
	return &stoa.Refusal{Reason: wire.Reason, Message: wire.Error, Hint: wire.Hint}
}

// withRemote adapts a function of a connected server to cobra.
func withRemote(f *remoteFlags, run func(cmd *cobra.Command, r *remote, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		r, err := f.connect()
		if err != nil {
			return err
		}
		return run(cmd, r, args)
	}
}

// isUnreachable reports that no server answered.
func isUnreachable(err error) bool {
	var refusal *stoa.Refusal
	return errors.As(err, &refusal) && refusal.Reason == stoa.ReasonUnreachable
}
