package experiment_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/principles/experiment"
)

func (r *room) put(t testing.TB, path, content string) {
	t.Helper()
	ok(t, r.PutArtifact(t.Context(), r.caller, path, strings.NewReader(content)))
}

// read gives the content of an artifact.
func (r *room) read(t testing.TB, path string) string {
	t.Helper()
	file, err := r.OpenArtifact(t.Context(), r.caller, path)
	ok(t, err)
	content, err := io.ReadAll(file.Body)
	ok(t, errors.Join(err, file.Body.Close()))
	if int64(len(content)) != file.Size {
		t.Errorf("%s has %d bytes, and its size is %d", path, len(content), file.Size)
	}
	return string(content)
}

// kept counts the blobs.
func (r *room) kept(t testing.TB) int {
	t.Helper()
	n := 0
	ok(t, r.blobs.List(t.Context(), func(string, int64) error { n++; return nil }))
	return n
}

func TestArtifacts(t *testing.T) {
	r, ctx := open(t), t.Context()
	runID := r.run(t, "0")
	root := "0/" + runID + "/artifacts/"
	r.put(t, root+"model/MLmodel", "a")
	r.put(t, root+"model/data/model.onnx", "b")
	r.put(t, root+"plot.png", "a")
	if n := r.kept(t); n != 2 {
		t.Errorf("%d blobs for two contents", n)
	}
	listed, err := r.ListArtifacts(ctx, r.caller, &experiment.ListArtifactsRequest{RunID: runID})
	ok(t, err)
	if got := strings.ReplaceAll(encode(t, listed), runID, "RUN"); got != `{"root_uri":"mlflow-artifacts:/0/RUN/artifacts","files":[`+
		`{"path":"model","is_dir":true},{"path":"plot.png","is_dir":false,"file_size":1}]}` {
		t.Error(got)
	}
	listed, err = r.ListArtifacts(ctx, r.caller, &experiment.ListArtifactsRequest{RunID: runID, Path: "model"})
	ok(t, err)
	if got := encode(t, listed.Files); got != `[{"path":"model/MLmodel","is_dir":false,"file_size":1},`+
		`{"path":"model/data","is_dir":true}]` {
		t.Error(got)
	}
	at, err := r.ListArtifactsAt(ctx, r.caller, root+"model/data")
	ok(t, err)
	if got := encode(t, at); got != `{"files":[{"path":"model.onnx","is_dir":false,"file_size":1}]}` {
		t.Error(got)
	}
	if got := r.read(t, root+"model/data/model.onnx"); got != "b" {
		t.Errorf("read %q", got)
	}

	r.put(t, root+"plot.png", "c") // the content before is still at another path
	ok(t, r.DeleteArtifact(ctx, r.caller, root+"model"))
	if n := r.kept(t); n != 1 {
		t.Errorf("%d blobs for one content", n)
	}
	refused(t, r.DeleteArtifact(ctx, r.caller, root+"model"), stoa.ReasonNotFound, "No such artifact")
	_, err = r.OpenArtifact(ctx, r.caller, root+"model")
	refused(t, err, stoa.ReasonNotFound, "No such artifact")
	refused(t, r.PutArtifact(ctx, r.caller, root+"plot.png/x", strings.NewReader("x")), stoa.ReasonInvalid, "is a file")
	refused(t, r.PutArtifact(ctx, r.caller, "0/"+runID, strings.NewReader("x")), stoa.ReasonInvalid, "is a directory")
	if n := r.kept(t); n != 1 {
		t.Errorf("refused artifacts left %d blobs", n-1)
	}
}

func TestArtifactPaths(t *testing.T) {
	r, ctx := open(t), t.Context()
	for _, path := range []string{
		"../x", "a/../../x", "/etc/passwd", "%2e%2e/x", "a/%2e%2e/%2e%2e/x", "%252e%252e/x", "a\\..\\x", "file:///etc/passwd",
		"http://169.254.169.254/x", "c:/x", "a\x00b", "%00", "%2fetc/passwd", "", ".", "a/", strings.Repeat("a/", 2000) + "a",
	} {
		err := r.PutArtifact(ctx, r.caller, path, strings.NewReader("x"))
		refused(t, err, stoa.ReasonInvalid, "Invalid path: ")
	}
	if n := r.kept(t); n != 0 {
		t.Errorf("%d blobs were kept", n)
	}
	made, err := r.CreateExperiment(ctx, r.caller, &experiment.CreateExperimentRequest{
		Name: "elsewhere", ArtifactLocation: "s3://bucket/x",
	})
	ok(t, err)
	_, err = r.ListArtifacts(ctx, r.caller, &experiment.ListArtifactsRequest{RunID: r.run(t, made.ExperimentID)})
	refused(t, err, stoa.ReasonInvalid, "which this server does not open.")
	for _, location := range []string{"runs:/x", "mlflow-artifacts:/1/../2", "s3://b/x?y=1", "s3://b/%2e%2E/x"} {
		_, err := r.CreateExperiment(ctx, r.caller, &experiment.CreateExperimentRequest{Name: "n", ArtifactLocation: location})
		refused(t, err, stoa.ReasonInvalid, "")
	}
}

