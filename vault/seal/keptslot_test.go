package seal_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

// own is the secret of a slot that has one of its own.
func own(letter string) secret.Value { return word(strings.Repeat(letter, seal.MinKeyFile)) }

func TestASlotOpensWithTheSecretKeptForIt(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	h := newHeader(t, key, "one")
	mine, err := h.AddAge(rand.Reader, key, "age1mine", own("m"), []byte("for me"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddAge(rand.Reader, key, "age1other", own("o"), []byte("for another")); err != nil {
		t.Fatal(err)
	}
	if _, err := h.AddSecret(rand.Reader, seal.KindKeyring, key, own("k")); err != nil {
		t.Fatal(err)
	}
	file := encode(t, h, key)
	read, err := seal.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := read.Encode(key); err != nil || !bytes.Equal(again, file) {
		t.Errorf("the header is not written as it was read: %v", err)
	}
	if got, err := read.Recipient(read.Slots[2], key); err != nil || got != "age1other" {
		t.Errorf("the recipient is %q: %v", got, err)
	}
	if bytes.Contains(file, []byte("age1other")) {
		t.Error("the header says in plain text who it is for")
	}
	got, id, err := read.OpenEach(seal.KindAge, func(s seal.Slot) (secret.Value, error) {
		if string(s.Sealed()) != "for me" {
			return secret.Value{}, nil
		}
		return own("m"), nil
	})
	if err != nil || !got.Equal(key) || id != mine {
		t.Errorf("got slot %q, not %q: %v", id, mine, err)
	}
	if got, _, err = read.Open(seal.KindKeyring, own("k")); err != nil || !got.Equal(key) {
		t.Errorf("keyring: %v", err)
	}
}

func TestWhatDoesNotOpenASlotIsTold(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	h := newHeader(t, key, "one")
	if _, err := h.AddAge(rand.Reader, key, "age1mine", own("m"), []byte("for me")); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("the token was pulled out")
	for name, tt := range map[string]struct {
		with secret.Value
		fail error
		want error
	}{
		"a slot for somebody else":     {want: seal.ErrKey},
		"another secret":               {with: own("x"), want: seal.ErrKey},
		"a secret that is too short":   {with: word("short"), want: seal.ErrParams},
		"a failure on the way is told": {fail: broken, want: broken},
	} {
		_, _, err := h.OpenEach(seal.KindAge, func(seal.Slot) (secret.Value, error) { return tt.with, tt.fail })
		if !errors.Is(err, tt.want) {
			t.Errorf("%s: %v, want %v", name, err, tt.want)
		}
	}
}

// A recipient belongs to its slot: put into another one it is not believed.
func TestARecipientCannotBeMoved(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	h := newHeader(t, key, "one")
	for _, name := range []string{"age1a", "age1b"} {
		if _, err := h.AddAge(rand.Reader, key, name, own(name[4:]), []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	text := string(encode(t, h, key))
	part := func(n int) string { return strings.Split(strings.Split(text, `"recipient":"`)[n], `"`)[0] }
	first, second := part(1), part(2)
	read, err := seal.Decode([]byte(strings.NewReplacer(first, second, second, first).Replace(text)))
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range read.Slots[1:] {
		if got, err := read.Recipient(s, key); !errors.Is(err, seal.ErrTampered) {
			t.Errorf("got %q, %v", got, err)
		}
	}
}

func TestThereIsNoRoomWithoutEnd(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	h := newHeader(t, key, "one")
	large := make([]byte, seal.MaxSealed)
	for name, err := range map[string]error{
		"a larger age file":  second(h.AddAge(rand.Reader, key, "r", own("m"), make([]byte, seal.MaxSealed+1))),
		"a longer recipient": second(h.AddAge(rand.Reader, key, strings.Repeat("r", seal.MaxRecipient+1), own("m"), nil)),
		"a shorter secret":   second(h.AddAge(rand.Reader, key, "r", word("short"), nil)),
		"no age file":        second(h.AddSecret(rand.Reader, seal.KindAge, key, own("m"))),
	} {
		if !errors.Is(err, seal.ErrParams) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if len(h.Slots) != 1 {
		t.Fatalf("%d slots after refusals", len(h.Slots))
	}
	// What is written can be read: a header too large for Decode is refused by Encode.
	for range seal.MaxHeader/len(large) + 1 {
		if _, err := h.AddAge(rand.Reader, key, "r", own("m"), large); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := h.Encode(key); !errors.Is(err, seal.ErrParams) {
		t.Errorf("a header that nobody can read is written: %v", err)
	}
}

func second(_ string, err error) error { return err }

// Whatever slots a header has, it is read as it was written and each slot opens.
func TestEverySlotSurvives(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	rapid.Check(t, func(rt *rapid.T) {
		h := seal.Header{Vault: "VgAAAAAAAAAAAAAAAAAAAA", Epoch: 1}
		want := map[string]secret.Value{}
		for range rapid.IntRange(1, 6).Draw(rt, "slots") {
			with := secret.Copy(rapid.SliceOfN(rapid.Byte(), seal.MinKeyFile, seal.MinKeyFile).Draw(rt, "secret"))
			sealed := rapid.SliceOfN(rapid.Byte(), 0, 300).Draw(rt, "sealed")
			var id string
			var err error
			if rapid.Bool().Draw(rt, "age") {
				id, err = h.AddAge(rand.Reader, key, rapid.String().Draw(rt, "recipient"), with, sealed)
			} else {
				id, err = h.AddSecret(rand.Reader, seal.KindKeyring, key, with)
			}
			if err != nil && !errors.Is(err, seal.ErrParams) {
				rt.Fatal(err)
			}
			if err == nil {
				want[id] = with
			}
		}
		if len(h.Slots) == 0 {
			return
		}
		file, err := h.Encode(key)
		if err != nil {
			rt.Fatal(err)
		}
		read, err := seal.Decode(file)
		if err != nil {
			rt.Fatal(err)
		}
		for _, slot := range read.Slots {
			got, id, err := read.OpenEach(slot.Kind, func(s seal.Slot) (secret.Value, error) {
				if s.ID() != slot.ID() {
					return secret.Value{}, nil
				}
				return want[slot.ID()].Clone(), nil
			})
			if err != nil || id != slot.ID() || !got.Equal(key) {
				rt.Fatalf("%s %s: opened %q, %v", slot.Kind, slot.ID(), id, err)
			}
		}
	})
}
