package winrm

import (
	"bytes"
	"encoding/base64"
	"testing"

	"pgregory.net/rapid"
)

// However bytes lie in parts, and wherever they are cut, they are the same bytes.
func TestInputPartsAreTheBytesTheyHold(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		var p inputParts = rapid.SliceOf(rapid.SliceOfN(rapid.Byte(), 0, 7)).Draw(t, "parts")
		all := bytes.Join(p, nil)
		n := rapid.IntRange(0, len(all)+2).Draw(t, "n")
		head, tail := p.cut(n)
		n = min(n, len(all))
		if !bytes.Equal(bytes.Join(head, nil), all[:n]) || !bytes.Equal(bytes.Join(tail, nil), all[n:]) || p.size() != len(all) {
			t.Fatalf("%v cut at %d: %v and %v", p, n, head, tail)
		}
		if got, want := string(head.appendBase64([]byte("x"))), "x"+base64.StdEncoding.EncodeToString(all[:n]); got != want {
			t.Fatalf("%v: %s instead of %s", head, got, want)
		}
	})
}
