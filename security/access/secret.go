package access

import (
	"crypto/sha256"
	"fmt"
	"log/slog"
)

// A Secret is the secret of a key. Printing, logging or encoding it gives "<secret>"; whoever means to show it says
// string(secret).
type Secret string

const redacted = "<secret>"

// String returns "<secret>".
func (Secret) String() string { return redacted }

// Format prints "<secret>", whatever the verb.
func (Secret) Format(f fmt.State, _ rune) { _, _ = f.Write([]byte(redacted)) }

// LogValue returns "<secret>".
func (Secret) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText returns "<secret>".
func (Secret) MarshalText() ([]byte, error) { return []byte(redacted), nil }

func (s Secret) digest() digest { return sha256.Sum256([]byte(s)) }