func TestBrokenUpload(t *testing.T) {
	r, ctx := open(t), t.Context()
	r.put(t, "0/a", "before")
	broken := io.MultiReader(strings.NewReader("half"), iotest.ErrReader(errors.New("connection reset")))
	if err := r.PutArtifact(ctx, r.caller, "0/a", broken); err == nil {
		t.Error("a broken upload was taken")
	}
	if got := r.read(t, "0/a"); got != "before" || r.kept(t) != 1 {
		t.Errorf("after a broken upload there is %q and %d blobs", got, r.kept(t))
	}
}

func TestMultipartUpload(t *testing.T) {
	r, ctx := open(t), t.Context()
	upload, err := r.CreateUpload(ctx, r.caller, "0/big")
	ok(t, err)
	var parts []experiment.Part
	var want bytes.Buffer
	for number := 3; number >= 1; number-- {
		_, err := r.PutPart(ctx, r.caller, upload, number, strings.NewReader("replaced"))
		ok(t, err)
		tag, err := r.PutPart(ctx, r.caller, upload, number, strings.NewReader(fmt.Sprint("part ", number, "\n")))
		ok(t, err)
		parts = append(parts, experiment.Part{Number: number, ETag: tag})
	}
	for number := 1; number <= 3; number++ {
		fmt.Fprint(&want, "part ", number, "\n")
	}
	refused(t, r.CompleteUpload(ctx, r.caller, upload, "0/big", parts[:2]), stoa.ReasonInvalid, "is not named with its tag")
	refused(t, r.CompleteUpload(ctx, r.caller, upload, "0/other", parts), stoa.ReasonInvalid, "The upload is to '0/big'")
	_, err = r.OpenArtifact(ctx, r.caller, "0/big")
	refused(t, err, stoa.ReasonNotFound, "")
	ok(t, r.CompleteUpload(ctx, r.caller, upload, "0/big", parts))
	if got := r.read(t, "0/big"); got != want.String() || r.kept(t) != 1 {
		t.Errorf("the upload gave %q and %d blobs", got, r.kept(t))
	}
	refused(t, r.AbortUpload(ctx, r.caller, upload), stoa.ReasonNotFound, "No upload with id")

	upload, err = r.CreateUpload(ctx, r.caller, "0/big")
	ok(t, err)
	_, err = r.PutPart(ctx, r.caller, upload, 1, strings.NewReader("x"))
	ok(t, err)
	ok(t, r.AbortUpload(ctx, r.caller, upload))
	_, err = r.PutPart(ctx, r.caller, upload, 1, strings.NewReader("x"))
	refused(t, err, stoa.ReasonNotFound, "No upload with id")
	if r.kept(t) != 1 {
		t.Errorf("an aborted upload left %d blobs", r.kept(t)-1)
	}
}

func TestSweep(t *testing.T) {
	r, ctx := open(t), t.Context()
	r.put(t, "0/a", "kept")
	_, _, err := r.blobs.Put(ctx, strings.NewReader("left by a crash"))
	ok(t, err)
	upload, err := r.CreateUpload(ctx, r.caller, "0/b")
	ok(t, err)
	_, err = r.PutPart(ctx, r.caller, upload, 1, strings.NewReader("never completed"))
	ok(t, err)
	swept, err := r.Sweep(ctx, time.UnixMilli(0))
	ok(t, err)
	if swept != 1 || r.kept(t) != 2 {
		t.Errorf("swept %d and kept %d", swept, r.kept(t))
	}
	swept, err = r.Sweep(ctx, time.UnixMilli(1700000000001))
	ok(t, err)
	if swept != 1 || r.read(t, "0/a") != "kept" {
		t.Errorf("swept %d", swept)
	}
}

// TestSameBytesComeAndGo has writers put and delete the same content: what was acknowledged can be read.
func TestSameBytesComeAndGo(t *testing.T) {
	r, ctx := open(t), t.Context()
	var all sync.WaitGroup
	for w := range 8 {
		all.Go(func() {
			path := fmt.Sprint("0/", w)
			for range 20 {
				err := r.PutArtifact(ctx, r.caller, path, strings.NewReader("same"))
				var refusal *stoa.Refusal
				if errors.As(err, &refusal) && refusal.Reason == stoa.ReasonOverloaded {
					continue
				}
				if err != nil {
					t.Error(err)
					return
				}
				if got := r.read(t, path); got != "same" {
					t.Errorf("read %q", got)
				}
				if err := r.DeleteArtifact(ctx, r.caller, path); err != nil {
					t.Error(err)
				}
			}
		})
	}
	all.Wait()
	if n := r.kept(t); n != 0 {
		t.Errorf("%d blobs are left", n)
	}
}
