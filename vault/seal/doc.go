// Package seal holds the locks of a vault: key slots, key derivation and
// authenticated encryption, and the header file that carries the slots.
//
// It knows no record and no database: callers name what they seal by associated
// data, and get bytes back.
package seal

import "errors"

// Failures that callers tell apart.
var (
	ErrFormat   = errors.New("not a vault header, or a damaged one")
	ErrNewer    = errors.New("written by a newer program")
	ErrParams   = errors.New("key derivation parameters are out of range")
	ErrKey      = errors.New("wrong passphrase")
	ErrMAC      = errors.New("the header was changed outside")
	ErrTampered = errors.New("sealed bytes were changed, moved or sealed with another key")
	ErrClosed   = errors.New("the key was destroyed")
)
