package agekey_test

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"encoding/pem"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/plugin"
	"go.uber.org/goleak"
	"golang.org/x/crypto/ssh"
	"pgregory.net/rapid"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/agekey"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func word(s string) secret.Value { return secret.Copy([]byte(s)) }

const plain = "0123456789abcdef0123456789abcdef"

// nobody fails the test when it is asked or told anything.
func nobody(t *testing.T) agekey.Talk {
	t.Helper()
	return agekey.Talk{
		Secret: func(_ context.Context, prompt string) (secret.Value, error) {
			t.Errorf("asked %q", prompt)
			return secret.Value{}, io.EOF
		},
		Say: func(text string) { t.Errorf("said %q", text) },
	}
}

// A keyPair is a recipient and the file that opens what is for it.
type keyPair struct{ recipient, identity string }

func x25519(t *testing.T) keyPair {
	t.Helper()
	id, err := age.GenerateX25519Identity()
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{id.Recipient().String(), id.String()}
}

func hybrid(t *testing.T) keyPair {
	t.Helper()
	id, err := age.GenerateHybridIdentity()
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{id.Recipient().String(), id.String()}
}

// sshPair is an SSH key in OpenSSH's format.
func sshPair(t *testing.T, private any) keyPair {
	t.Helper()
	signer, err := ssh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	block, err := ssh.MarshalPrivateKey(private, "ann@desk")
	if err != nil {
		t.Fatal(err)
	}
	line := strings.TrimSpace(string(ssh.MarshalAuthorizedKey(signer.PublicKey())))
	return keyPair{line + " ann@desk", string(pem.EncodeToMemory(block))}
}

func ed(t *testing.T) keyPair {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return sshPair(t, private)
}

// lockedPair is a key that ssh-keygen made, with one round of its key derivation.
// Its passphrase is "open sesame".
func lockedPair(t *testing.T) keyPair {
	t.Helper()
	private, err := os.ReadFile("testdata/locked")
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile("testdata/locked.pub")
	if err != nil {
		t.Fatal(err)
	}
	return keyPair{strings.TrimSpace(string(public)), string(private)}
}

func rsaPair(t *testing.T) keyPair {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return sshPair(t, private)
}

func encrypt(t *testing.T, recipient string) []byte {
	t.Helper()
	file, err := agekey.Encrypt(t.Context(), recipient, word(plain), nobody(t))
	if err != nil {
		t.Fatal(err)
	}
	return file
}

func identities(t *testing.T, file string, talk agekey.Talk) agekey.Identities {
	t.Helper()
	ids, err := agekey.ParseIdentities(t.Context(), word(file), talk)
	if err != nil {
		t.Fatal(err)
	}
	return ids
}

func TestEveryKindOfKeyOpensWhatIsForIt(t *testing.T) {
	t.Parallel()
	pairs := map[string]keyPair{
		"a native key": x25519(t), "a post-quantum key": hybrid(t), "an Ed25519 key of SSH": ed(t), "an RSA key of SSH": rsaPair(t),
	}
	for name, p := range pairs {
		kept, err := agekey.Recipient(" " + p.recipient + "\n")
		if err != nil || kept != p.recipient {
			t.Errorf("%s is kept as %q: %v", name, kept, err)
		}
		file := encrypt(t, kept)
		for other, q := range pairs {
			got, err := identities(t, q.identity, nobody(t)).Decrypt(t.Context(), file)
			want := word("")
			if name == other {
				want = word(plain)
			}
			if err != nil || !got.Equal(want) {
				t.Errorf("%s opens what is for %s: %v, %v", other, name, !got.IsZero(), err)
			}
		}
	}
}

func TestOneFileHoldsSeveralIdentities(t *testing.T) {
	t.Parallel()
	one, two, three := x25519(t), hybrid(t), x25519(t)
	ids := identities(t, "# created: today\n"+one.identity+"\r\n\n  "+two.identity+"\n", nobody(t))
	for _, tt := range []struct {
		pair keyPair
		want string
	}{{one, plain}, {two, plain}, {three, ""}} {
		if got, err := ids.Decrypt(t.Context(), encrypt(t, tt.pair.recipient)); err != nil || !got.Equal(word(tt.want)) {
			t.Errorf("want %q: %v", tt.want, err)
		}
	}
}

