package password

import (
	"errors"
	"fmt"
	"io"
	"unicode"
	"unicode/utf8"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

const (
	uppers = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
	lowers = "abcdefghijklmnopqrstuvwxyz"
	digits = "0123456789"
)

// maxDraws bounds the bytes drawn for one number. Each is accepted with a
// chance above one half, so that only a broken source ever needs that many.
const maxDraws = 256

var errRandom = errors.New("the source of randomness is broken: it repeats itself")

// Generate draws a password that keeps r from random, which is
// crypto/rand.Reader outside tests. Every password with the drawn mix of classes
// and, where there are letters or digits, one of them in front, is equally
// likely. The caller owns the result.
func Generate(random io.Reader, r Rules) (secret.Value, error) {
	if err := r.check(); err != nil {
		return secret.Value{}, err
	}
	g := generator{random: random}
	pw := make([]byte, 0, r.Length)
	var all []byte
	alphanumeric := 0
	for _, c := range []struct {
		count  int
		set    string
		symbol bool
	}{
		{r.Upper, uppers, false},
		{r.Lower, lowers, false},
		{r.Digits, digits, false},
		{r.Symbols, usable(r.specials()), true},
	} {
		if c.count == 0 {
			continue
		}
		all = append(all, c.set...)
		for range c.count {
			pw = append(pw, g.pick(c.set))
		}
		if !c.symbol {
			alphanumeric += c.count
		}
	}
	for len(pw) < r.Length {
		pw = append(pw, g.pick(string(all)))
	}
	g.shuffle(pw, alphanumeric > 0)
	if g.err != nil {
		clear(pw)
		return secret.Value{}, fmt.Errorf("generate a password: %w", g.err)
	}
	return secret.New(pw), nil
}

// A generator draws until its first error, and zeros from then on.
type generator struct {
	random io.Reader
	err    error
}

// below returns a number from 0 to n-1, each equally likely: bytes above the
// last full multiple of n are drawn again, where a modulo would favour small
// numbers. n is at most 256.
func (g *generator) below(n int) int {
	limit := 256 - 256%n
	var b [1]byte
	for range maxDraws {
		if g.err != nil {
			return 0
		}
		if _, err := io.ReadFull(g.random, b[:]); err != nil {
			g.err = err
			return 0
		}
		if int(b[0]) < limit {
			return int(b[0]) % n
		}
	}
	g.err = errRandom
	return 0
}

func (g *generator) pick(set string) byte { return set[g.below(len(set))] }

// shuffle puts b in random order (Fisher and Yates). With alphanumericFirst a
// letter or digit comes first, each equally likely: some tools take a leading
// dash or slash for an option.
//
//nolint:revive // the flag is no mode: it is a fact about b
func (g *generator) shuffle(b []byte, alphanumericFirst bool) {
	rest := b
	if alphanumericFirst {
		for {
			i := g.below(len(b))
			if g.err != nil {
				return
			}
			if isAlphanumeric(b[i]) {
				b[0], b[i] = b[i], b[0]
				break
			}
		}
		rest = b[1:]
	}
	for i := len(rest) - 1; i > 0; i-- {
		j := g.below(i + 1)
		rest[i], rest[j] = rest[j], rest[i]
	}
}

func isAlphanumeric(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'A' && c <= 'Z' || c >= 'a' && c <= 'z'
}

// Valid reports as ErrPolicy why nobody should set password anywhere: it is
// empty, holds a control character (a NUL is accepted by directories that then
// let nobody in, a line feed ends the line on which tools read it), or is no
// UTF-8, which includes half a surrogate pair. The error does not show it.
func Valid(password secret.Value) error {
	b := password.Reveal()
	if len(b) == 0 {
		return pam.Errorf(pam.ErrPolicy, "the password is empty")
	}
	if !utf8.Valid(b) {
		return pam.Errorf(pam.ErrPolicy, "the password is not valid UTF-8, so that targets would not agree on it")
	}
	for len(b) > 0 {
		c, size := utf8.DecodeRune(b)
		if unicode.IsControl(c) {
			return pam.Errorf(pam.ErrPolicy, "the password holds a control character, which targets cut off or refuse")
		}
		b = b[size:]
	}
	return nil
}
