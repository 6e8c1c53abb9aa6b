// Package password makes passwords: it reads the rules of a password's
// complexity, generates passwords that keep them, and refuses passwords that no
// target can be trusted to take.
//
// It knows no vault and no target; randomness comes from the caller.
package password

import (
	"fmt"
	"strconv"
	"strings"

	"keyturn/pkg/pam"
)

// Specials is the set that symbols are drawn from unless the rules name their
// own: Commander's PAM_DEFAULT_SPECIAL_CHAR, which is every ASCII punctuation
// mark. None is left out for the sake of some shell, because a password is never
// put into a command line or a script.
const Specials = "!@#$%^?();',.=+[]<>{}-_/\\*&:\"`~|"

// MinAccountLength is the shortest password that an account gets: what is shorter is
// guessed, whatever it is made of, before anybody notices (NIST SP 800-63B).
const MinAccountLength = 8

// MaxLength is the longest password that rules may ask for: more is cut off or
// refused by Windows.
const MaxLength = 256

const usage = `Invalid rules to generate password. Format is "length, upper, lower, digits, symbols". ` +
	`Ex: 32,5,5,5,5[,SPECIAL CHARS]`

// Rules say what a generated password is made of. The counts are minimums; the
// rest is drawn from all classes whose count is not zero, so that a class with
// the count zero does not occur at all. The zero Rules are not valid.
type Rules struct {
	Length, Upper, Lower, Digits, Symbols int
	// Specials are the symbols to draw from; "" is the default set.
	Specials string
}

// DefaultRules are the rules of a user whose rotation settings name none.
func DefaultRules() Rules {
	return Rules{Length: 20, Upper: 1, Lower: 1, Digits: 1, Symbols: 1}
}

// ParseRules reads "length,upper,lower,digits,symbols[,SPECIALS]". Spaces around
// the numbers are allowed, and SPECIALS may hold commas. As in Commander,
// characters of SPECIALS that are no ASCII punctuation are left out. The error
// is ErrUsage.
func ParseRules(s string) (Rules, error) {
	parts := strings.SplitN(s, ",", 6)
	if len(parts) < 5 {
		return Rules{}, invalid("there are %d numbers instead of 5", len(parts))
	}
	var r Rules
	for i, dst := range []*int{&r.Length, &r.Upper, &r.Lower, &r.Digits, &r.Symbols} {
		n, err := strconv.Atoi(strings.TrimSpace(parts[i]))
		if err != nil {
			return Rules{}, invalid("%q is not a number", strings.TrimSpace(parts[i]))
		}
		*dst = n
	}
	if len(parts) == 6 {
		r.Specials = usable(parts[5])
		if r.Specials == "" && r.Symbols > 0 {
			return Rules{}, invalid("no character of %q can be used as a symbol", parts[5])
		}
	}
	return r, r.check()
}

// ParseAccountRules is [ParseRules] for the passwords of accounts, which are not made
// too short, as a code for a door may be.
func ParseAccountRules(s string) (Rules, error) {
	r, err := ParseRules(s)
	if err == nil && r.Length < MinAccountLength {
		err = invalid("the length %d is less than %d, the least for an account", r.Length, MinAccountLength)
	}
	return r, err
}

// String returns r in the form that [ParseRules] reads.
func (r Rules) String() string {
	s := fmt.Sprintf("%d,%d,%d,%d,%d", r.Length, r.Upper, r.Lower, r.Digits, r.Symbols)
	if r.Specials != "" {
		s += "," + r.Specials
	}
	return s
}

func (r Rules) check() error {
	if r.Length < 1 || r.Length > MaxLength {
		return invalid("the length %d is not between 1 and %d", r.Length, MaxLength)
	}
	sum := 0
	for _, n := range []int{r.Upper, r.Lower, r.Digits, r.Symbols} {
		if n < 0 || n > r.Length {
			return invalid("the count %d is not between 0 and the length %d", n, r.Length)
		}
		sum += n
	}
	switch {
	case sum > r.Length:
		return invalid("the counts add up to %d, more than the length %d", sum, r.Length)
	case sum == 0:
		return invalid("all counts are 0, so that there is nothing to draw from")
	case r.Symbols > 0 && usable(r.specials()) == "":
		return invalid("no character of %q can be used as a symbol", r.Specials)
	}
	return nil
}

func (r Rules) specials() string {
	if r.Specials == "" {
		return Specials
	}
	return r.Specials
}

// usable returns what can be drawn of s, each character once: a repeated one
// would be drawn more often than others.
func usable(s string) string {
	var b strings.Builder
	for _, c := range s {
		if strings.ContainsRune(Specials, c) && !strings.ContainsRune(b.String(), c) {
			b.WriteRune(c)
		}
	}
	return b.String()
}

func invalid(format string, args ...any) error {
	return pam.Errorf(pam.ErrUsage, "%s: %s", usage, fmt.Sprintf(format, args...))
}
