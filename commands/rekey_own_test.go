package commands

import (
	"context"
	"errors"
	"maps"
	"strings"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
	"keyturn/vault/keyring"
)

// A fakeKeyring fails where it is told to, by the method's name.
type fakeKeyring struct {
	entries map[string]string
	fails   map[string]error
}

func (k *fakeKeyring) Get(_ context.Context, name string) (secret.Value, error) {
	if k.fails["get"] != nil {
		return secret.Value{}, k.fails["get"]
	}
	text, ok := k.entries[name]
	if !ok {
		return secret.Value{}, keyring.ErrNone
	}
	return secret.Copy([]byte(text)), nil
}

func (k *fakeKeyring) Set(_ context.Context, name string, value secret.Value) error {
	if k.fails["set"] != nil {
		return k.fails["set"]
	}
	k.entries[name] = string(value.Reveal())
	return nil
}

func (k *fakeKeyring) Delete(_ context.Context, name string) error {
	if k.fails["delete"] != nil {
		return k.fails["delete"]
	}
	if _, ok := k.entries[name]; !ok {
		return keyring.ErrNone
	}
	delete(k.entries, name)
	return nil
}

// ringed are dependencies whose vault a keyring opens, and a rekey's command line.
func ringed(t *testing.T) (d *Deps, ring *fakeKeyring, rekey func(fails string, with error) (int, string)) {
	t.Helper()
	d, out, stderr := withVault(t)
	ring = &fakeKeyring{entries: map[string]string{}}
	d.Keyring = ring
	d.ReadSecret = func(context.Context, string) (secret.Value, error) {
		return secret.Copy([]byte("a long passphrase")), nil
	}
	d.Reopen = func(context.Context, secret.Value, string) error { return nil }
	d.StopAgent = func(context.Context) (bool, error) { return false, nil }
	if code := Run(t.Context(), d, []string{"key", "add", "--keyring"}); code != 0 {
		t.Fatal(code, stderr)
	}
	return d, ring, func(fails string, with error) (int, string) {
		ring.fails = map[string]error{fails: with}
		out.Reset()
		stderr.Reset()
		code := Run(t.Context(), d, []string{"rekey", "--force"})
		return code, stderr.String() + out.String()
	}
}

func opensWith(t *testing.T, ring *fakeKeyring, dir string) error {
	t.Helper()
	ring.fails = nil
	_, _, err := vault.WithKeyring(func(ctx context.Context, entry string) (secret.Value, error) {
		with, err := ring.Get(ctx, entry)
		if errors.Is(err, keyring.ErrNone) {
			err = nil
		}
		return with, err
	})(t.Context(), dir)
	return err
}

func TestAKeyringThatFailsDuringARekey(t *testing.T) {
	t.Parallel()
	failure := pam.Errorf(pam.ErrIO, "the keyring is locked")
	for _, tt := range []struct {
		fails   string
		code    int
		says    string
		opens   bool
		entries int
	}{
		{"nothing", 0, "(keyring) will be kept", true, 1},
		{"get", 0, "cannot be kept: the keyring is locked", false, 1},
		{"set", 1, "in the keyring: the keyring is locked; nothing changed", true, 1},
		{"delete", 0, "An entry could not be removed from the keyring (service keyturn, user ", true, 2},
	} {
		t.Run(tt.fails, func(t *testing.T) {
			t.Parallel()
			d, ring, rekey := ringed(t)
			v, err := d.Vault(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			info, err := v.Info(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			before := maps.Clone(ring.entries)
			code, text := rekey(tt.fails, failure)
			if code != tt.code || !strings.Contains(text, tt.says) {
				t.Errorf("code %d: %s", code, text)
			}
			if err := opensWith(t, ring, info.Dir); (err == nil) != tt.opens {
				t.Errorf("the keyring opens the vault: %v", err)
			}
			if len(ring.entries) != tt.entries || tt.code != 0 && !maps.Equal(before, ring.entries) {
				t.Errorf("%d entries, before %d", len(ring.entries), len(before))
			}
		})
	}
}
