package password_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/secret"
)

func TestParseRules(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		in   string
		want password.Rules
	}{
		"Commander's example":               {"32,5,5,5,5", password.Rules{Length: 32, Upper: 5, Lower: 5, Digits: 5, Symbols: 5}},
		"spaces are allowed":                {" 32, 5 ,5,\t5,5 ", password.Rules{Length: 32, Upper: 5, Lower: 5, Digits: 5, Symbols: 5}},
		"special characters may be commas":  {"8,1,1,1,1,,;", password.Rules{Length: 8, Upper: 1, Lower: 1, Digits: 1, Symbols: 1, Specials: ",;"}},
		"letters are no special characters": {"8,1,1,1,1,a!é -", password.Rules{Length: 8, Upper: 1, Lower: 1, Digits: 1, Symbols: 1, Specials: "!-"}},
		"repeated ones count once":          {"8,1,1,1,1,!!!?", password.Rules{Length: 8, Upper: 1, Lower: 1, Digits: 1, Symbols: 1, Specials: "!?"}},
		"unused special characters":         {"8,1,1,1,0,x", password.Rules{Length: 8, Upper: 1, Lower: 1, Digits: 1}},
		"a class can be left out":           {"6,0,0,6,0", password.Rules{Length: 6, Digits: 6}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := password.ParseRules(row.in)
			if err != nil || got != row.want {
				t.Errorf("ParseRules(%q) = %+v, %v; want %+v", row.in, got, err, row.want)
			}
		})
	}
}

func TestParseRulesRefuses(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct{ in, reason string }{
		"nothing":                       {"", "1 numbers"},
		"too few numbers":               {"20,1,1,1", "4 numbers"},
		"words":                         {"twenty,1,1,1,1", `"twenty" is not a number`},
		"a zero length":                 {"0,0,0,0,0", "length 0"},
		"a negative length":             {"-1,0,0,0,0", "length -1"},
		"an absurd length":              {"100000,1,1,1,1", "length 100000"},
		"a number beyond the machine's": {"99999999999999999999,1,1,1,1", "not a number"},
		"a negative count":              {"20,-1,1,1,1", "count -1"},
		"counts above the length":       {"8,3,3,3,0", "add up to 9"},
		"counts that overflow":          {"8,9223372036854775807,9223372036854775807,2,8", "count 9223372036854775807"},
		"nothing to draw from":          {"8,0,0,0,0", "nothing to draw from"},
		"no usable symbol":              {"8,1,1,1,1,abc", `no character of "abc"`},
		"an empty set of symbols":       {"8,1,1,1,1,", `no character of ""`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := password.ParseRules(row.in)
			if !errors.Is(err, pam.ErrUsage) {
				t.Fatalf("ParseRules(%q): %v, want a usage error", row.in, err)
			}
			const words = `Invalid rules to generate password. Format is "length, upper, lower, digits, symbols". ` +
				`Ex: 32,5,5,5,5[,SPECIAL CHARS]: `
			if !strings.HasPrefix(err.Error(), words) || !strings.Contains(err.Error(), row.reason) {
				t.Errorf("ParseRules(%q): %q lacks %q", row.in, err, row.reason)
			}
		})
	}
}

