package password

import (
	"unicode/utf8"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// The least that a master password has to be: whoever steals a copy of the vault
// tries as many as his machines can derive keys from.
const (
	masterLength  = 8
	masterLetters = 4 // different ones
)

// CheckMaster refuses a master password that is soon guessed: one of fewer than
// eight characters, or of fewer than four different ones. The error is ErrPolicy.
func CheckMaster(v secret.Value) error {
	text := v.Reveal()
	length := utf8.RuneCount(text)
	seen := map[rune]bool{}
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		seen[r] = true
		text = text[size:]
	}
	switch {
	case length < masterLength:
		return pam.Errorf(pam.ErrPolicy, "the master password is too short: it has %d characters, and at least %d are needed",
			length, masterLength)
	case len(seen) < masterLetters:
		return pam.Errorf(pam.ErrPolicy, "the master password is too simple: it is made of %d different characters", len(seen))
	}
	return nil
}
