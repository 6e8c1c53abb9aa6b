package exchange

import (
	"bytes"
	"errors"
	"strconv"
	"unicode/utf16"
)

// errHalf is a text that JSON can write and UTF-8 cannot. The decoder would put
// another character in its place, and a password would be a different one.
var errHalf = errors.New(`has half a character (an escape \ud800 to \udfff without its other half)`)

// half reports whether a text of valid JSON escapes half of a surrogate pair.
func half(raw []byte) bool {
	for {
		at := bytes.IndexByte(raw, '\\')
		if at < 0 {
			return false
		}
		r, escaped := escape(raw[at:])
		if raw = raw[at+2:]; !escaped || !utf16.IsSurrogate(r) {
			continue // the digits of an escape hold no backslash
		}
		raw = raw[4:]
		low, escaped := escape(raw)
		if !escaped || utf16.DecodeRune(r, low) == '\ufffd' {
			return true
		}
		raw = raw[6:]
	}
}

// escape reads the escape \uXXXX at the beginning of raw, if there is one.
func escape(raw []byte) (r rune, ok bool) {
	const size = len(`\uXXXX`)
	if len(raw) < size || raw[0] != '\\' || raw[1] != 'u' {
		return 0, false
	}
	n, err := strconv.ParseUint(string(raw[2:size]), 16, 16)
	return rune(n), err == nil
}

// noText is the fault of a value that [scalar] did not read.
func noText(err error) error {
	if errors.Is(err, errHalf) {
		return errHalf
	}
	return errors.New("is no text")
}
