package commands

import (
	"strings"
	"testing"
	"time"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// The times and codes are those of RFC 6238, appendix B.
func TestOneTimeCodes(t *testing.T) {
	t.Parallel()
	const (
		seed20 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ"
		seed32 = "GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQGEZA"
	)
	for _, c := range []struct {
		what, field string
		at          int64
		want        string
	}{
		{"an address with eight digits", "otpauth://totp/lab:admin?secret=" + seed20 + "&digits=8", 59, "94287082"},
		{"an address with SHA256", "otpauth://totp/lab:admin?secret=" + seed32 + "&digits=8&algorithm=SHA256", 1111111109, "68084774"},
		{"an address with six digits", "otpauth://totp/lab:admin?secret=" + seed20, 59, "287082"},
		{"an address with a period of a minute", "otpauth://totp/x?period=60&secret=" + seed20, 119, "287082"},
		{"a secret alone", seed20, 59, "287082"},
		{"a secret in groups and small letters", "gezd gnbv gy3t qojq-gezd gnbv gy3t qojq", 59, "287082"},
		{"an address that counts", "otpauth://hotp/x?counter=1&secret=" + seed20, 59, ""},
		{"another address", "https://lab.example/" + seed20, 59, ""},
		{"no base32", "not base32!", 59, ""},
		{"an address without a secret", "otpauth://totp/x", 59, ""},
		{"an address with ten digits", "otpauth://totp/x?digits=10&secret=" + seed20, 59, "1094287082"},
		{"an algorithm in small letters", "otpauth://totp/x?algorithm=sha1&secret=" + seed20, 59, "287082"},
		{"two thousand million digits", "otpauth://totp/x?digits=2000000000&secret=" + seed20, 59, ""},
		{"more digits than a code has", "otpauth://totp/x?digits=11&secret=" + seed20, 59, ""},
		{"few digits", "otpauth://totp/x?digits=5&secret=" + seed20, 59, ""},
		{"no digits", "otpauth://totp/x?digits=0&secret=" + seed20, 59, ""},
		{"less than no digits", "otpauth://totp/x?digits=-5&secret=" + seed20, 59, ""},
		{"digits in words", "otpauth://totp/x?digits=seven&secret=" + seed20, 59, ""},
		{"digits that are empty", "otpauth://totp/x?digits=&secret=" + seed20, 59, ""},
		{"a period before now", "otpauth://totp/x?period=-30&secret=" + seed20, 59, ""},
		{"a period of an hour and more", "otpauth://totp/x?period=3601&secret=" + seed20, 59, ""},
		{"an algorithm that nobody knows", "otpauth://totp/x?algorithm=bogus&secret=" + seed20, 59, ""},
		{"letters for digits", "otpauth://totp/x?encoder=steam&digits=5&secret=" + seed20, 59, ""},
		{"a query that is broken", "otpauth://totp/x?digits=%zz&secret=" + seed20, 59, ""},
		{"a period of nothing", "otpauth://totp/x?period=0&secret=" + seed20, 59, ""},
	} {
		r := pam.Record{Head: pam.Head{Title: "admin"}, Fields: []pam.Field{{Type: "oneTimeCode", Secret: secret.Copy([]byte(c.field))}}}
		code, err := oneTimeCode(r, time.Unix(c.at, 0))
		if got := string(code.Reveal()); got != c.want || (err == nil) != (c.want != "") {
			t.Errorf("%s: got %q, %v; want %q", c.what, got, err, c.want)
		}
		if err != nil && (pam.KindOf(err) != pam.ErrInvalidInput || strings.Contains(err.Error(), seed20)) {
			t.Errorf("%s: %v", c.what, err)
		}
	}
}

func FuzzOneTimeCode(f *testing.F) {
	for _, text := range []string{"GEZDGNBVGY3TQOJQ", "otpauth://totp/a?secret=GEZDGNBVGY3TQOJQ&digits=8&period=60", "otpauth://totp/%zz", ""} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if code, ok := codeOf(text, time.Unix(59, 0)); ok && (strings.Trim(code, "0123456789") != "" || len(code) < 6 || len(code) > 10) {
			t.Errorf("the code of %q is %q", text, code)
		}
	})
}
