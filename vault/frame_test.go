package vault

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/secret"
)

func TestAFrameKeepsDocumentAndSecrets(t *testing.T) {
	t.Parallel()
	secrets := []secret.Value{secret.Copy([]byte("a\x00b")), {}, secret.Copy(bytes.Repeat([]byte{7}, 300))}
	b, err := encodeFrame(map[string]int{"x": 1}, secrets)
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]int
	got, err := decodeFrame(b, &doc)
	if err != nil || doc["x"] != 1 || len(got) != len(secrets) {
		t.Fatalf("got %v, %v", doc, err)
	}
	for i := range secrets {
		if !got[i].Equal(secrets[i]) {
			t.Errorf("secret %d changed", i)
		}
	}
	bare := bytes.TrimRight(b, "\x00")
	for i := range bare {
		if _, err := decodeFrame(b[:i], &doc); err == nil {
			t.Errorf("the first %d bytes pass for a frame", i)
		}
	}
	if _, err := decodeFrame(bare, &doc); err != nil {
		t.Errorf("a frame that nothing fills up, as they once were: %v", err)
	}
	b[len(b)-1] = 1
	if _, err := decodeFrame(b, &doc); err == nil {
		t.Error("what fills a frame up may be anything")
	}
}

// Whatever the secrets of a row are, its length tells only in which step they
// end together, and the document's length is no help to tell more.
func TestALengthDoesNotTellASecrets(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		doc := rapid.StringMatching(`[a-z]{0,600}`).Draw(t, "document")
		length := func(name string) (sealed, plain int) {
			secrets := []secret.Value{}
			plain = 1
			for range rapid.IntRange(0, 3).Draw(t, name+" secrets") {
				n := rapid.IntRange(0, 200).Draw(t, name+" length")
				secrets = append(secrets, secret.New(bytes.Repeat([]byte{'s'}, n)))
				plain += 2 + n
			}
			b, err := encodeFrame(doc, secrets)
			if err != nil {
				t.Fatal(err)
			}
			return len(b), plain
		}
		one, a := length("one")
		other, b := length("another")
		if max(a, b) <= frameStep && one != other {
			t.Fatalf("%d bytes of secrets make a row of %d, %d one of %d", a, one, b, other)
		}
		if one%frameStep != 0 || one < len(doc)+a {
			t.Fatalf("a row of %d bytes", one)
		}
	})
}

// FuzzDecodeFrame reads frames of any content: no panic, no endless allocation.
func FuzzDecodeFrame(f *testing.F) {
	b, err := encodeFrame(struct{}{}, []secret.Value{secret.Copy([]byte("s"))})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1})
	f.Add([]byte{2, '{', '}', 0xff, 0xff, 0xff, 0xff, 0x7f})
	f.Fuzz(func(_ *testing.T, b []byte) {
		var doc body
		secrets, err := decodeFrame(b, &doc)
		if err == nil {
			destroy(secrets)
		}
	})
}
