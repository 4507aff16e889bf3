package gateway

import (
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"

	"github.com/stoaproject/stoa"
)

// keep is the capacity above which a buffer is left to the garbage collector.
const keep = 1 << 20

// A buffer is pooled memory for one body and then for its reply.
type buffer struct{ b []byte }

func (g *Gateway) getBuffer() *buffer {
	if b, ok := g.buffers.Get().(*buffer); ok {
		return b
	}
	return &buffer{b: make([]byte, 0, 4096)}
}

func (g *Gateway) putBuffer(b *buffer) {
	if cap(b.b) <= keep {
		b.b = b.b[:0]
		g.buffers.Put(b)
	}
}

// A mediaError is a refusal of the body's form, which has a status of its own.
type mediaError struct{ stoa.Refusal }

func (e *mediaError) Error() string { return e.Refusal.Error() }

func (e *mediaError) Unwrap() error { return &e.Refusal }

func unsupportedMedia(message, hint string) error {
	return &mediaError{stoa.Refusal{Reason: stoa.ReasonUnsupported, Message: message, Hint: hint}}
}

// checkMedia refuses a body that says that it is not JSON. What curl -d calls a body when it is told nothing counts as
// saying nothing; no browser can be tricked by that, since the key travels in a header.
func checkMedia(h http.Header) error {
	if v := h["Inference-Header-Content-Length"]; len(v) > 0 {
		return unsupportedMedia("binary tensor data are not supported",
			"send tensors as JSON, without the header Inference-Header-Content-Length")
	}
	types := h["Content-Type"]
	if len(types) == 0 || len(types) == 1 && types[0] == "application/json" {
		return nil
	}
	if len(types) == 1 {
		media, params, err := mime.ParseMediaType(types[0])
		charset := params["charset"]
		if err == nil && media == "application/x-www-form-urlencoded" {
			return nil
		}
		if err == nil && media == "application/json" && (charset == "" || strings.EqualFold(charset, "utf-8")) {
			return nil
		}
	}
	return unsupportedMedia(fmt.Sprintf("the content type %.64q is not supported", strings.Join(types, ", ")),
		"send Content-Type: application/json")
}

// readBody reads the body of a request into b, decompressed, within the limit.
func (g *Gateway) readBody(r *http.Request, b *buffer) error {
	if err := checkMedia(r.Header); err != nil {
		return err
	}
	limit := g.Limits.Request.Bytes
	if r.ContentLength > int64(limit) {
		return tooLarge(limit)
	}
	switch enc := r.Header["Content-Encoding"]; {
	case len(enc) == 0 || len(enc) == 1 && enc[0] == "identity":
		return readPlain(r, b, limit)
	case len(enc) == 1 && enc[0] == "gzip":
		return g.readGzip(r, b, limit)
	default:
		return unsupportedMedia(fmt.Sprintf("the content encoding %.64q is not supported", strings.Join(enc, ", ")),
			"send the body as it is, or with Content-Encoding: gzip")
	}
}

// readPlain reads a body that is sent as it is.
func readPlain(r *http.Request, b *buffer, limit int) error {
	err := readAll(r.Body, b, limit, int(r.ContentLength))
	switch {
	case err == nil:
		return nil
	case r.Context().Err() != nil || errors.Is(err, io.ErrUnexpectedEOF):
		return gone(err)
	}
	return unreadable("the body cannot be read", err)
}

// readGzip reads a compressed body. The limit holds for the bytes sent and for what they decompress to.
func (g *Gateway) readGzip(r *http.Request, b *buffer, limit int) error {
	body := io.LimitReader(r.Body, int64(limit)+1)
	z, pooled := g.unzip.Get().(*gzip.Reader)
	var err error
	if pooled {
		err = z.Reset(body)
	} else {
		z, err = gzip.NewReader(body)
	}
	if z != nil {
		defer g.unzip.Put(z)
	}
	if err == nil {
		err = readAll(z, b, limit, -1)
	}
	switch {
	case err == nil:
		return nil
	case r.Context().Err() != nil:
		return gone(err)
	}
	return unreadable("the body is not valid gzip", err)
}

// readAll reads to the end of a body whose length is known or -1. It has to see the end for net/http to watch whether
// the client goes away. A body over the limit is a refusal, any other error that of the reader.
func readAll(from io.Reader, b *buffer, limit, length int) error {
	if length >= cap(b.b) {
		b.b = make([]byte, 0, length+1)
	}
	for {
		if len(b.b) == cap(b.b) {
			b.b = append(b.b, 0)[:len(b.b)]
		}
		n, err := from.Read(b.b[len(b.b):cap(b.b)])
		b.b = b.b[:len(b.b)+n]
		switch {
		case len(b.b) > limit:
			return tooLarge(limit)
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		}
	}
}

func gone(err error) error {
	return &stoa.Refusal{
		Reason: stoa.ReasonCanceled, Message: "the client went away before the body was complete", Err: err,
	}
}

// unreadable reports a body that cannot be read, unless the reason is known.
func unreadable(message string, err error) error {
	var r *stoa.Refusal
	if errors.As(err, &r) {
		return err
	}
	return &stoa.Refusal{Reason: stoa.ReasonMalformed, Message: message, Err: err}
}

func tooLarge(limit int) error {
	return &stoa.Refusal{
		Reason: stoa.ReasonTooLarge, Message: fmt.Sprintf("the body is over the limit of %d bytes", limit),
		Hint: "split the batch",
	}
}
