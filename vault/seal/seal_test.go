package seal_test

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"

	"keyturn/pkg/secret"
	"keyturn/vault/seal"
)

const vaultID = "VVVVVVVVVVVVVVVVVVVVVV"

func word(s string) secret.Value { return secret.Copy([]byte(s)) }

func newKey(tb testing.TB) secret.Value {
	tb.Helper()
	key, err := seal.NewKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func floor() seal.KDFParams { return seal.KDFParams{Memory: 19 * 1024, Time: 2, Threads: 1} }

func newHeader(tb testing.TB, key secret.Value, passphrases ...string) seal.Header {
	tb.Helper()
	h := seal.Header{Vault: vaultID, Epoch: 1}
	for _, p := range passphrases {
		if err := h.AddPassphrase(rand.Reader, key, word(p), floor()); err != nil {
			tb.Fatal(err)
		}
	}
	return h
}

func encode(tb testing.TB, h seal.Header, key secret.Value) []byte {
	tb.Helper()
	file, err := h.Encode(key)
	if err != nil {
		tb.Fatal(err)
	}
	return file
}

func TestAnyPassphraseOpensItsSlot(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	h, err := seal.Decode(encode(t, newHeader(t, key, "one", "two"), key))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []string{"one", "two"} {
		got, err := h.Unlock(word(p))
		if err != nil || !got.Equal(key) {
			t.Errorf("%s: %v", p, err)
		}
	}
	if _, err := h.Unlock(word("three")); !errors.Is(err, seal.ErrKey) {
		t.Errorf("a wrong passphrase: %v", err)
	}
	if err := h.Verify(newKey(t)); !errors.Is(err, seal.ErrMAC) {
		t.Errorf("another key: %v", err)
	}
	if err := h.Verify(word("short")); !errors.Is(err, seal.ErrClosed) {
		t.Errorf("no key: %v", err)
	}
}

// One slot whose costs are out of range must not keep the others shut, and there
// are never more passphrase slots than a reader tries.
func TestABadSlotDoesNotShutTheOthers(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	h := newHeader(t, key, "one", "two")
	file := string(encode(t, h, key))
	cut := strings.Index(file, `"memory":`)
	end := cut + strings.IndexAny(file[cut:], ",}")
	changed, err := seal.Decode([]byte(file[:cut] + `"memory":1` + file[end:]))
	if err != nil {
		t.Fatal(err)
	}
	// The slot opens; that somebody changed the header is noticed then.
	if _, err := changed.Unlock(word("two")); !errors.Is(err, seal.ErrMAC) {
		t.Errorf("the second slot: %v", err)
	}
	for range 6 {
		if err := h.AddPassphrase(rand.Reader, key, word("more"), floor()); err != nil {
			t.Fatal(err)
		}
	}
	if err := h.AddPassphrase(rand.Reader, key, word("nine"), floor()); !errors.Is(err, seal.ErrParams) {
		t.Errorf("a ninth passphrase: %v", err)
	}
}

func TestASlotOfAnUnknownKindIsKept(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	h := newHeader(t, key, "one")
	var future seal.Slot
	text := `{"kind":"tpm","handle":"0x81xyz","nested":{"b":[1,2.50,null]}}`
	if err := json.Unmarshal([]byte(text), &future); err != nil {
		t.Fatal(err)
	}
	h.Slots = append([]seal.Slot{future}, h.Slots...)
	file := encode(t, h, key)
	if !bytes.Contains(file, []byte(text)) {
		t.Errorf("the slot is lost in %s", file)
	}
	got, err := seal.Decode(file)
	if err != nil {
		t.Fatal(err)
	}
	if kinds := strings.Join(got.Kinds(), " "); kinds != "tpm passphrase" {
		t.Errorf("got %s", kinds)
	}
	if _, err := got.Unlock(word("one")); err != nil {
		t.Error(err)
	}
	if again := encode(t, got, key); !bytes.Equal(again, file) {
		t.Errorf("got %s, want %s", again, file)
	}
}

func TestEveryFlippedBitOfAHeaderIsNoticed(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	file := encode(t, newHeader(t, key, "one"), key)
	for i := range file {
		for bit := range 8 {
			changed := bytes.Clone(file)
			changed[i] ^= 1 << bit
			if h, err := seal.Decode(changed); err == nil && h.Verify(key) == nil {
				t.Fatalf("bit %d of byte %d (%q) is not covered", bit, i, file[i])
			}
		}
		if h, err := seal.Decode(file[:i]); err == nil && h.Verify(key) == nil {
			t.Fatalf("the first %d bytes pass for a header", i)
		}
	}
}

// Not parallel: it counts allocations.
func TestCostsOutOfRangeAreRefusedBeforeTheyCost(t *testing.T) {
	key := newKey(t)
	file := string(encode(t, newHeader(t, key, "one"), key))
	for _, change := range []string{
		`"memory":4294967295`, `"memory":1048577`, `"memory":19455`, `"memory":0`, `"time":17`, `"time":4294967295`, `"time":1`,
		`"time":0`, `"threads":17`, `"threads":255`, `"threads":0`, `"kdf":"scrypt"`, `"kdf":""`, `"salt":""`,
	} {
		name, _, _ := strings.Cut(change, ":")
		start := strings.Index(file, name)
		end := start + strings.IndexAny(file[start:], ",}")
		h, err := seal.Decode([]byte(file[:start] + change + file[end:]))
		if err != nil {
			t.Fatalf("%s: %v", change, err)
		}
		allocated := testing.AllocsPerRun(1, func() {
			if _, err := h.Unlock(word("one")); !errors.Is(err, seal.ErrParams) {
				t.Errorf("%s: %v", change, err)
			}
		})
		if allocated > 100 {
			t.Errorf("%s: %v allocations", change, allocated)
		}
	}
	if _, err := seal.Decode([]byte(strings.Replace(file, `"threads":1`, `"threads":256`, 1))); !errors.Is(err, seal.ErrFormat) {
		t.Errorf("a number that does not fit: %v", err)
	}
	bomb := floor()
	bomb.Memory = 1 << 31
	h := seal.Header{Vault: vaultID, Epoch: 1}
	if err := h.AddPassphrase(rand.Reader, key, word("x"), bomb); !errors.Is(err, seal.ErrParams) {
		t.Errorf("a new slot: %v", err)
	}
	if err := seal.DefaultKDF().Check(); err != nil {
		t.Error(err)
	}
}

func TestHeadersThatAreNone(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	file := string(encode(t, newHeader(t, key, "one"), key))
	for name, c := range map[string]struct {
		file string
		want error
	}{
		"empty":             {"", seal.ErrFormat},
		"another program's": {"restic 1\n{}\n\n", seal.ErrFormat},
		"version zero":      {strings.Replace(file, "vault 1", "vault 0", 1), seal.ErrFormat},
		"a newer version":   {"keyturn-vault 2\nanything", seal.ErrNewer},
		"too long":          {file + strings.Repeat(" ", seal.MaxHeader), seal.ErrFormat},
		"a fourth line":     {file + "\n", seal.ErrFormat},
		"a space more":      {strings.Replace(file, `"epoch":1`, `"epoch": 1`, 1), seal.ErrFormat},
		"a field more":      {strings.Replace(file, `"epoch":1`, `"epoch":1,"x":1`, 1), seal.ErrFormat},
		"a field twice":     {strings.Replace(file, `"epoch":1`, `"epoch":1,"epoch":1`, 1), seal.ErrFormat},
		"no slots":          {string(encode(t, seal.Header{Vault: vaultID, Epoch: 1, Slots: []seal.Slot{}}, key)), seal.ErrFormat},
		"no epoch":          {strings.Replace(file, `"epoch":1`, `"epoch":0`, 1), seal.ErrFormat},
		"a slot of no kind": {strings.Replace(file, `"passphrase"`, `""`, 1), seal.ErrFormat},
	} {
		if _, err := seal.Decode([]byte(c.file)); !errors.Is(err, c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOnlyWhatWasSealedOpens(t *testing.T) {
	t.Parallel()
	box, err := seal.NewBox(newKey(t), vaultID)
	if err != nil {
		t.Fatal(err)
	}
	ad := seal.AD("record", "1")
	sealed, err := box.Seal(rand.Reader, []byte("text"), ad)
	if err != nil {
		t.Fatal(err)
	}
	if plain, err := box.Open(sealed, ad); err != nil || string(plain) != "text" {
		t.Errorf("got %q, %v", plain, err)
	}
	for name, c := range map[string][2][]byte{
		"other associated data": {sealed, seal.AD("record", "2")},
		"cut":                   {sealed[:len(sealed)-1], ad},
		"empty":                 {nil, ad},
		"longer":                {append(bytes.Clone(sealed), 0), ad},
	} {
		if _, err := box.Open(c[0], c[1]); !errors.Is(err, seal.ErrTampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if again, err := box.Seal(rand.Reader, []byte("text"), ad); err != nil || bytes.Equal(again, sealed) {
		t.Errorf("the same text sealed twice is the same: %v", err)
	}
	if bytes.Equal(seal.AD("ab", "c"), seal.AD("a", "bc")) || bytes.Equal(seal.AD("a"), seal.AD("a", "")) {
		t.Error("two lists of names have one encoding")
	}
}

func TestABlindIndexDependsOnKeyAndParts(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	seen := map[string]string{}
	for name, c := range map[string]struct {
		key   secret.Value
		id    string
		parts []string
	}{
		"first": {key, vaultID, []string{"ab", "c"}}, "other parts": {key, vaultID, []string{"a", "bc"}},
		"other vault": {key, "other", []string{"ab", "c"}}, "other key": {newKey(t), vaultID, []string{"ab", "c"}},
	} {
		box, err := seal.NewBox(c.key, c.id)
		if err != nil {
			t.Fatal(err)
		}
		one, err1 := box.Index(c.parts...)
		two, err2 := box.Index(c.parts...)
		if one != two || len(one) != 22 || seen[one] != "" || err1 != nil || err2 != nil {
			t.Errorf("%s: %s and %s, as %q", name, one, two, seen[one])
		}
		seen[one] = name
	}
}

func TestADestroyedBoxIsShut(t *testing.T) {
	t.Parallel()
	key := newKey(t)
	box, err := seal.NewBox(key, vaultID)
	if err != nil {
		t.Fatal(err)
	}
	copied := box.Key()
	box.Destroy()
	_, serr := box.Seal(rand.Reader, nil, nil)
	_, oerr := box.Open(nil, nil)
	_, ierr := box.Index("x")
	for _, err := range []error{serr, oerr, ierr} {
		if !errors.Is(err, seal.ErrClosed) {
			t.Errorf("got %v", err)
		}
	}
	if k := box.Key(); !k.IsZero() || !copied.Equal(key) {
		t.Error("the box's key outlived it, or took the caller's along")
	}
	if _, err := seal.NewBox(secret.Value{}, vaultID); !errors.Is(err, seal.ErrClosed) {
		t.Errorf("a box without a key: %v", err)
	}
}

func TestKeysDoNotPrint(t *testing.T) {
	t.Parallel()
	key := word("0123456789abcdef0123456789abcdef")
	box, err := seal.NewBox(key, vaultID)
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
		if s := fmt.Sprintf(verb, box.Key()); strings.Contains(s, "0123456789") || strings.Contains(s, "30313233") {
			t.Errorf("%s prints %s", verb, s)
		}
	}
}

// FuzzDecode reads headers that somebody else wrote: no panic, and a header that
// is accepted has exactly one form.
func FuzzDecode(f *testing.F) {
	key := newKey(f)
	f.Add(encode(f, newHeader(f, key, "one"), key))
	f.Add([]byte("keyturn-vault 1\n{\"vault\":\"v\",\"epoch\":1,\"slots\":[{\"kind\":\"x\"}]}\nhmac-sha256 " + strings.Repeat("A", 43) + "\n"))
	f.Add([]byte("keyturn-vault 2\n"))
	f.Add([]byte("keyturn-vault 1\n[[[[\n\n"))
	f.Fuzz(func(t *testing.T, file []byte) {
		h, err := seal.Decode(file)
		if err != nil {
			return
		}
		_ = h.Kinds()
		again, err := h.Encode(key)
		if err != nil {
			t.Fatal(err)
		}
		if i := bytes.LastIndex(file, []byte("hmac-sha256 ")); !bytes.Equal(again[:i], file[:i]) {
			t.Errorf("decoded and encoded, %q became %q", file, again)
		}
	})
}
