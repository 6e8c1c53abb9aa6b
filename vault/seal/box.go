package seal

import (
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"golang.org/x/crypto/chacha20poly1305"

	"keyturn/pkg/secret"
)

// KeySize is the length of a vault key and of every key derived from it.
const KeySize = 32

// Domain separation: each use of the vault key has a key of its own, named here;
// useSlot is in the associated data of slots, which have keys of their own.
const (
	useRows   = "keyturn vault 1: rows"
	useIndex  = "keyturn vault 1: blind index"
	useHeader = "keyturn vault 1: header mac"
	useSlot   = "keyturn vault 1: passphrase slot"
)

// NewKey draws a vault key.
func NewKey(random io.Reader) (secret.Value, error) {
	b := make([]byte, KeySize)
	if _, err := io.ReadFull(random, b); err != nil {
		return secret.Value{}, fmt.Errorf("draw a vault key: %w", err)
	}
	return secret.New(b), nil
}

// Subkey derives the key for one use. The caller destroys it.
func Subkey(key secret.Value, vaultID, use string) (secret.Value, error) {
	if key.Len() != KeySize {
		return secret.Value{}, ErrClosed
	}
	return Derive(key, []byte(vaultID), use), nil
}

// Derive is HKDF-SHA-256 (RFC 5869) with 32 bytes of output. It leaves no copy of a
// key behind, as that of the standard library does in hashes that it drops. The caller
// destroys the result.
func Derive(from secret.Value, salt []byte, info string) secret.Value {
	middle := macOf(salt, from.Reveal())
	defer clear(middle)
	return secret.New(macOf(middle, append([]byte(info), 1)))
}

// macOf is HMAC-SHA-256 of a text that is a secret: what of it waits for the rest of
// a block is overwritten in the end.
func macOf(key, text []byte) []byte {
	m := hmac.New(sha256.New, key)
	m.Write(text)
	sum := m.Sum(nil)
	m.Reset()
	m.Write(make([]byte, sha256.BlockSize-1))
	return sum
}

// AD encodes a list of names without ambiguity, as associated data: no two
// lists have the same encoding.
func AD(parts ...string) []byte {
	n := 0
	for _, p := range parts {
		n += len(p) + binary.MaxVarintLen32
	}
	b := make([]byte, 0, n)
	for _, p := range parts {
		b = binary.AppendUvarint(b, uint64(len(p)))
		b = append(b, p...)
	}
	return b
}

// A Box seals and opens with one vault's keys until Destroy. It is safe for
// concurrent use.
type Box struct {
	mu     sync.RWMutex
	master secret.Value
	index  secret.Value
	rows   cipher.AEAD
}

// NewBox returns the box of a vault, over a copy of its key.
func NewBox(key secret.Value, vaultID string) (*Box, error) {
	rows, err := Subkey(key, vaultID, useRows)
	if err != nil {
		return nil, err
	}
	defer rows.Destroy()
	index, err := Subkey(key, vaultID, useIndex)
	if err != nil {
		return nil, err
	}
	aead, err := chacha20poly1305.NewX(rows.Reveal())
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	return &Box{master: key.Clone(), index: index, rows: aead}, nil
}

// Key returns a copy of the vault key; empty after Destroy.
func (b *Box) Key() secret.Value {
	b.mu.RLock()
	defer b.mu.RUnlock()
	return b.master.Clone()
}

// Seal encrypts plain and binds it to ad: nonce, ciphertext and tag.
func (b *Box) Seal(random io.Reader, plain, ad []byte) ([]byte, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.rows == nil {
		return nil, ErrClosed
	}
	return sealWith(b.rows, random, plain, ad)
}

// Open decrypts what Seal made with the same ad; ErrTampered for anything else.
func (b *Box) Open(sealed, ad []byte) ([]byte, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.rows == nil {
		return nil, ErrClosed
	}
	return openWith(b.rows, sealed, ad)
}

// Index returns an opaque name for a list of parts: equal for equal lists, and
// without meaning to anybody without the key. 22 characters.
func (b *Box) Index(parts ...string) (string, error) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	if b.index.IsZero() {
		return "", ErrClosed
	}
	mac := hmac.New(sha256.New, b.index.Reveal())
	mac.Write(AD(parts...))
	return base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16]), nil
}

// Destroy overwrites the keys; the box opens nothing from then on.
func (b *Box) Destroy() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.master.Destroy()
	b.index.Destroy()
	b.rows = nil
}

func sealWith(aead cipher.AEAD, random io.Reader, plain, ad []byte) ([]byte, error) {
	out := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	if _, err := io.ReadFull(random, out); err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	return aead.Seal(out, out, plain, ad), nil
}

func openWith(aead cipher.AEAD, sealed, ad []byte) ([]byte, error) {
	if len(sealed) < aead.NonceSize()+aead.Overhead() {
		return nil, ErrTampered
	}
	nonce, body := sealed[:aead.NonceSize()], sealed[aead.NonceSize():]
	plain, err := aead.Open(nil, nonce, body, ad)
	if err != nil {
		return nil, ErrTampered
	}
	return plain, nil
}