func TestWhatIsNoRecipientIsRefused(t *testing.T) {
	t.Parallel()
	pair := x25519(t)
	for name, tt := range map[string]struct{ text, says string }{
		"an identity is not repeated":        {pair.identity, "which is secret"},
		"an identity of a plugin neither":    {"age-plugin-yubikey-1QQQQ", "which is secret"},
		"a private SSH key neither":          {ed(t).identity, "which is secret"},
		"nothing":                            {"", "is no age recipient"},
		"a word":                             {"nonsense", `"nonsense" is no age recipient`},
		"a mistyped letter":                  {pair.recipient[:20] + "b" + pair.recipient[21:], "is no age recipient"},
		"an SSH key that cannot encrypt":     {"ecdsa-sha2-nistp256 AAAAE2VjZHNhLXNoYTItbmlzdHAyNTYAAAAIbmlzdHAyNTY=", "is no age recipient"},
		"half an SSH key":                    {"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHpP2ezqm", "is no age recipient"},
		"two recipients":                     {pair.recipient + "\n" + pair.recipient, "is no age recipient"},
		"a plugin's with a broken checksum":  {"age1yubikey1qqqqqqqq", "is no age recipient"},
		"a long text is not repeated at all": {strings.Repeat("x", 4000), "xxx..."},
	} {
		_, err := agekey.Recipient(tt.text)
		if !errors.Is(err, pam.ErrUsage) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil && (len(err.Error()) > 200 || strings.Contains(err.Error(), pair.identity)) {
			t.Errorf("%s: it says too much: %v", name, err)
		}
	}
}

func TestWhatIsNoIdentityIsRefused(t *testing.T) {
	t.Parallel()
	pair := x25519(t)
	_, ecdsaLike, _ := strings.Cut(ed(t).identity, "\n")
	for name, tt := range map[string]struct{ text, says string }{
		"nothing":                        {"# a comment\n\n", "no identity"},
		"a password":                     {"correct horse", "line 1 of"},
		"a recipient":                    {pair.identity + "\n" + pair.recipient, "line 2 of"},
		"a damaged identity":             {pair.identity[:40], "line 1 of"},
		"a plugin's with bad spelling":   {"AGE-PLUGIN-", "line 1 of"},
		"an encrypted identity":          {"age-encryption.org/v1\n-> scrypt x 18\n", "encrypted itself"},
		"an armored one":                 {"-----BEGIN AGE ENCRYPTED FILE-----\n", "encrypted itself"},
		"a damaged SSH key":              {"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA" + ecdsaLike, "cannot be used"},
		"an SSH key of the old format":   {oldFormat, "old format"},
		"more identities than anybody's": {strings.Repeat(pair.identity+"\n", 65), "more than 64"},
	} {
		_, err := agekey.ParseIdentities(t.Context(), word(tt.text), nobody(t))
		if !errors.Is(err, pam.ErrInvalidInput) || !strings.Contains(err.Error(), tt.says) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if strings.Contains(err.Error()+pam.HintOf(err), pair.identity[20:40]) {
			t.Errorf("%s: it shows the identity: %v", name, err)
		}
	}
}

// oldFormat is how OpenSSH wrote keys with passphrases before 2014.
const oldFormat = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\nDEK-Info: AES-128-CBC,00112233445566778899AABBCCDDEEFF\n\nAAAA\n-----END RSA PRIVATE KEY-----\n"

func TestAPassphraseIsAskedForWhenItIsNeeded(t *testing.T) {
	t.Parallel()
	pair := lockedPair(t)
	file := encrypt(t, pair.recipient)
	stop := pam.Errorf(pam.ErrInterrupted, "nothing was typed")
	for name, tt := range map[string]struct {
		typed []string // what is answered, in order; then stop
		file  []byte
		want  string
		kind  error
		said  int
	}{
		"right at once":                      {[]string{"open sesame"}, file, plain, nil, 0},
		"mistyped twice":                     {[]string{"open", "sesame", "open sesame"}, file, plain, nil, 2},
		"wrong three times":                  {[]string{"a", "b", "c"}, file, "", pam.ErrLocked, 2},
		"nobody answers":                     {nil, file, "", pam.ErrInterrupted, 0},
		"not at all for what is for another": {nil, encrypt(t, ed(t).recipient), "", nil, 0},
	} {
		said := 0
		talk := agekey.Talk{
			Say: func(text string) {
				said++
				if !strings.Contains(text, "wrong passphrase") {
					t.Errorf("%s: said %q", name, text)
				}
			},
			Secret: func(_ context.Context, prompt string) (secret.Value, error) {
				if !strings.Contains(prompt, "SHA256:") {
					t.Errorf("%s: asked %q", name, prompt)
				}
				if len(tt.typed) == 0 {
					return secret.Value{}, stop
				}
				next := tt.typed[0]
				tt.typed = tt.typed[1:]
				return word(next), nil
			},
		}
		got, err := identities(t, pair.identity, talk).Decrypt(t.Context(), tt.file)
		if !got.Equal(word(tt.want)) || !errors.Is(err, tt.kind) || said != tt.said || len(tt.typed) > 0 {
			t.Errorf("%s: %v, %v, said %d times, %d answers left", name, !got.IsZero(), err, said, len(tt.typed))
		}
	}
	if got, err := identities(t, pair.identity, agekey.Talk{}).Decrypt(t.Context(), file); !errors.Is(err, pam.ErrLocked) || !got.IsZero() {
		t.Errorf("where nobody may be asked: %v", err)
	}
}

