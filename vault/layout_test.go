package vault

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// unhex reads bytes as the vectors write them.
func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// layouts is what this package decides of testdata/vault/vectors.json.
type layouts struct {
	Vault  pam.UID  `json:"vault"`
	Kinds  []string `json:"kinds"`  // by number, from 1
	Listed group    `json:"listed"` // the last kind that the manifest lists
	Row    struct {
		Kind                            group
		Owner, ID, Document             string
		Revision                        int64
		Secrets                         []string
		Plain, AD, Entry, Nonce, Sealed string
		Page                            int
	} `json:"row"`
	PageAD struct {
		Page int
		AD   string
	} `json:"page_ad"`
	MetaAD struct {
		Epoch, Generation int64
		AD                string
	} `json:"meta_ad"`
	Audit  []struct{ Key, Entry, Chain string } `json:"audit"`
	Filled struct {
		Row            struct{ Plain, Nonce, Sealed string }
		WithoutSecrets struct{ Document, Plain string } `json:"without_secrets"`
		Lengths        [][2]int
	} `json:"filled"`
}

func readLayouts(t *testing.T) layouts {
	t.Helper()
	file, err := os.ReadFile("../testdata/vault/vectors.json")
	if err != nil {
		t.Fatal(err)
	}
	var want layouts
	if err := json.Unmarshal(file, &want); err != nil {
		t.Fatal(err)
	}
	return want
}

// A kind keeps its number, its name and its place in the manifest for ever.
func TestKindsAreThoseOfTheVectors(t *testing.T) {
	t.Parallel()
	want := readLayouts(t)
	for i, name := range want.Kinds {
		g := group(i + 1)
		if g.name() != name || g.listed() != (g <= want.Listed) {
			t.Errorf("kind %d is %s, listed %t; want %s", g, g.name(), g.listed(), name)
		}
	}
	if last := group(len(want.Kinds)); last != groupAudit {
		t.Errorf("the vectors end with kind %d", last)
	}
}

// What is written today is what the vectors froze: associated data, frame, page
// and chain.
func TestRowsAreLaidOutAsTheVectorsSay(t *testing.T) {
	t.Parallel()
	want := readLayouts(t)
	same := func(what string, got []byte, hexed string) {
		t.Helper()
		if !bytes.Equal(got, unhex(t, hexed)) {
			t.Errorf("%s: got %x, want %s", what, got, hexed)
		}
	}
	w := want.Row
	v := &Vault{id: want.Vault, epoch: want.MetaAD.Epoch}
	r := row{key: key{group: w.Kind, owner: w.Owner, id: w.ID}, revision: w.Revision}
	secrets := []secret.Value{}
	for _, s := range w.Secrets {
		secrets = append(secrets, secret.Copy([]byte(s)))
	}
	plain, err := encodeFrame(json.RawMessage(w.Document), w.Kind.secrets(secrets))
	if err != nil {
		t.Fatal(err)
	}
	same("frame", plain, want.Filled.Row.Plain)
	same("frame of the first version", bytes.TrimRight(plain, "\x00"), w.Plain)
	bare, err := encodeFrame(json.RawMessage(want.Filled.WithoutSecrets.Document), nil)
	if err != nil {
		t.Fatal(err)
	}
	same("frame without secrets", bare, want.Filled.WithoutSecrets.Plain)
	for _, l := range want.Filled.Lengths {
		if got := stepped(l[0]); got != l[1] {
			t.Errorf("%d bytes are filled up to %d, not %d", l[0], got, l[1])
		}
	}
	same("row", v.ad(r), w.AD)
	same("page", v.pageAD(want.PageAD.Page), want.PageAD.AD)
	same("meta", v.metaAD(want.MetaAD.Generation), want.MetaAD.AD)
	if r.page() != w.Page || r.entry() != w.Entry {
		t.Errorf("got entry %s of page %d", r.entry(), r.page())
	}
	var head []byte
	for i, a := range want.Audit[:len(want.Audit)-1] {
		k := secret.New(unhex(t, a.Key))
		head = auditChain(k, head, []byte(a.Entry))
		same("audit chain", head, a.Chain)
		same("audit key", ratchet(k).Reveal(), want.Audit[i+1].Key)
	}
}
