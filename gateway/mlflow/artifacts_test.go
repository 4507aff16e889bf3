package mlflow_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"runtime"
	"strings"
	"sync"
	"testing"

	"pgregory.net/rapid"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/gateway/mlflow"
)

// A shelf keeps artifacts in memory.
type shelf struct {
	mu    sync.Mutex
	files map[string][]byte
	parts map[int][]byte
}

func (s *shelf) artifacts() mlflow.Artifacts {
	return mlflow.Artifacts{
		Open: func(_ context.Context, _ stoa.Caller, path string) (io.ReadCloser, int64, error) {
			b, found := s.files[path]
			if !found {
				return nil, 0, &stoa.Refusal{Reason: stoa.ReasonNotFound, Message: "No such artifact"}
			}
			return io.NopCloser(bytes.NewReader(b)), int64(len(b)), nil
		},
		Put: func(_ context.Context, _ stoa.Caller, path string, body io.Reader) error {
			b, err := io.ReadAll(body)
			if err == nil {
				s.files[path] = b
			}
			return err
		},
		Delete: func(_ context.Context, _ stoa.Caller, path string) error {
			delete(s.files, path)
			return nil
		},
		List: func(_ context.Context, _ stoa.Caller, path string) (any, error) {
			return map[string]any{"files": []map[string]any{{"path": "listed " + path}}}, nil
		},
		Create: func(context.Context, stoa.Caller, string, int) (string, error) { return "up1", nil },
		PutPart: func(_ context.Context, _ stoa.Caller, upload string, number int, body io.Reader) (string, error) {
			b, err := io.ReadAll(body)
			s.mu.Lock()
			defer s.mu.Unlock()
			s.parts[number] = b
			return fmt.Sprint(upload, "-", number), err
		},
		Complete: func(_ context.Context, _ stoa.Caller, _, path string, parts []mlflow.Part) error {
			for _, p := range parts {
				s.files[path] = append(s.files[path], s.parts[p.Number]...)
			}
			return nil
		},
		Abort: func(context.Context, stoa.Caller, string, string) error { return nil },
	}
}

const artifacts = "/api/2.0/mlflow-artifacts/artifacts"

func TestArtifacts(t *testing.T) {
	a, s := newAPI(t), &shelf{files: map[string][]byte{}, parts: map[int][]byte{}}
	mlflow.HandleArtifacts(a, s.artifacts())
	for path, want := range map[string]string{
		"0/run/artifacts/a.txt": "text/plain", "m/MLmodel": "text/plain", "x/page.html": "text/html; charset=utf-8",
		"x/model.onnx": "application/octet-stream", "x/name with space": "application/octet-stream", "x/50%.bin": "application/octet-stream",
	} {
		escaped := (&url.URL{Path: artifacts + "/" + path}).EscapedPath()
		if status, body := do(t, a, "PUT", escaped, "content"); status != 200 || body != "{}" {
			t.Fatalf("PUT %s: %d %s", path, status, body)
		}
		r := httptest.NewRequest("GET", escaped, nil)
		r.Header.Set("Authorization", "Bearer "+key)
		w := httptest.NewRecorder()
		a.ServeHTTP(w, r)
		h := w.Header()
		if w.Code != 200 || w.Body.String() != "content" || h.Get("X-Content-Type-Options") != "nosniff" ||
			h.Get("Content-Type") != want || !strings.HasPrefix(h.Get("Content-Disposition"), "attachment") {
			t.Errorf("GET %s: %d %s %v", path, w.Code, w.Body, h)
		}
	}
	if status, body := do(t, a, "GET", artifacts+"?path=0/run/", ""); status != 200 || !strings.Contains(body, `"listed 0/run"`) {
		t.Errorf("list: %d %s", status, body)
	}
	if status, _ := do(t, a, "DELETE", artifacts+"/m/MLmodel", ""); status != 200 || s.files["m/MLmodel"] != nil {
		t.Errorf("delete: %d", status)
	}
	if status, body := do(t, a, "GET", artifacts+"/m/MLmodel", ""); status != 404 || !strings.Contains(body, "RESOURCE_DOES_NOT_EXIST") {
		t.Errorf("GET of nothing: %d %s", status, body)
	}
}

func TestArtifactsDoNotClimb(t *testing.T) {
	a, s := newAPI(t), &shelf{files: map[string][]byte{}, parts: map[int][]byte{}}
	mlflow.HandleArtifacts(a, s.artifacts())
	for _, at := range []string{
		"../secret", "a/../../secret", "%2e%2e/secret", "a/%2e%2e%2fsecret", "a%2f..%2fb", "%252e%252e/secret", "a/%252e%252e%252fb",
		"%25252e%25252e/b", `..%5csecret`, "a%5cb", "C:/x", "a//b", "./a", "a/./b", "a%00b", "a%0ab", "a/..", "%2fetc/passwd", "a%23b",
	} {
		for _, method := range []string{"GET", "PUT", "DELETE"} {
			status, body := do(t, a, method, artifacts+"/"+at, "")
			if status != 400 || !strings.Contains(body, "INVALID_PARAMETER_VALUE") {
				t.Errorf("%s %s: %d %s", method, at, status, body)
			}
		}
	}
	for _, at := range []string{"..", "a/../b", "/etc", "%2e%2e"} {
		if status, body := do(t, a, "GET", artifacts+"?path="+url.QueryEscape(at), ""); status != 400 {
			t.Errorf("list %s: %d %s", at, status, body)
		}
	}
	if len(s.files) != 0 {
		t.Errorf("kept %v", s.files)
	}
}

