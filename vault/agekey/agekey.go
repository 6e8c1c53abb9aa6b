// Package agekey encrypts small secrets to age recipients and decrypts them with
// age identities: native ones, post-quantum ones, SSH keys and plugins.
//
// It knows no vault and no slot, reads no file and asks nobody by itself: what
// it asks goes through a [Talk]. It is the only importer of filippo.io/age.
package agekey

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"filippo.io/age"
	"filippo.io/age/agessh"
	"filippo.io/age/plugin"
	"golang.org/x/crypto/ssh"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// MaxPlain is the most bytes that are taken out of an age file.
const MaxPlain = 64

// maxStanzas is how many stanzas the header of an age file may have. One is
// written for one recipient; a plugin may write several.
const maxStanzas = 16

// A Talk is how a key that needs a person, or a plugin, reaches one. Each func
// may be called from another goroutine than the one that waits for the result.
type Talk struct {
	// Secret and Line ask on the terminal, never on standard input; the prompts
	// may hold what a plugin wrote. Where Secret is nil nobody is asked, and
	// plugins are not run to decrypt.
	Secret func(ctx context.Context, prompt string) (secret.Value, error)
	Line   func(ctx context.Context, prompt string) (string, error)
	// Say tells people something.
	Say func(text string)
	// Debug says that the age library was told to print its talk with plugins, in
	// which keys are: no plugin is run then.
	Debug bool
}

// Recipient checks a recipient as people write it and returns it in the one form
// that is kept: age1..., age1pq1..., age1PLUGIN1..., ssh-ed25519 ... or
// ssh-rsa ..., with a comment. ErrUsage for everything else.
func Recipient(text string) (string, error) {
	text = strings.TrimSpace(text)
	if looksSecret(text) {
		// It is not repeated, but who typed it has it in a history by now.
		return "", pam.Errorf(pam.ErrUsage, "that is a private key, which is secret, and not a recipient; nothing changed").
			WithHint("age-keygen -y FILE prints the recipient of an identity, FILE.pub holds that of an SSH key; " +
				"a private key that was typed on a command line is no secret any more")
	}
	if _, err := parse(text, nil); err != nil || !strings.HasPrefix(text, "ssh-") {
		return text, err
	}
	key, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(text))
	if err != nil {
		return "", notARecipient(text)
	}
	line := strings.TrimSuffix(string(ssh.MarshalAuthorizedKey(key)), "\n")
	return strings.TrimSpace(line + " " + comment), nil
}

func looksSecret(text string) bool {
	upper := strings.ToUpper(text)
	return strings.HasPrefix(upper, "AGE-SECRET-KEY-") || strings.HasPrefix(upper, pluginIdentity) ||
		strings.Contains(upper, "PRIVATE KEY-----")
}

// parse makes the library's recipient. A plugin's talks through ui.
func parse(text string, ui *plugin.ClientUI) (age.Recipient, error) {
	var r age.Recipient
	var err error
	switch {
	case strings.Contains(text, "\n"):
		return nil, notARecipient(text)
	case strings.HasPrefix(text, "ssh-"):
		r, err = agessh.ParseRecipient(text)
	case strings.HasPrefix(text, "age1pq1"):
		r, err = age.ParseHybridRecipient(text)
	case strings.HasPrefix(text, "age1") && strings.Count(text, "1") > 1 && isPlugin(text):
		r, err = plugin.NewRecipient(text, ui)
	case strings.HasPrefix(text, "age1"):
		r, err = age.ParseX25519Recipient(text)
	default:
		return nil, notARecipient(text)
	}
	if err != nil {
		return nil, notARecipient(text)
	}
	return r, nil
}

func isPlugin(text string) bool {
	_, _, err := plugin.ParseRecipient(text)
	return err == nil
}

func notARecipient(text string) error {
	const most = 40
	if len(text) > most {
		text = text[:most] + "..."
	}
	return pam.Errorf(pam.ErrUsage, "%q is no age recipient that can be used; nothing changed", text).
		WithHint("a recipient is age1..., or the line of a public SSH key of type ssh-ed25519 or ssh-rsa (2048 bits or more)")
}

