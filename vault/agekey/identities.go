package agekey

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/plugin"
	"golang.org/x/crypto/ssh"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// pluginIdentity is what the identities of plugins begin with.
const pluginIdentity = "AGE-PLUGIN-"

// maxIdentities is how many identities a file may have.
const maxIdentities = 64

// tries is how often a person may type the passphrase of an SSH key.
const tries = 3

// Identities are what a file of identities holds. One use at a time.
type Identities struct{ all []age.Identity }

// ParseIdentities reads what is in a file of age identities, one a line, or in
// the private SSH key that takes the whole file. file stays the caller's and must
// not be destroyed before the last use; questions end with ctx. No message holds
// anything of the file.
func ParseIdentities(ctx context.Context, file secret.Value, talk Talk) (Identities, error) {
	text := file.Reveal()
	switch {
	case bytes.HasPrefix(text, []byte("age-encryption.org/")), bytes.HasPrefix(text, []byte("-----BEGIN AGE ENCRYPTED FILE-----")):
		return Identities{}, unusable("the age identity file is encrypted itself, which is not taken").
			WithHint("name what age -d prints, by a pipe too; an SSH key may have a passphrase")
	case bytes.HasPrefix(text, []byte("-----BEGIN ")):
		id, err := parseSSH(ctx, text, talk)
		return Identities{[]age.Identity{id}}, err
	}
	var ids Identities
	for n, line := range bytes.Split(text, []byte("\n")) {
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		if talk.Secret == nil && bytes.HasPrefix(line, []byte(pluginIdentity)) {
			continue // it may need a person
		}
		id, err := parseLine(ctx, line, talk)
		if err != nil {
			if _, typed := errors.AsType[*pam.Error](err); typed {
				return Identities{}, err
			}
			return Identities{}, unusable("line %d of the age identity file is no age identity", n+1).
				WithHint("age-keygen makes one; a private SSH key is a file of its own")
		}
		if ids.all = append(ids.all, id); len(ids.all) > maxIdentities {
			return Identities{}, unusable("the age identity file has more than %d identities", maxIdentities)
		}
	}
	if len(ids.all) == 0 {
		return Identities{}, unusable("there is no identity in the age identity file").
			WithHint("age-keygen makes one")
	}
	return ids, nil
}

func parseLine(ctx context.Context, line []byte, talk Talk) (age.Identity, error) {
	if bytes.HasPrefix(line, []byte(pluginIdentity)) {
		id, err := plugin.NewIdentity(string(line), talk.ui(ctx)) // the library takes a string
		if err == nil && talk.Debug {
			return nil, debugging(id.Name())
		}
		return id, err
	}
	ids, err := age.ParseIdentities(bytes.NewReader(line))
	if err != nil {
		return nil, err
	}
	return ids[0], nil
}

// parseSSH reads a private SSH key. For one behind a passphrase a person is asked,
// and only when a slot is for that key.
func parseSSH(ctx context.Context, text []byte, talk Talk) (age.Identity, error) {
	id, err := agessh.ParseIdentity(text)
	if err == nil {
		return id, nil
	}
	missing, locked := errors.AsType[*ssh.PassphraseMissingError](err)
	switch {
	case locked && missing.PublicKey == nil:
		return nil, unusable("the SSH key in the age identity file has its passphrase in an old format").
			WithHint("ssh-keygen -p -f FILE writes it in the format of OpenSSH")
	case !locked:
		return nil, badSSH()
	}
	l := &lockedSSH{talk: talk}
	l.EncryptedSSHIdentity, err = agessh.NewEncryptedSSHIdentity(missing.PublicKey, text, func() ([]byte, error) {
		if talk.Secret == nil {
			l.asked, l.failure = true, pam.Errorf(pam.ErrLocked, "the SSH key has a passphrase, and nobody may be asked")
			return nil, l.failure
		}
		pass, err := talk.Secret(ctx, "Passphrase of the SSH key "+ssh.FingerprintSHA256(missing.PublicKey)+": ")
		l.asked, l.failure, l.typed = true, err, pass
		return pass.Reveal(), err
	})
	if err != nil {
		return nil, badSSH()
	}
	return l, nil
}

func unusable(format string, args ...any) *pam.Error {
	return pam.Errorf(pam.ErrInvalidInput, format+"; nothing changed", args...)
}

func badSSH() error {
	return unusable("the private key in the age identity file cannot be used").
		WithHint("it must be an SSH key of type ssh-ed25519 or ssh-rsa")
}

// A lockedSSH is an SSH key behind a passphrase, which is asked for again when
// it was mistyped.
type lockedSSH struct {
	*agessh.EncryptedSSHIdentity
	talk    Talk
	asked   bool
	failure error        // of asking
	typed   secret.Value // the answer
}

// Unwrap implements [age.Identity].
func (l *lockedSSH) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	for n := 1; ; n++ {
		l.asked, l.failure = false, nil
		key, err := l.EncryptedSSHIdentity.Unwrap(stanzas)
		l.typed.Destroy()
		switch {
		case err == nil || !l.asked || errors.Is(err, age.ErrIncorrectIdentity):
			return key, err
		case l.failure != nil:
			return nil, l.failure
		case n == tries:
			return nil, pam.Errorf(pam.ErrLocked, "wrong passphrase of the SSH key; nothing changed")
		}
		l.talk.Say("keyturn: wrong passphrase of the SSH key")
	}
}

// ui is how a plugin talks with people. Its errors never reach the plugin.
func (t Talk) ui(ctx context.Context) *plugin.ClientUI {
	said := func(name, text string) string { return "age-plugin-" + name + ": " + text }
	return &plugin.ClientUI{
		DisplayMessage: func(name, message string) error {
			t.Say(said(name, message))
			return nil
		},
		RequestValue: func(name, prompt string, hidden bool) (string, error) {
			if !hidden {
				return t.Line(ctx, said(name, prompt)+": ")
			}
			value, err := t.Secret(ctx, said(name, prompt)+": ")
			defer value.Destroy()
			return string(value.Reveal()), err // the library takes a string
		},
		Confirm: func(name, prompt, yes, no string) (bool, error) {
			if no == "" {
				no = "no"
			}
			for range tries {
				answer, err := t.Line(ctx, said(name, prompt)+" [y: "+yes+", n: "+no+"]: ")
				if err != nil {
					return false, err
				}
				switch strings.ToLower(strings.TrimSpace(answer)) {
				case "y", "yes":
					return true, nil
				case "n", "no":
					return false, nil
				}
			}
			return false, pam.Errorf(pam.ErrUsage, "the answer is neither y nor n")
		},
		WaitTimer: func(name string) { t.Say("keyturn: waiting for age-plugin-" + name) },
	}
}
