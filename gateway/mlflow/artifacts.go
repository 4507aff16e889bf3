package mlflow

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/stoaproject/stoa"
)

// A Part is one uploaded part of an upload in parts.
type Part struct {
	Number int    `json:"part_number"` // from 1
	ETag   string `json:"etag"`
}

// Artifacts is what the artifact proxy stands on. Paths are relative, with slashes, and have been checked with
// [SafePath]. All fields are required.
type Artifacts struct {
	Open   func(ctx context.Context, c stoa.Caller, path string) (body io.ReadCloser, size int64, err error)
	Put    func(ctx context.Context, c stoa.Caller, path string, body io.Reader) error
	Delete func(ctx context.Context, c stoa.Caller, path string) error

	// List gives the answer to a listing of what lies directly beneath a path, with names relative to it.
	List func(ctx context.Context, c stoa.Caller, path string) (answer any, err error)

	Create   func(ctx context.Context, c stoa.Caller, path string, parts int) (upload string, err error)
	PutPart  func(ctx context.Context, c stoa.Caller, upload string, number int, body io.Reader) (etag string, err error)
	Complete func(ctx context.Context, c stoa.Caller, upload, path string, parts []Part) error
	Abort    func(ctx context.Context, c stoa.Caller, upload, path string) error
}

// maxParts is the largest number of parts of an upload.
const maxParts = 10_000

// patience is how long one read or write of a streamed body may take. A whole body has no limit of its own.
const patience = 2 * time.Minute

// HandleArtifacts registers the artifact proxy. Bodies stream in both directions: memory does not grow with them.
func HandleArtifacts(a *API, files Artifacts) {
	for _, root := range []string{"/api/2.0/mlflow-artifacts", "/ajax-api/2.0/mlflow-artifacts"} {
		list := func(w http.ResponseWriter, r *http.Request, c stoa.Caller) error {
			at := strings.TrimSuffix(r.URL.Query().Get("path"), "/")
			if at != "" && !SafePath(at) {
				return badPath(at)
			}
			answer, err := files.List(r.Context(), c, at)
			if err != nil {
				return err
			}
			return reply(w, answer)
		}
		a.Raw("GET", root+"/artifacts", list)
		a.Raw("GET", root+"/artifacts/{$}", list)
		a.rawAt("GET", root+"/artifacts/{path...}", func(w http.ResponseWriter, r *http.Request, c stoa.Caller, at string) error {
			body, size, err := files.Open(r.Context(), c, at)
			if err != nil {
				return err
			}
			return ServeFile(w, at, size, body)
		})
		a.rawAt("PUT", root+"/artifacts/{path...}", func(w http.ResponseWriter, r *http.Request, c stoa.Caller, at string) error {
			if err := files.Put(r.Context(), c, at, Upload(w, r)); err != nil {
				return err
			}
			return reply(w, struct{}{})
		})
		a.rawAt("DELETE", root+"/artifacts/{path...}", func(w http.ResponseWriter, r *http.Request, c stoa.Caller, at string) error {
			if err := files.Delete(r.Context(), c, at); err != nil {
				return err
			}
			return reply(w, struct{}{})
		})
		handleParts(a, root, files)
	}
}

