package commands

import (
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/pquerna/otp"
	"github.com/pquerna/otp/totp"
	"github.com/spf13/cobra"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

const fieldOneTimeCode = "oneTimeCode"

func newTotp(d *Deps) *cobra.Command {
	o := copyOptions{totp: true}
	cmd := &cobra.Command{
		Use:   "totp RECORD",
		Short: "Show a record's one-time code",
		Long: `Show the one-time code of now of a record whose field oneTimeCode holds an
otpauth://totp/ address, or the base32 secret alone. --output clipboard copies
it, --output variable sets a variable for later lines of a shell or batch:
${NAME}. It is written to the audit trail first.`,
		Example: "  keyturn totp \"LAB admin\"\n  keyturn totp \"LAB admin\" --output clipboard",
		Args:    positional("RECORD"), Annotations: notes(annotNeeds, needVault, annotTargets, toStdout+" "+toClipboard+" "+toVariable),
	}
	cmd.Flags().StringVar(&o.name, "name", "", "the variable to set with --output variable: `NAME`")
	cmd.ValidArgsFunction = first(d.records())
	return d.copying(cmd, &o)
}

// oneTimeCode is the code of a record at a time.
func oneTimeCode(r pam.Record, now time.Time) (secret.Value, error) {
	f := r.Field(fieldOneTimeCode, "")
	if f == nil || f.Secret.IsZero() {
		return secret.Value{}, pam.Errorf(pam.ErrNotFound, "record %s has no %s", titled(r.Title, r.UID), fieldOneTimeCode).
			WithHint("keyturn record-update -r %s %s=@FILE, with the otpauth address or the base32 secret in FILE", r.UID, fieldOneTimeCode)
	}
	code, ok := codeOf(string(f.Secret.Reveal()), now)
	if !ok {
		// The library's own words may quote the secret.
		return secret.Value{}, pam.Errorf(pam.ErrInvalidInput,
			"the %s of record %s is neither an otpauth://totp/ address nor a base32 secret; an address has 6 to 10 digits, "+
				"a period of up to an hour, and SHA1, SHA256, SHA512 or MD5", fieldOneTimeCode, titled(r.Title, r.UID)).
			WithHint("keyturn record-update -r %s %s=@FILE", r.UID, fieldOneTimeCode)
	}
	return secret.New([]byte(code)), nil
}

func codeOf(text string, now time.Time) (code string, ok bool) {
	text = strings.TrimSpace(text)
	o := totp.ValidateOpts{Period: 30, Digits: otp.DigitsSix, Algorithm: otp.AlgorithmSHA1}
	if strings.Contains(text, "://") {
		if text, ok = address(text, &o); !ok {
			return "", false
		}
	}
	text = strings.NewReplacer(" ", "", "-", "").Replace(text)
	code, err := totp.GenerateCodeCustom(text, now, o)
	return code, err == nil && text != ""
}

// The most that an address may ask for: a code is made of 31 bits, which ten
// digits hold.
const (
	minDigits, maxDigits = 6, 10
	maxPeriod            = 3600 // in seconds
)

// address reads an otpauth address. What it says of the code is read here, because
// the library takes what it does not understand for the default, and the code that
// it then makes opens nothing.
func address(text string, o *totp.ValidateOpts) (seed string, ok bool) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" {
		return "", false
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil || q.Get("encoder") != "" {
		return "", false
	}
	number := func(name string, least, most, other uint64) uint64 {
		if !q.Has(name) {
			return other
		}
		n, err := strconv.ParseUint(q.Get(name), 10, 32)
		ok = ok && err == nil && n >= least && n <= most
		return n
	}
	ok = true
	o.Period = uint(number("period", 1, maxPeriod, uint64(o.Period)))
	o.Digits = otp.Digits(number("digits", minDigits, maxDigits, uint64(o.Digits))) //nolint:gosec // it is at most ten
	a, known := algorithm(q.Get("algorithm"))
	o.Algorithm = a
	return q.Get("secret"), ok && (known || !q.Has("algorithm"))
}

// algorithm finds an algorithm by its name; SHA1 is that of an address without one.
func algorithm(name string) (a otp.Algorithm, known bool) {
	for _, a := range []otp.Algorithm{otp.AlgorithmSHA1, otp.AlgorithmSHA256, otp.AlgorithmSHA512, otp.AlgorithmMD5} {
		if strings.EqualFold(a.String(), name) {
			return a, true
		}
	}
	return otp.AlgorithmSHA1, false
}
