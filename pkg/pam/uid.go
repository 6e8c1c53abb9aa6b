package pam

import (
	"encoding/base64"
	"fmt"
	"io"
)

// A UID names a record, account, job or op: 16 random bytes in unpadded
// base64url, 22 characters. The first character is never '-' or '_', so that a
// UID is never taken for a flag. The zero UID is "" and names nothing.
type UID string

const uidBytes = 16

// NewUID draws a UID from random, which is crypto/rand.Reader outside tests.
func NewUID(random io.Reader) (UID, error) {
	var b [uidBytes]byte
	if _, err := io.ReadFull(random, b[:]); err != nil {
		return "", fmt.Errorf("draw a UID: %w", err)
	}
	// The first six bits make the first character: 62 is '-', 63 is '_'.
	// Clearing the top bit when the first five are all ones avoids both.
	if b[0]&0xf8 == 0xf8 {
		b[0] &= 0x7f
	}
	return UID(base64.RawURLEncoding.EncodeToString(b[:])), nil
}

// ParseUID reads a UID as a person or file gives it. The error is ErrInvalidInput.
func ParseUID(s string) (UID, error) {
	if !IsUID(s) {
		return "", Errorf(ErrInvalidInput, "%q is not a UID (22 characters of A-Z a-z 0-9 - _)", s)
	}
	return UID(s), nil
}

// IsUID reports whether s has the form of a UID.
func IsUID(s string) bool {
	return len(s) == base64.RawURLEncoding.EncodedLen(uidBytes) && s[0] != '-' && s[0] != '_' && only(s, isUIDByte)
}

func isUIDByte(b byte) bool {
	return b >= 'A' && b <= 'Z' || b >= 'a' && b <= 'z' || isDigit(b) || b == '-' || b == '_'
}

func isDigit(b byte) bool { return b >= '0' && b <= '9' }

// only reports whether every byte of s is one of those. The forms that every
// command meets are checked by hand: a regular expression costs each process its
// compilation.
func only(s string, those func(byte) bool) bool {
	for i := range len(s) {
		if !those(s[i]) {
			return false
		}
	}
	return true
}
