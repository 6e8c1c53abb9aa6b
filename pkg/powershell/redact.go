package powershell

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/xml"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"

	"keyturn/pkg/secret"
)

const (
	redactedText = "[redacted]"
	maxText      = 1024 // runes of one text field
)

// A redactor removes live secrets, in every form a target could echo them in,
// from text that a target sent.
type redactor struct {
	exact [][]byte // longest first
	folds [][]byte // forms that are found whatever the case of their ASCII letters, longest first
}

func newRedactor(secrets []secret.Value) *redactor {
	r := &redactor{}
	for _, s := range secrets {
		if s.IsZero() {
			continue
		}
		r.add(s.Reveal())
	}
	byLength := func(a, b []byte) int { return len(b) - len(a) }
	slices.SortFunc(r.exact, byLength)
	slices.SortFunc(r.folds, byLength)
	return r
}

func (r *redactor) add(raw []byte) {
	text := string(raw)
	wide := utf16LE(text)
	r.exact = append(r.exact, bytes.Clone(raw), escapedXML(raw))
	r.exact = append(r.exact, base64Forms(raw)...)
	r.exact = append(r.exact, base64Forms(wide)...)
	wideChar := func(c rune) bool { return c < ' ' || c > '~' }
	for _, also := range []string{"", "<>&", "<>&'", `<>&'"\`} { // what JSON writers escape besides
		r.folds = append(r.folds,
			escapedUnits(text, func(c rune) bool { return strings.ContainsRune(also, c) }),
			escapedUnits(text, func(c rune) bool { return wideChar(c) || strings.ContainsRune(also, c) }))
	}
	r.folds = append(r.folds,
		escapedUnits(text, func(rune) bool { return true }),
		[]byte(url.QueryEscape(text)), []byte(url.PathEscape(text)), percentAll(raw))
	if len(raw) >= 4 { // the hex of a shorter one would match process ids
		r.folds = append(r.folds, []byte(hex.EncodeToString(raw)), []byte(hex.EncodeToString(wide)))
	}
	clear(wide)
}

// base64Forms are the base64 of b alone and as it shows up inside the base64 of
// something longer, at each of the three alignments.
func base64Forms(b []byte) [][]byte {
	forms := [][]byte{}
	if len(b) < 3 {
		return append(forms, []byte(base64.StdEncoding.EncodeToString(b)))
	}
	for shift := range 3 {
		padded := append(make([]byte, shift), b...)
		encoded := base64.RawStdEncoding.EncodeToString(padded)
		from := (shift*8 + 5) / 6
		to := len(padded) * 8 / 6 // characters made of b's bits alone
		if shift == 0 {
			to = len(encoded)
		}
		if to-from >= 4 {
			form := encoded[from:to]
			forms = append(forms, []byte(form), []byte(strings.NewReplacer("+", "-", "/", "_").Replace(form)))
		}
		clear(padded)
	}
	return forms
}

// escapedUnits is text with the characters that escape picks as \u, and other
// quotes and backslashes as JSON has them.
func escapedUnits(text string, escape func(rune) bool) []byte {
	var b bytes.Buffer
	for _, c := range text {
		switch {
		case escape(c):
			for _, u := range utf16.Encode([]rune{c}) {
				fmt.Fprintf(&b, `\u%04x`, u)
			}
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		default:
			b.WriteRune(c)
		}
	}
	return b.Bytes()
}

func escapedXML(raw []byte) []byte {
	var b bytes.Buffer
	_ = xml.EscapeText(&b, raw) // a bytes.Buffer takes everything
	return b.Bytes()
}

func percentAll(raw []byte) []byte {
	var b bytes.Buffer
	for _, c := range raw {
		fmt.Fprintf(&b, "%%%02x", c)
	}
	return b.Bytes()
}

// scrub replaces every form of every secret.
func (r *redactor) scrub(b []byte) []byte {
	for _, form := range r.exact {
		b = bytes.ReplaceAll(b, form, []byte(redactedText))
	}
	for _, form := range r.folds {
		b = replaceFold(b, form)
	}
	return b
}

// replaceFold replaces form, whatever the case of its ASCII letters in b.
func replaceFold(b, form []byte) []byte {
	low := lowerASCII(b)
	form = lowerASCII(form)
	if !bytes.Contains(low, form) {
		return b
	}
	var out []byte
	for {
		i := bytes.Index(low, form)
		if i < 0 {
			return append(out, b...)
		}
		out = append(append(out, b[:i]...), redactedText...)
		b, low = b[i+len(form):], low[i+len(form):]
	}
}

// lowerASCII keeps every index where it was, which bytes.ToLower does not.
func lowerASCII(b []byte) []byte {
	low := bytes.Clone(b)
	for i, c := range low {
		if 'A' <= c && c <= 'Z' {
			low[i] = c + ('a' - 'A')
		}
	}
	return low
}

// text makes a target's text fit to be shown: no control characters, which could
// also hide a secret, no secret, no endless length.
func (r *redactor) text(s string) string {
	if s == "" {
		return s
	}
	s = strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\r' || c == '\t':
			return ' '
		case unicode.IsControl(c) || unicode.Is(unicode.Bidi_Control, c) || c == utf8.RuneError:
			return -1
		}
		return c
	}, s)
	s = strings.TrimSpace(string(r.scrub([]byte(s))))
	if utf8.RuneCountInString(s) > maxText {
		s = string([]rune(s)[:maxText]) + "..."
	}
	return s
}

// destroy overwrites the secrets' forms.
func (r *redactor) destroy() {
	for _, form := range slices.Concat(r.exact, r.folds) {
		clear(form)
	}
	r.exact, r.folds = nil, nil
}
