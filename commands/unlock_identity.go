package commands

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"runtime"
	"strings"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
	"keyturn/vault/agekey"
)

func (d *Deps) unlockWithIdentity(ctx context.Context, name string, try Try) (secret.Value, error) {
	d.warnIfShared(name, "age identity file")
	return d.tryIdentity(ctx, name, try)
}

func (d *Deps) tryIdentity(ctx context.Context, name string, try Try) (secret.Value, error) {
	file, err := d.secretFile(ctx, name, "age identity file")
	if err != nil {
		return secret.Value{}, err
	}
	defer file.Destroy()
	ids, err := agekey.ParseIdentities(ctx, file, d.ageTalk())
	if err != nil {
		return secret.Value{}, err
	}
	return try(vault.WithAge(ids.Decrypt))
}

// ageTalk is how age keys ask: on the terminal, where the text of a plugin is
// cleaned. Completion asks nobody and runs no plugin.
func (d *Deps) ageTalk() agekey.Talk {
	t := agekey.Talk{
		Say:   func(text string) { d.sayf("%s", text) },
		Debug: d.Getenv("AGEDEBUG") == "plugin",
	}
	if d.Session.Quiet {
		return t
	}
	t.Secret = func(ctx context.Context, prompt string) (secret.Value, error) {
		answer, err := d.ReadSecret(ctx, output.Clean(prompt))
		return answer, nobodyToAsk(err)
	}
	t.Line = func(ctx context.Context, prompt string) (string, error) {
		answer, err := d.ReadLine(ctx, output.Clean(prompt))
		return answer, nobodyToAsk(err)
	}
	return t
}

func nobodyToAsk(err error) error {
	if !errors.Is(err, ErrNoTerminal) {
		return err
	}
	locked := pam.Errorf(pam.ErrLocked, "the age identity needs an answer, and there is no terminal to ask on; nothing changed")
	locked.Err, locked.Hint = err, "name an identity without a passphrase, or open the vault another way"
	return locked
}

// warnIfShared notes that others can read what opens the vault. It does not
// refuse: pipelines are given such files by programs that know no other mode.
func (d *Deps) warnIfShared(name, what string) {
	const othersRead = 0o044
	path, err := d.path(name)
	if name == fromStdin || err != nil || runtime.GOOS == "windows" { // where a mode says nothing
		return
	}
	if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && info.Mode()&fs.ModePerm&othersRead != 0 {
		d.Session.news = append(d.Session.news, "keyturn: other users can read the "+what+" "+name+": chmod 600 helps")
	}
}

// tellOfOpening says what is to be known of how the vault was opened, once.
func (c *call) tellOfOpening() {
	for _, text := range c.Session.news {
		c.newsf("%s", text)
	}
	c.Session.news = nil
	behind := c.vault.Behind()
	if behind == nil {
		c.Session.behind = ""
		return
	}
	// The lines of a shell and of a batch share a session: each refusal says it again.
	if c.Session.behind != behind.Error() {
		c.Session.behind = behind.Error()
		text, _, _ := strings.Cut(behind.Error(), "; ")
		c.newsf("warning: %s: what it shows may be out of date, and nothing can be changed", text)
	}
}
