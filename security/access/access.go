// Package access decides who a caller is: it keeps the API keys and admits requests by them.
//
// A key is a random secret of 256 bits. The secret is shown once, when the key is made; from then on only its SHA-256 is
// kept. A plain hash is enough because there is nothing to guess: a password needs a slow hash, 256 random bits do not.
//
// [Access.Admit] is in the request path. It hashes what the client sent and looks the hash up in an index in memory that
// is replaced whole when a key is made or revoked, after the change is durable. The index is keyed by the first bytes of
// the hash, of which a client cannot choose or learn anything that helps; the rest is compared in constant time. Whatever
// is wrong with a key, the refusal is the same.
//
// The first start makes the owner's key and writes it to owner.key in the data directory, readable by its owner only. The
// file is written and on the disk before the database learns the hash, so that a crash in between leaves a file to be
// adopted by the next start, never a hash whose secret nobody has. An owner.key that somebody else has put there is
// adopted too: that is how the key is set from outside, and how it is replaced when it was lost.
//
// Keys are made and revoked in one transaction with their row in the ledger. The last owner cannot be revoked.
package access

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"embed"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"log/slog"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/stoaproject/stoa"
	"github.com/stoaproject/stoa/ledger"
	"github.com/stoaproject/stoa/store"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Config is what [New] needs.
type Config struct {
	DB     *store.DB
	Ledger *ledger.Ledger
	Dir    string // directory of owner.key
	Logger *slog.Logger
	Now    func() time.Time // nil for time.Now
}

// A Key is what is known about an API key; its secret is not.
type Key struct {
	ID        string    `json:"id"`
	Name      string    `json:"name"`
	Owner     bool      `json:"owner"`
	CreatedAt time.Time `json:"created_at"`
	CreatedBy string    `json:"created_by"`
	RevokedAt time.Time `json:"revoked_at,omitzero"` // zero while the key is good
	RevokedBy string    `json:"revoked_by,omitempty"`
}

// Access keeps the keys. It is safe for concurrent use.
type Access struct {
	db     *store.DB
	ledger *ledger.Ledger
	logger *slog.Logger
	now    func() time.Time
	index  atomic.Pointer[index]
}

// index holds the good keys by the first eight bytes of their hash.
type index map[uint64][]indexed

type indexed struct {
	hash   digest
	caller stoa.Caller
}

// digest is the SHA-256 of a secret.
type digest [sha256.Size]byte

func (d *digest) prefix() uint64 { return binary.BigEndian.Uint64(d[:8]) }

// New opens the keys in the database, and makes or adopts the owner's.
func New(ctx context.Context, config Config) (*Access, error) {
	a := &Access{db: config.DB, ledger: config.Ledger, logger: config.Logger, now: config.Now}
	if a.now == nil {
		a.now = time.Now
	}
	if err := a.db.Migrate(ctx, "access", migrations); err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	if err := a.settleOwner(ctx, config.Dir); err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	err := a.db.Write(ctx, func(tx *store.Tx) error { return a.publish(ctx, tx) })
	if err != nil {
		return nil, fmt.Errorf("access: %w", err)
	}
	return a, nil
}

// The form of a secret: the prefix tells people and scanners what leaked.
const (
	prefix       = "stoa_"
	secretLength = len(prefix) + 43 // 32 bytes in unpadded base64
)

// newSecret makes a secret of 256 random bits.
func newSecret() Secret {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails: without randomness the program crashes
	return Secret(prefix + base64.RawURLEncoding.EncodeToString(b[:]))
}

// Admit returns who the value of an Authorization header belongs to, "Bearer" and a secret. The error is a
// [*stoa.Refusal] that does not say what was wrong.
func (a *Access) Admit(authorization string) (stoa.Caller, error) {
	const scheme = "Bearer "
	if len(authorization) <= len(scheme) || !strings.EqualFold(authorization[:len(scheme)], scheme) {
		return stoa.Caller{}, refuse()
	}
	token := strings.TrimSpace(authorization[len(scheme):])
	if len(token) != secretLength {
		return stoa.Caller{}, refuse()
	}
	var secret [secretLength]byte
	copy(secret[:], token)
	hash := digest(sha256.Sum256(secret[:]))
	for i, keys := 0, (*a.index.Load())[hash.prefix()]; i < len(keys); i++ {
		if subtle.ConstantTimeCompare(keys[i].hash[:], hash[:]) == 1 {
			return keys[i].caller, nil
		}
	}
	return stoa.Caller{}, refuse()
}