func rules(t *rapid.T) password.Rules {
	n := rapid.IntRange(0, 12)
	r := password.Rules{
		Upper: n.Draw(t, "upper"), Lower: n.Draw(t, "lower"),
		Digits: n.Draw(t, "digits"), Symbols: n.Draw(t, "symbols"),
	}
	if r.Upper+r.Lower+r.Digits+r.Symbols == 0 {
		r.Lower = 1
	}
	r.Length = max(1, r.Upper+r.Lower+r.Digits+r.Symbols) + n.Draw(t, "more")
	r.Specials = rapid.SampledFrom([]string{"", "!", "-_", `"'\`}).Draw(t, "specials")
	return r
}

func count(pw []byte, set string) int {
	n := 0
	for _, c := range pw {
		if strings.IndexByte(set, c) >= 0 {
			n++
		}
	}
	return n
}

func TestAGeneratedPasswordKeepsItsRules(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := rules(t)
		v, err := password.Generate(rand.Reader, r)
		if err != nil {
			t.Fatal(err)
		}
		pw := v.Reveal()
		if len(pw) != r.Length {
			t.Fatalf("%d characters, want %d", len(pw), r.Length)
		}
		specials := r.Specials
		if specials == "" {
			specials = password.Specials
		}
		sum := 0
		for _, c := range []struct {
			set string
			min int
		}{
			{"ABCDEFGHIJKLMNOPQRSTUVWXYZ", r.Upper},
			{"abcdefghijklmnopqrstuvwxyz", r.Lower},
			{"0123456789", r.Digits},
			{specials, r.Symbols},
		} {
			n := count(pw, c.set)
			sum += n
			if n < c.min || c.min == 0 && n > 0 {
				t.Fatalf("%d of %q, want at least %d, and none of a class that is off", n, c.set, c.min)
			}
		}
		if sum != len(pw) {
			t.Fatalf("%d characters of no class", len(pw)-sum)
		}
		if r.Upper+r.Lower+r.Digits > 0 && strings.IndexByte(specials, pw[0]) >= 0 {
			t.Fatal("a symbol comes first")
		}
		if err := password.Valid(v); err != nil {
			t.Fatalf("a generated password is not valid: %v", err)
		}
	})
}

func TestRulesReadWhatTheyWrite(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		r := rules(t)
		got, err := password.ParseRules(r.String())
		if err != nil || got != r {
			t.Fatalf("ParseRules(%q) = %+v, %v", r.String(), got, err)
		}
	})
	if got := password.DefaultRules().String(); got != "20,1,1,1,1" {
		t.Errorf("the default rules are %s", got)
	}
}

// Each character and each place must be equally likely: a modulo of 256 by 10
// would favour the digits 0 to 5 by 4 percent, a lazy shuffle the first places.
func TestNoCharacterAndNoPlaceIsFavoured(t *testing.T) {
	t.Parallel()
	const runs, length = 20000, 10
	var byDigit [10]int
	var upperAt [length]int
	for range runs {
		v, err := password.Generate(rand.Reader, password.Rules{Length: length, Upper: 1, Digits: 9})
		if err != nil {
			t.Fatal(err)
		}
		for i, c := range v.Reveal() {
			if c >= '0' && c <= '9' {
				byDigit[c-'0']++
				continue
			}
			upperAt[i]++
		}
	}
	for name, counts := range map[string][]int{"digit": byDigit[:], "place": upperAt[:]} {
		total := 0
		for _, n := range counts {
			total += n
		}
		expect := float64(total) / float64(len(counts))
		chi := 0.0
		for _, n := range counts {
			d := float64(n) - expect
			chi += d * d / expect
		}
		if chi > 50 { // nine degrees of freedom: one run in ten million is worse
			t.Errorf("%s: chi-square %.1f, counts %v", name, chi, counts)
		}
	}
}

func TestGenerateFailsWithItsSource(t *testing.T) {
	t.Parallel()
	for name, source := range map[string]io.Reader{
		"an empty source":           bytes.NewReader(nil),
		"a source that runs dry":    bytes.NewReader(make([]byte, 7)),
		"a source that never moves": stuck(0xff),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v, err := password.Generate(source, password.DefaultRules())
			if err == nil || !v.IsZero() {
				t.Errorf("a password was made, err %v", err)
			}
		})
	}
	if _, err := password.Generate(rand.Reader, password.Rules{}); !errors.Is(err, pam.ErrUsage) {
		t.Errorf("the zero rules: %v", err)
	}
}

type stuck byte

func (s stuck) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = byte(s)
	}
	return len(b), nil
}

func TestValid(t *testing.T) {
	t.Parallel()
	for name, row := range map[string]struct {
		in string
		ok bool
	}{
		"plain":                       {"Old-Pw-0001!", true},
		"quotes, spaces and a colon":  {`a "b" 'c' $d :e \f`, true},
		"letters of other scripts":    {"пароль漢字😀é", true},
		"nothing":                     {"", false},
		"a NUL":                       {"abc\x00def", false},
		"a line feed":                 {"abc\n", false},
		"a carriage return":           {"abc\r", false},
		"a tab":                       {"a\tb", false},
		"an escape":                   {"a\x1bb", false},
		"a delete":                    {"a\x7fb", false},
		"a control character of C1":   {"a\u0085b", false},
		"half a surrogate pair":       {"a\xed\xa0\x80b", false},
		"a cut character":             {"a\xc3", false},
		"Latin-1 instead of UTF-8":    {"caf\xe9", false},
		"an overlong form of a slash": {"\xc0\xaf", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			err := password.Valid(secret.Copy([]byte(row.in)))
			if row.ok != (err == nil) {
				t.Fatalf("Valid(%q) = %v", row.in, err)
			}
			if err != nil && (!errors.Is(err, pam.ErrPolicy) || len(row.in) > 2 && strings.Contains(err.Error(), row.in)) {
				t.Errorf("Valid(%q) = %v", row.in, err)
			}
		})
	}
}

func FuzzParseRules(f *testing.F) {
	for _, s := range []string{"32,5,5,5,5", "20,1,1,1,1,!?", "8,1,1,1,1,,", "-1,,,,", " 9 ,0,0,9,0", "8,1,1,1,1,\xff"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := password.ParseRules(s)
		if err != nil {
			if !errors.Is(err, pam.ErrUsage) {
				t.Fatalf("%v is no usage error", err)
			}
			return
		}
		v, err := password.Generate(rand.Reader, r)
		if err != nil || v.Len() != r.Length {
			t.Fatalf("rules %q were accepted and do not generate: %v", s, err)
		}
	})
}

func TestAnAccountGetsNoShortPassword(t *testing.T) {
	t.Parallel()
	if _, err := password.ParseAccountRules("7,1,1,1,1"); !errors.Is(err, pam.ErrUsage) {
		t.Errorf("seven characters: %v", err)
	}
	if r, err := password.ParseAccountRules("8,1,1,1,1"); err != nil || r.Length != 8 {
		t.Errorf("eight characters: %v, %v", r, err)
	}
}
