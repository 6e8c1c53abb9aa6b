// Package secret holds values that must never be printed, logged or marshalled
// by accident: passwords, keys, passphrases.
//
// It knows nothing else of ours. A secret lives in a [Value] from the moment it
// exists until it is handed to the library that needs it.
package secret

import (
	"bytes"
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"log/slog"
)

const redacted = "[redacted]"

// ErrMarshal is returned by every attempt to encode a [Value].
var ErrMarshal = errors.New("secret: refusing to marshal a secret value")

// A Value holds one secret. The zero Value is empty. Copies of a Value share
// the same bytes, so that Destroy on one empties all. Concurrent readers are
// fine; Destroy must not run beside them.
//
// The bytes sit behind two pointers because fmt follows a single pointer to a
// slice or struct when the Value is an unexported field of another type, where
// it cannot call the methods below.
type Value struct {
	p **[]byte
}

// New returns a Value that owns b: the caller must not use b afterwards.
func New(b []byte) Value {
	p := &b
	return Value{&p}
}

// Copy returns a Value over a copy of b, for bytes that belong to a library.
func Copy(b []byte) Value { return New(bytes.Clone(b)) }

// Reveal returns the secret bytes. Callers keep them no longer than one call
// and never store or log them.
func (v Value) Reveal() []byte {
	if v.p == nil {
		return nil
	}
	return **v.p
}

// Clone returns a Value of its own bytes, for an owner that destroys it later.
func (v Value) Clone() Value {
	if v.p == nil {
		return Value{}
	}
	return Copy(v.Reveal())
}

// Join returns a Value of its own bytes: those of parts, one after another.
func Join(parts ...Value) Value {
	size := 0
	for _, p := range parts {
		size += p.Len()
	}
	joined := make([]byte, 0, size) // growing it would leave copies behind
	for _, p := range parts {
		joined = append(joined, p.Reveal()...)
	}
	return New(joined)
}

// Len returns the number of bytes.
func (v Value) Len() int { return len(v.Reveal()) }

// IsZero reports whether v holds nothing.
func (v Value) IsZero() bool { return v.Len() == 0 }

// Equal compares in constant time. Lengths are not hidden.
func (v Value) Equal(o Value) bool {
	return subtle.ConstantTimeCompare(v.Reveal(), o.Reveal()) == 1
}

// Destroy overwrites the secret in place and empties the Value. It is best
// effort: copies that the runtime or a library made are out of reach.
func (v Value) Destroy() {
	if v.p == nil {
		return
	}
	clear(**v.p)
	**v.p = nil
}

// Format implements [fmt.Formatter] for every verb.
func (Value) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue implements [slog.LogValuer].
func (Value) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText makes encoding/json and its kin fail instead of leaking the
// secret or, worse, storing the word "[redacted]" in its place.
func (Value) MarshalText() ([]byte, error) { return nil, ErrMarshal }
