package vault

import (
	"cmp"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// The order of lists is that of titles in lower case, whatever is in them.
func TestCompareLowerIsTheOrderOfLowerCase(t *testing.T) {
	t.Parallel()
	text := rapid.OneOf(rapid.String(), rapid.StringMatching(`[aAbBſSsKkİiIı\x{212a}é]{0,6}`),
		rapid.Map(rapid.SliceOfN(rapid.Byte(), 0, 6), func(b []byte) string { return string(b) }))
	rapid.Check(t, func(t *rapid.T) {
		a, b := text.Draw(t, "a"), text.Draw(t, "b")
		if got, want := compareLower(a, b), cmp.Compare(strings.ToLower(a), strings.ToLower(b)); got != want {
			t.Errorf("%q and %q compare as %d instead of %d", a, b, got, want)
		}
	})
}
