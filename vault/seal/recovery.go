package seal

import (
	"encoding/base32"
	"fmt"
	"io"
	"strings"

	"keyturn/pkg/secret"
)

// RecoverySize is the number of random bytes in a recovery code.
const RecoverySize = 20

// group is how many characters of a code stand together.
const group = 4

// NewRecoveryCode draws a code for paper: 32 letters and digits in groups of
// four, from the alphabet of RFC 4648 base32, which has neither 0 nor 1.
func NewRecoveryCode(random io.Reader) (secret.Value, error) {
	b := make([]byte, RecoverySize)
	defer clear(b)
	if _, err := io.ReadFull(random, b); err != nil {
		return secret.Value{}, fmt.Errorf("draw a recovery code: %w", err)
	}
	text := make([]byte, base32.StdEncoding.EncodedLen(len(b)))
	base32.StdEncoding.Encode(text, b)
	defer clear(text)
	code := make([]byte, 0, len(text)+len(text)/group)
	for i, c := range text {
		if i > 0 && i%group == 0 {
			code = append(code, '-')
		}
		code = append(code, c)
	}
	return secret.New(code), nil
}

// ParseRecoveryCode reads a code as a person types it: in any case, with or
// without what separates the groups. ok is false for any other text.
func ParseRecoveryCode(typed secret.Value) (code secret.Value, ok bool) {
	if typed.Len() > 2*base32.StdEncoding.EncodedLen(RecoverySize) {
		return secret.Value{}, false
	}
	text := make([]byte, 0, typed.Len())
	defer func() { clear(text) }()
	for _, c := range typed.Reveal() {
		switch {
		case strings.ContainsRune(" -", rune(c)):
		case c >= 'a' && c <= 'z':
			text = append(text, c-'a'+'A')
		default:
			text = append(text, c)
		}
	}
	if len(text) != base32.StdEncoding.EncodedLen(RecoverySize) {
		return secret.Value{}, false
	}
	b := make([]byte, RecoverySize)
	if n, err := base32.StdEncoding.Decode(b, text); err != nil || n != RecoverySize {
		clear(b)
		return secret.Value{}, false
	}
	return secret.New(b), true
}