// Who writes an age file must not say what it costs to try it.
func TestAFileThatIsExpensiveToTryIsNotTried(t *testing.T) {
	t.Parallel()
	pair := x25519(t)
	scrypt := "age-encryption.org/v1\n-> scrypt bBjlhJVYZeE4aqUdmtRHfw 22\n" + strings.Repeat("A", 43) + "\n--- " + strings.Repeat("A", 43) + "\n"
	many := "age-encryption.org/v1\n" + strings.Repeat("-> ssh-ed25519 AAAAAA\n\n", 17) + "--- " + strings.Repeat("A", 43) + "\n"
	for name, file := range map[string]string{
		"a passphrase": scrypt, "seventeen stanzas": many, "no age file": "hello", "nothing": "", "half a file": string(encrypt(t, pair.recipient)[:150]),
	} {
		got, err := identities(t, ed(t).identity, nobody(t)).Decrypt(t.Context(), []byte(file))
		if name == "half a file" {
			got, err = identities(t, pair.identity, nobody(t)).Decrypt(t.Context(), []byte(file))
		}
		if !errors.Is(err, pam.ErrLocked) || !got.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
	}
	var large bytes.Buffer
	r, err := age.ParseX25519Recipient(pair.recipient)
	if err != nil {
		t.Fatal(err)
	}
	w, err := age.Encrypt(&large, r)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write(make([]byte, agekey.MaxPlain+1))
	_ = w.Close()
	if got, err := identities(t, pair.identity, nobody(t)).Decrypt(t.Context(), large.Bytes()); !errors.Is(err, pam.ErrLocked) || !got.IsZero() {
		t.Errorf("a large secret: %v", err)
	}
}

func TestAPluginIsRunOnlyWhereItMay(t *testing.T) {
	t.Parallel()
	recipient, identity := plugin.EncodeRecipient("nosuchplugin", []byte("r")), plugin.EncodeIdentity("nosuchplugin", []byte("i"))
	if kept, err := agekey.Recipient(recipient); err != nil || kept != recipient {
		t.Errorf("%q, %v", kept, err)
	}
	_, err := agekey.Encrypt(t.Context(), recipient, word(plain), nobody(t))
	if !errors.Is(err, pam.ErrLocked) || !strings.Contains(err.Error(), "age-plugin-nosuchplugin is not on the PATH") {
		t.Errorf("a plugin that is not there: %v", err)
	}
	file := encrypt(t, x25519(t).recipient)
	if _, err := identities(t, identity, nobody(t)).Decrypt(t.Context(), file); !errors.Is(err, pam.ErrLocked) {
		t.Errorf("to decrypt: %v", err)
	}
	talk := nobody(t)
	talk.Debug = true
	if _, err := agekey.Encrypt(t.Context(), recipient, word(plain), talk); !errors.Is(err, pam.ErrDenied) {
		t.Errorf("while keys would be printed: %v", err)
	}
	if _, err := agekey.ParseIdentities(t.Context(), word(identity), talk); !errors.Is(err, pam.ErrDenied) {
		t.Errorf("while keys would be printed, to decrypt: %v", err)
	}
	native := x25519(t)
	quiet := identities(t, identity+"\n"+native.identity, agekey.Talk{})
	if got, err := quiet.Decrypt(t.Context(), encrypt(t, native.recipient)); err != nil || got.IsZero() {
		t.Errorf("where nobody may be asked a plugin is passed over: %v", err)
	}
}

func TestAnInterruptEndsTheWait(t *testing.T) {
	t.Parallel()
	pair := lockedPair(t)
	ctx, stop := context.WithCancel(t.Context())
	answered := make(chan struct{})
	talk := agekey.Talk{Secret: func(context.Context, string) (secret.Value, error) {
		stop()
		<-answered // a person who does not answer
		return secret.Value{}, io.EOF
	}, Say: func(string) {}}
	ids := identities(t, pair.identity, talk)
	_, err := ids.Decrypt(ctx, encrypt(t, pair.recipient))
	close(answered)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAHintNamesARecipientShortly(t *testing.T) {
	t.Parallel()
	pair := ed(t)
	key, _, _, _, err := ssh.ParseAuthorizedKey([]byte(pair.recipient))
	if err != nil {
		t.Fatal(err)
	}
	for recipient, want := range map[string]string{
		"": "", "age1short": "age1short", pair.recipient: ssh.FingerprintSHA256(key) + " ann@desk",
		"age1gs2q3c3dzxg7k9dqhgphvmqujq7lrv72kqs7z8yypuvufvudsarsmufpad": "age1gs2q3c3dzx...mufpad",
	} {
		if got := agekey.Hint(recipient); got != want {
			t.Errorf("%q becomes %q, want %q", recipient, got, want)
		}
	}
}

// What Recipient returns it returns again: one recipient has one form.
func TestARecipientHasOneForm(t *testing.T) {
	t.Parallel()
	pairs := []keyPair{x25519(t), ed(t)}
	rapid.Check(t, func(rt *rapid.T) {
		text := rapid.SampledFrom(pairs).Draw(rt, "pair").recipient + rapid.String().Draw(rt, "more")
		once, err := agekey.Recipient(text)
		if err != nil {
			return
		}
		if again, err := agekey.Recipient(once); err != nil || again != once {
			rt.Fatalf("%q becomes %q, then %q: %v", text, once, again, err)
		}
	})
}