func refuse() error {
	return &stoa.Refusal{
		Reason:  stoa.ReasonUnauthenticated,
		Message: "no key, or one that is not known",
		Hint:    "send the header 'Authorization: Bearer KEY'; the first key is in owner.key in the data directory",
	}
}

var keyName = regexp.MustCompile(`^[a-z0-9]([a-z0-9._@-]{0,61}[a-z0-9])?$`)

// Create makes a key called name on behalf of by, who must be an owner. The secret is never to be had again.
func (a *Access) Create(ctx context.Context, name string, by stoa.Caller) (Secret, stoa.Caller, error) {
	return a.create(ctx, name, false, by)
}

// CreateOwner makes a key like Create, whose bearer may do everything.
func (a *Access) CreateOwner(ctx context.Context, name string, by stoa.Caller) (Secret, stoa.Caller, error) {
	return a.create(ctx, name, true, by)
}

func (a *Access) create(ctx context.Context, name string, owner bool, by stoa.Caller) (Secret, stoa.Caller, error) {
	if err := mayManage(by); err != nil {
		return "", stoa.Caller{}, err
	}
	if !keyName.MatchString(name) {
		return "", stoa.Caller{}, &stoa.Refusal{Reason: stoa.ReasonInvalid, Message: fmt.Sprintf("%.80q is not a key name", name),
			Hint: "use 1 to 63 lower-case letters, digits and . _ @ -, beginning and ending with a letter or digit"}
	}
	secret, caller := newSecret(), stoa.Caller{ID: newID(), Name: name, Owner: owner}
	err := a.db.Write(ctx, func(tx *store.Tx) error {
		if _, found, err := find(ctx, tx, "name = ? AND revoked_at = 0", name); err != nil {
			return err
		} else if found {
			return &stoa.Refusal{Reason: stoa.ReasonConflict, Message: fmt.Sprintf("there is a key called %q", name),
				Hint: "choose another name, or revoke that key first"}
		}
		if err := a.insert(ctx, tx, caller, secret.digest(), by, ""); err != nil {
			return err
		}
		return a.publish(ctx, tx)
	})
	if err != nil {
		return "", stoa.Caller{}, fmt.Errorf("access: create key: %w", err)
	}
	return secret, caller, nil
}

// Revoke makes the key useless, at once and for good, on behalf of by, who must be an owner. The last owner's key cannot
// be revoked.
func (a *Access) Revoke(ctx context.Context, id string, by stoa.Caller) error {
	if err := mayManage(by); err != nil {
		return err
	}
	err := a.db.Write(ctx, func(tx *store.Tx) error {
		key, found, err := find(ctx, tx, "id = ?", id)
		switch {
		case err != nil:
			return err
		case !found:
			return &stoa.Refusal{Reason: stoa.ReasonNotFound, Message: fmt.Sprintf("no key %.80q", id)}
		case !key.RevokedAt.IsZero():
			return &stoa.Refusal{Reason: stoa.ReasonConflict, Message: fmt.Sprintf("key %s is revoked already", id)}
		}
		if key.Owner {
			var owners int
			row := tx.QueryRow(ctx, "SELECT COUNT(*) FROM access_key WHERE owner = 1 AND revoked_at = 0")
			if err := row.Scan(&owners); err != nil {
				return err
			}
			if owners == 1 {
				return &stoa.Refusal{Reason: stoa.ReasonConflict, Message: "this is the last owner's key",
					Hint: "create another owner's key first"}
			}
		}
		if err := a.revoke(ctx, tx, key, by, ""); err != nil {
			return err
		}
		return a.publish(ctx, tx)
	})
	if err != nil {
		return fmt.Errorf("access: revoke key: %w", err)
	}
	return nil
}

func mayManage(by stoa.Caller) error {
	if by.Owner {
		return nil
	}
	return &stoa.Refusal{Reason: stoa.ReasonForbidden, Message: "only an owner may do this"}
}

// newID makes the identifier of a key, which is unrelated to its secret.
func newID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails, see newSecret
	return "key-" + hex.EncodeToString(b[:])
}