// handleParts registers uploads in parts. The client asks for the addresses of the parts, sends each part with the
// headers that it was told, and has them put together.
func handleParts(a *API, root string, files Artifacts) {
	type request struct {
		Path     string `json:"path"` // the file on the client's disk, of which the name counts
		NumParts int    `json:"num_parts"`
		UploadID string `json:"upload_id"`
		Parts    []Part `json:"parts"`
	}
	step := func(verb string, do func(r *http.Request, c stoa.Caller, at string, req *request) (any, error)) {
		a.rawAt("POST", root+"/mpu/"+verb+"/{path...}", func(w http.ResponseWriter, r *http.Request, c stoa.Caller, at string) error {
			body, err := a.readBody(r)
			if err != nil {
				return err
			}
			var req request
			if err := Unmarshal(body, &req); err != nil {
				return err
			}
			name := req.Path[strings.LastIndexAny(req.Path, `/\`)+1:]
			if name == "" || !SafePath(at+"/"+name) {
				return badPath(req.Path)
			}
			answer, err := do(r, c, at+"/"+name, &req)
			if err != nil {
				return err
			}
			return reply(w, answer)
		})
	}
	step("create", func(r *http.Request, c stoa.Caller, at string, req *request) (any, error) {
		if req.NumParts < 1 || req.NumParts > maxParts {
			return nil, &stoa.Refusal{
				Reason: stoa.ReasonBadInput, Message: fmt.Sprintf("Invalid value %d for parameter 'num_parts' supplied", req.NumParts),
				Hint: fmt.Sprintf("an upload has 1 to %d parts", maxParts),
			}
		}
		upload, err := files.Create(r.Context(), c, at, req.NumParts)
		if err != nil {
			return nil, err
		}
		return partAddresses(r, root, upload, req.NumParts), nil
	})
	step("complete", func(r *http.Request, c stoa.Caller, at string, req *request) (any, error) {
		return struct{}{}, files.Complete(r.Context(), c, req.UploadID, at, req.Parts)
	})
	step("abort", func(r *http.Request, c stoa.Caller, at string, req *request) (any, error) {
		return struct{}{}, files.Abort(r.Context(), c, req.UploadID, at)
	})
	a.Raw("PUT", root+"/mpu/part/{upload}/{number}", func(w http.ResponseWriter, r *http.Request, c stoa.Caller) error {
		number, err := strconv.Atoi(r.PathValue("number"))
		if err != nil || number < 1 || number > maxParts {
			return &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: fmt.Sprintf("a part has a number from 1 to %d", maxParts)}
		}
		etag, err := files.PutPart(r.Context(), c, r.PathValue("upload"), number, Upload(w, r))
		if err != nil {
			return err
		}
		w.Header().Set("ETag", etag)
		return reply(w, struct{}{})
	})
}

// A credential says where to send one part, and with which headers: those by which the client is known already.
type credential struct {
	URL     string            `json:"url"`
	Part    int               `json:"part_number"`
	Headers map[string]string `json:"headers"`
}

type credentials struct {
	UploadID    string       `json:"upload_id"`
	Credentials []credential `json:"credentials"`
}

// partAddresses gives the address of every part, on this server as the client sees it.
func partAddresses(r *http.Request, root, upload string, parts int) credentials {
	scheme := "http"
	if r.TLS != nil || r.Header.Get("X-Forwarded-Proto") == "https" {
		scheme = "https"
	}
	answer := credentials{UploadID: upload}
	for number := 1; number <= parts; number++ {
		address := url.URL{Scheme: scheme, Host: r.Host, Path: root + "/mpu/part/" + upload + "/" + strconv.Itoa(number)}
		answer.Credentials = append(answer.Credentials, credential{
			URL: address.String(), Part: number, Headers: map[string]string{"Authorization": r.Header.Get("Authorization")},
		})
	}
	return answer
}

// rawAt is Raw for a path that ends in a placeholder {path...}, which must be safe.
func (a *API) rawAt(
	method, pattern string, h func(w http.ResponseWriter, r *http.Request, c stoa.Caller, at string) error,
) {
	a.Raw(method, pattern, func(w http.ResponseWriter, r *http.Request, c stoa.Caller) error {
		at := strings.TrimSuffix(r.PathValue("path"), "/")
		if !SafePath(at) {
			return badPath(at)
		}
		return h(w, r, c, at)
	})
}

func badPath(at string) error {
	return &stoa.Refusal{Reason: stoa.ReasonBadInput, Message: fmt.Sprintf("Invalid path: %.200q", at)}
}

// reply answers with JSON.
func reply(w http.ResponseWriter, answer any) error {
	body, err := Marshal(answer)
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	_, _ = w.Write(body) // the client may be gone
	return nil
}

// SafePath reports whether a relative path has plain names only, however often it is decoded: nothing that some reader
// of it could follow to where it should not go.
func SafePath(at string) bool {
	if at == "" || len(at) > 4096 {
		return false
	}
	for {
		if strings.ContainsAny(at, `\#`) || strings.ContainsFunc(at, unicode.IsControl) {
			return false
		}
		names := strings.Split(at, "/")
		if slices.ContainsFunc(names, func(name string) bool { return name == "" || name == "." || name == ".." }) {
			return false
		}
		if len(names[0]) == 2 && names[0][1] == ':' {
			return false // a drive of Windows
		}
		decoded, err := url.PathUnescape(at)
		if err != nil || decoded == at {
			return true
		}
		at = decoded
	}
}

// Upload is the body of a request that streams. The time limit of the server holds for each piece, not for the whole,
// and a body that breaks off is the client's fault.
func Upload(w http.ResponseWriter, r *http.Request) io.Reader {
	return &upload{http.NewResponseController(w), r.Body}
}

type upload struct {
	control *http.ResponseController
	body    io.Reader
}

func (u *upload) Read(p []byte) (int, error) {
	// A recorder in a test has no deadlines, and needs none.
	_ = u.control.SetReadDeadline(time.Now().Add(patience))
	n, err := u.body.Read(p)
	switch {
	case err == io.EOF:
		_ = u.control.SetReadDeadline(time.Time{})
		_ = u.control.SetWriteDeadline(time.Now().Add(patience))
	case err != nil:
		err = &stoa.Refusal{Reason: stoa.ReasonMalformed, Message: "the upload broke off: nothing was kept", Err: err}
	}
	return n, err
}

// ServeFile answers with a file and closes it. A browser is told to save it and not to guess what it is.
func ServeFile(w http.ResponseWriter, name string, size int64, body io.ReadCloser) (err error) {
	defer func() {
		if closed := body.Close(); err == nil {
			err = closed
		}
	}()
	name = path.Base(name)
	h := w.Header()
	h.Set("Content-Type", contentType(name))
	h.Set("Content-Disposition", mime.FormatMediaType("attachment", map[string]string{"filename": name}))
	h.Set("Content-Length", strconv.FormatInt(size, 10))
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; sandbox")
	_, err = io.CopyBuffer(download{http.NewResponseController(w), w}, struct{ io.Reader }{body}, make([]byte, 256<<10))
	return err
}

type download struct {
	control *http.ResponseController
	w       io.Writer
}

func (d download) Write(p []byte) (int, error) {
	_ = d.control.SetWriteDeadline(time.Now().Add(patience))
	return d.w.Write(p)
}

// plainText are the endings of names that the stock interface shows as text. It is read only.
var plainText = []string{
	"txt", "log", "err", "cfg", "conf", "cnf", "cf", "ini", "properties", "prop", "hocon", "toml", "yaml", "yml", "xml", "json",
	"js", "py", "py3", "csv", "tsv", "md", "rst", "MLmodel", "MLproject",
}

// contentType is the media type that goes with a name.
func contentType(name string) string {
	ending := name[strings.LastIndexByte(name, '.')+1:]
	if slices.Contains(plainText, ending) {
		return "text/plain"
	}
	if t := mime.TypeByExtension("." + ending); t != "" && ending != name {
		return t
	}
	return "application/octet-stream"
}
