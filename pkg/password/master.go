package password

import (
	"bytes"
	"slices"
	"strings"
	"unicode"
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

// commonMasters are words that people take for a password first, with or without
// digits and signs around them. It is the top of every list of leaked passwords.
var commonMasters = []string{
	"password", "passwort", "passphrase", "letmein", "welcome", "iloveyou", "princess", "sunshine", "football", "baseball", "superman",
	"dragon", "monkey", "master", "shadow", "michael", "trustno", "whatever", "starwars", "computer", "internet", "admin",
	"administrator", "secret", "changeme", "default", "keyturn", "keeper", "commander", "vault", "test", "testing",
	"qwerty", "qwertz", "azerty", "abc", "abcd",
}

// keyRuns are characters in an order in which nobody has to think.
var keyRuns = []string{
	"01234567890", "abcdefghijklmnopqrstuvwxyz",
	"qwertyuiop", "qwertzuiop", "azertyuiop", "asdfghjkl", "zxcvbnm", "yxcvbnm",
}

// CheckMaster refuses a master password that is soon guessed: one of fewer than
// eight characters, of fewer than four different ones, or among the first that
// anybody tries. The error is ErrPolicy.
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
	case common(v):
		return pam.Errorf(pam.ErrPolicy, "the master password is among the first that anybody tries")
	}
	return nil
}

// common reports whether a password is a run of keys, or a common word with digits
// and signs around it and letters written as digits.
func common(v secret.Value) bool {
	text := bytes.ToLower(v.Reveal())
	defer clear(text)
	for _, run := range keyRuns {
		if bytes.Contains([]byte(run), text) || bytes.Contains(reversed(run), text) {
			return true
		}
	}
	notLetter := func(r rune) bool { return !unicode.IsLetter(r) }
	plain := bytes.TrimFunc(text, notLetter)
	spelled := [][]byte{plain, unleet(plain), unleet(text)}
	defer func() { clear(spelled[1]); clear(spelled[2]) }()
	return slices.ContainsFunc(commonMasters, func(word string) bool {
		return slices.ContainsFunc(spelled, func(text []byte) bool { return string(text) == word })
	})
}

func reversed(s string) []byte {
	b := []byte(s)
	slices.Reverse(b)
	return b
}

// unleet is text with letters where digits and signs stand for them.
func unleet(text []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if i := strings.IndexRune("0134578@$!", r); i >= 0 {
			return rune("oieastbasi"[i])
		}
		return r
	}, text)
}