// Hint is a recipient as it fits into a table: its ends, or the fingerprint and
// the comment of an SSH key. It is for text that [Recipient] returned.
func Hint(recipient string) string {
	if key, comment, _, _, err := ssh.ParseAuthorizedKey([]byte(recipient)); err == nil {
		return strings.TrimSpace(ssh.FingerprintSHA256(key) + " " + comment)
	}
	const head, tail = 14, 6
	if len(recipient) <= head+tail {
		return recipient
	}
	return recipient[:head] + "..." + recipient[len(recipient)-tail:]
}

// Encrypt encrypts a secret to one recipient. A plugin is run for its own
// recipients, and for nothing else.
func Encrypt(ctx context.Context, recipient string, plain secret.Value, talk Talk) ([]byte, error) {
	r, err := parse(recipient, talk.ui(ctx))
	if err != nil {
		return nil, err
	}
	if p, ok := r.(*plugin.Recipient); ok && talk.Debug {
		return nil, debugging(p.Name())
	}
	var file bytes.Buffer
	own := plain.Clone() // the caller's may be gone before a plugin that is left behind
	err = wait(ctx, func() error {
		defer own.Destroy()
		w, err := age.Encrypt(&file, r)
		if err == nil {
			_, err = w.Write(own.Reveal())
		}
		if err == nil {
			err = w.Close()
		}
		return err
	})
	if err != nil {
		return nil, failed(ctx, "encrypt to the age recipient", err)
	}
	return file.Bytes(), nil
}

// Decrypt returns what an age file of one of the identities holds, and nothing
// for a file that is for somebody else. A file of more stanzas than one recipient
// needs, and one that a passphrase opens, is not tried: its author would decide
// what trying costs.
func (ids Identities) Decrypt(ctx context.Context, file []byte) (secret.Value, error) {
	var plain secret.Value
	err := wait(ctx, func() error {
		r, err := age.Decrypt(bytes.NewReader(file), append([]age.Identity{guard{}}, ids.all...)...)
		if err != nil {
			return err
		}
		b, err := io.ReadAll(io.LimitReader(r, MaxPlain+1))
		plain = secret.New(b)
		if err == nil && len(b) > MaxPlain {
			err = fmt.Errorf("more than %d bytes", MaxPlain)
		}
		return err
	})
	if err == nil {
		return plain, nil
	}
	if ctx.Err() == nil { // else it may still be written
		plain.Destroy()
	}
	if _, none := errors.AsType[*age.NoIdentityMatchError](err); none {
		return secret.Value{}, nil
	}
	return secret.Value{}, failed(ctx, "decrypt with the age identity", err)
}

// A guard is an identity that opens nothing and refuses what must not be tried.
type guard struct{}

// Unwrap implements [age.Identity].
func (guard) Unwrap(stanzas []*age.Stanza) ([]byte, error) {
	if len(stanzas) > maxStanzas {
		return nil, fmt.Errorf("more than %d stanzas", maxStanzas)
	}
	for _, s := range stanzas {
		if s.Type == "scrypt" {
			return nil, errors.New("it is encrypted with a passphrase")
		}
	}
	return nil, age.ErrIncorrectIdentity
}

// wait runs what may wait for a person or a plugin. When ctx ends first, it is
// left behind with its plugin, which the same interrupt reaches, or which ends
// with this process.
func wait(ctx context.Context, run func() error) error {
	done := make(chan error, 1)
	go func() { done <- run() }()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// failed says what went wrong: a failure that is for people already stays.
func failed(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if _, typed := errors.AsType[*pam.Error](err); typed {
		return err
	}
	if missing, ok := errors.AsType[*plugin.NotFoundError](err); ok {
		return pam.Errorf(pam.ErrLocked, "%s: age-plugin-%s is not on the PATH; nothing changed", doing, missing.Name).
			WithHint("install the plugin, or open the vault another way")
	}
	return pam.Errorf(pam.ErrLocked, "%s: %w; nothing changed", doing, err)
}

func debugging(name string) error {
	return pam.Errorf(pam.ErrDenied, "AGEDEBUG would print the keys that go to and from age-plugin-%s; nothing changed", name).
		WithHint("unset AGEDEBUG")
}