func TestSafePathNeverClimbs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		at := rapid.StringOfN(rapid.SampledFrom([]rune(`./\%25ef#aC:`+"\x00")), 0, 12, -1).Draw(t, "path")
		if !mlflow.SafePath(at) {
			return
		}
		for range 12 {
			for name := range strings.SplitSeq(at, "/") {
				if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "\\#\x00") {
					t.Fatalf("%q has the name %q", at, name)
				}
			}
			decoded, err := url.PathUnescape(at)
			if err != nil {
				return
			}
			at = decoded
		}
	})
}

func TestUploadInParts(t *testing.T) {
	a, s := newAPI(t), &shelf{files: map[string][]byte{}, parts: map[int][]byte{}}
	mlflow.HandleArtifacts(a, s.artifacts())
	server := httptest.NewServer(a)
	defer server.Close()
	send := func(method, target, body string) (http.Header, []byte) {
		t.Helper()
		r, err := http.NewRequest(method, target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+key)
		r.Header.Set("Content-Type", "application/json")
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		raw, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("%s %s: %d %s %v", method, target, resp.StatusCode, raw, err)
		}
		return resp.Header, raw
	}
	mpu := server.URL + "/api/2.0/mlflow-artifacts/mpu/"
	_, raw := send("POST", mpu+"create/0/run", `{"path":"C:\\tmp\\big.bin","num_parts":2}`)
	var told struct {
		UploadID    string `json:"upload_id"`
		Credentials []struct {
			URL     string
			Headers map[string]string
			Number  int `json:"part_number"`
		}
	}
	if err := json.Unmarshal(raw, &told); err != nil || len(told.Credentials) != 2 {
		t.Fatalf("%s: %v", raw, err)
	}
	for i, c := range told.Credentials {
		if c.Headers["Authorization"] != "Bearer "+key || c.Number != i+1 {
			t.Errorf("credential %+v", c)
		}
		if h, _ := send("PUT", c.URL, strings.Repeat("ab"[i:i+1], 3)); h.Get("ETag") != fmt.Sprint("up1-", i+1) {
			t.Errorf("part %d: %v", i+1, h)
		}
	}
	send("POST", mpu+"complete/0/run", `{"path":"/tmp/big.bin","upload_id":"up1","parts":[{"part_number":1,"etag":"a","url":"x"},{"part_number":2}]}`)
	if string(s.files["0/run/big.bin"]) != "aaabbb" {
		t.Errorf("put together: %q", s.files)
	}
	send("POST", mpu+"abort/0/run", `{"path":"big.bin","upload_id":"up1"}`)
	for _, body := range []string{`{"path":"..","num_parts":1}`, `{"path":"a","num_parts":0}`, `{"path":"a","num_parts":10001}`, `{"num_parts":1}`} {
		if status, answer := do(t, a, "POST", "/api/2.0/mlflow-artifacts/mpu/create/0/run", body); status != 400 {
			t.Errorf("%s: %d %s", body, status, answer)
		}
	}
}

// An upload that breaks off is refused as such, and its target sees an error, not an end.
func TestUploadBreaksOff(t *testing.T) {
	a := newAPI(t)
	seen := make(chan error, 1)
	files := (&shelf{}).artifacts()
	files.Put = func(_ context.Context, _ stoa.Caller, _ string, body io.Reader) error {
		_, err := io.Copy(io.Discard, body)
		seen <- err
		return err
	}
	mlflow.HandleArtifacts(a, files)
	r := httptest.NewRequest("PUT", artifacts+"/a", io.MultiReader(strings.NewReader("half"), broken{}))
	r.Header.Set("Authorization", "Bearer "+key)
	w := httptest.NewRecorder()
	a.ServeHTTP(w, r)
	if err := <-seen; err == nil || w.Code != 400 {
		t.Errorf("%v: %d %s", err, w.Code, w.Body)
	}
}

type broken struct{}

func (broken) Read([]byte) (int, error) { return 0, errors.New("connection reset") }

// zeros is a body of n zeros that takes no memory.
type zeros struct{ left int64 }

func (z *zeros) Read(p []byte) (int, error) {
	if z.left == 0 {
		return 0, io.EOF
	}
	n := min(int64(len(p)), z.left)
	clear(p[:n])
	z.left -= n
	return int(n), nil
}

// A file of any size passes in both directions without growing the heap.
func TestArtifactsStream(t *testing.T) {
	const size = 256 << 20
	a := newAPI(t)
	files := (&shelf{}).artifacts()
	files.Put = func(_ context.Context, _ stoa.Caller, _ string, body io.Reader) error {
		n, err := io.Copy(io.Discard, body)
		if n != size {
			return fmt.Errorf("%d bytes", n)
		}
		return err
	}
	files.Open = func(context.Context, stoa.Caller, string) (io.ReadCloser, int64, error) {
		return io.NopCloser(&zeros{size}), size, nil
	}
	mlflow.HandleArtifacts(a, files)
	server := httptest.NewServer(a)
	defer server.Close()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for _, method := range []string{"PUT", "GET"} {
		var body io.Reader
		if method == "PUT" {
			body = &zeros{size}
		}
		r, err := http.NewRequest(method, server.URL+artifacts+"/big", body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+key)
		resp, err := server.Client().Do(r)
		if err != nil {
			t.Fatal(err)
		}
		n, err := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != 200 || method == "GET" && n != size {
			t.Errorf("%s: %d, %d bytes, %v", method, resp.StatusCode, n, err)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 16<<20 {
		t.Errorf("%d bytes allocated for %d bytes of artifacts", grown, 2*size)
	}
}
