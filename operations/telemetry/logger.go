package telemetry

import (
	"io"
	"log/slog"
	"regexp"
	"strings"
)

// redacted stands for a secret.
const redacted = "<secret>"

// NewLogger makes a logger that writes lines of JSON, or of text, to w. Secrets are replaced by "<secret>". A level that
// is a [*slog.LevelVar] can be changed later.
func NewLogger(w io.Writer, level slog.Leveler, json bool) *slog.Logger {
	options := &slog.HandlerOptions{Level: level, ReplaceAttr: redactAttr}
	if json {
		return slog.New(slog.NewJSONHandler(w, options))
	}
	return slog.New(slog.NewTextHandler(w, options))
}

// redactAttr replaces the value of an attribute whose name says that it is a secret, and secrets within other values.
func redactAttr(_ []string, a slog.Attr) slog.Attr {
	if secretName(a.Key) {
		return slog.String(a.Key, redacted)
	}
	switch a.Value.Kind() {
	case slog.KindString:
		if s := a.Value.String(); strings.Contains(s, secretMark) {
			a.Value = slog.StringValue(redactText(s))
		}
	case slog.KindAny:
		if err, ok := a.Value.Any().(error); ok {
			if s := err.Error(); strings.Contains(s, secretMark) {
				a.Value = slog.StringValue(redactText(s))
			}
		}
	}
	return a
}

// secretName reports whether an attribute of this name holds a secret.
func secretName(name string) bool {
	switch strings.ToLower(name) {
	case "authorization", "secret", "password", "passwd", "token", "api_key", "apikey", "cookie", "set-cookie", "owner_key":
		return true
	}
	return false
}

// secretMark begins every API key. A key that was cut is a secret too: what is left of it narrows a search.
const secretMark = "stoa_"

var secretForm = regexp.MustCompile(secretMark + `[A-Za-z0-9_-]{16,}`)

func redactText(s string) string { return secretForm.ReplaceAllString(s, redacted) }
