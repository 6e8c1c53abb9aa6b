package commands

import (
	"bytes"
	"context"
	"errors"
	"io"
	"path/filepath"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/password"
	"keyturn/pkg/secret"
	"keyturn/vault"
)

// Names of the environment variables. None holds a password: the environment is
// inherited by every child.
const (
	EnvHome         = "KEYTURN_HOME"
	EnvPasswordFile = "KEYTURN_PASSWORD_FILE"
	EnvKeyFile      = "KEYTURN_KEY_FILE"
	EnvIdentity     = "KEYTURN_IDENTITY"
	EnvAnchor       = "KEYTURN_ANCHOR"
	// EnvNetwork, set to 1, lets a vault lie on a network file system.
	EnvNetwork = "KEYTURN_FORCE_NETWORK"
)

const (
	fromStdin       = "-"
	maxSecretFile   = 64 << 10
	askMaster       = "Master password: "
	askMasterAgain  = "Master password again: "
	unlockHint      = "set " + EnvPasswordFile + " or give --password-file FILE (- is standard input)"
	passwordFileArg = "password file"
)

// VaultDir says where the vault is: --vault, else KEYTURN_HOME, else the
// platform's folder for a user's data.
func (d *Deps) VaultDir() (string, error) {
	switch {
	case d.Session.Globals.VaultDir != "":
		return d.path(d.Session.Globals.VaultDir)
	case d.Getenv(EnvHome) != "":
		return d.path(d.Getenv(EnvHome))
	}
	dir, err := d.DataDir()
	if err != nil {
		return "", pam.Errorf(pam.ErrIO, "find the folder for user data: %w", err).
			WithHint("set %s or give --vault DIR", EnvHome)
	}
	return filepath.Join(dir, "keyturn"), nil
}

// unlockTries is how often a person may type the master password.
const unlockTries = 3

// A Try opens a vault with an unlocker and returns its key.
type Try = func(vault.Unlocker) (secret.Value, error)

// Unlock hands what opens an existing vault to try and returns the key it gives:
// the key file or the age identities, if they are named; else the master password
// from --password-file, else KEYTURN_PASSWORD_FILE, else what this computer's
// keyring keeps, else the master password from the terminal, where a mistyped one
// is asked for again. The secret is destroyed.
func (d *Deps) Unlock(ctx context.Context, try Try) (secret.Value, error) {
	if d.Session.Quiet && d.Session.Locked {
		return secret.Value{}, pam.Errorf(pam.ErrLocked, "the vault is locked")
	}
	d.Session.Locked = false
	if key, ok, err := d.unlockNamed(ctx, try); ok || err != nil {
		return key, err
	}
	if d.Session.Quiet {
		return secret.Value{}, pam.Errorf(pam.ErrLocked, "the vault is locked").WithHint(unlockHint)
	}
	key, found, why := d.unlockWithKeyring(ctx, try)
	if found {
		return key, why
	}
	for n := 1; ; n++ {
		key, err := d.askAndTry(ctx, try, why)
		if n == unlockTries || !errors.Is(err, pam.ErrLocked) || errors.Is(err, ErrNoTerminal) {
			return key, err
		}
		d.sayf("keyturn: %s", message(err))
	}
}

// unlockNamed opens the vault with what the command line or the environment
// names; ok is false when neither names anything.
func (d *Deps) unlockNamed(ctx context.Context, try Try) (key secret.Value, ok bool, err error) {
	keyFile, identity, err := d.named()
	switch {
	case err != nil:
		return key, false, err
	case keyFile != "":
		key, err = d.unlockWithFile(ctx, keyFile, try)
		return key, true, err
	case identity != "":
		key, err = d.unlockWithIdentity(ctx, identity, try)
		return key, true, err
	}
	pass, ok, err := d.passwordFile(ctx)
	if !ok || err != nil {
		return key, false, err
	}
	if pass.IsZero() { // no vault has that one
		return key, true, pam.Errorf(pam.ErrLocked, "the %s, or standard input in its place, is empty; nothing changed", passwordFileArg)
	}
	defer pass.Destroy()
	key, err = try(vault.With(vault.ByPassphrase, pass))
	return key, true, err
}

// named is the key file or the file of identities that the command line or the
// environment names. What the command line says beats the environment: a flag for
// the password beats a variable for a key file.
func (d *Deps) named() (keyFile, identity string, err error) {
	g := d.Session.Globals
	switch {
	case g.KeyFile != "" && g.Identity != "":
		return "", "", usagef("give one of --key-file and --identity")
	case g.KeyFile != "" || g.Identity != "" || g.PasswordFile != "":
		return g.KeyFile, g.Identity, nil
	}
	return d.Getenv(EnvKeyFile), d.Getenv(EnvIdentity), nil
}

// Named reports whether the command line names what opens the vault.
func (g Globals) Named() bool { return g.PasswordFile != "" || g.KeyFile != "" || g.Identity != "" }

func (d *Deps) unlockWithFile(ctx context.Context, name string, try Try) (secret.Value, error) {
	with, err := d.secretFile(ctx, name, "key file")
	if err != nil {
		return secret.Value{}, err
	}
	defer with.Destroy()
	d.warnIfShared(name, "key file")
	return try(vault.With(vault.ByKeyFile, with))
}

// askAndTry asks for the master password; why is the reason that it is not in the
// keyring, nil for none worth telling.
func (d *Deps) askAndTry(ctx context.Context, try Try, why error) (secret.Value, error) {
	question, reason := askMaster, ""
	if why != nil {
		reason = ": " + message(why)
		question = "keyturn: " + output.Clean(message(why)) + "\n" + askMaster
	}
	pass, err := d.ReadSecret(ctx, question)
	if errors.Is(err, ErrNoTerminal) {
		locked := pam.Errorf(pam.ErrLocked, "the vault is locked%s, and there is no terminal to ask for the master password", reason)
		locked.Err, locked.Hint = err, unlockHint
		return pass, locked
	}
	if err != nil {
		return pass, err
	}
	defer pass.Destroy()
	return try(vault.With(vault.ByPassphrase, pass))
}

// newPassphrase returns the master password of a vault to be made; on the
// terminal it is asked for twice.
func (d *Deps) newPassphrase(ctx context.Context, o masterOptions) (secret.Value, error) {
	pass, ok, err := d.passwordFile(ctx)
	if err != nil {
		return pass, err
	}
	if !ok {
		pass, err = d.askTwice(ctx)
		if err != nil {
			return pass, err
		}
	}
	if pass.IsZero() {
		return pass, pam.Errorf(pam.ErrUsage, "the master password is empty; no vault was made")
	}
	return pass, o.check(pass, "no vault was made")
}

// masterOptions say what a new master password may be.
type masterOptions struct{ weak bool }

func (o *masterOptions) add(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&o.weak, "allow-weak-password", false, "take a master password that is soon guessed, for tests")
}

// check refuses a password that is soon guessed; outcome says what came of it.
func (o masterOptions) check(pass secret.Value, outcome string) error {
	err := password.CheckMaster(pass)
	if err == nil || o.weak {
		return nil
	}
	pass.Destroy()
	return pam.Errorf(pam.ErrPolicy, "%w; %s", err, outcome).
		WithHint("take a few words that nobody else would; --allow-weak-password takes this one as it is")
}

func (d *Deps) askTwice(ctx context.Context) (secret.Value, error) {
	pass, err := d.askTwiceFor(ctx, askMaster, askMasterAgain)
	switch {
	case errors.Is(err, ErrNoTerminal):
		return pass, pam.Errorf(pam.ErrLocked, "there is no terminal to ask for a new master password; no vault was made").
			WithHint(unlockHint)
	case errors.Is(err, errDiffer):
		return pass, usagef("the two master passwords differ; no vault was made")
	}
	return pass, err
}

// errDiffer is what askTwiceFor returns when the answers are not the same.
var errDiffer = pam.Errorf(pam.ErrUsage, "the two passwords differ; nothing changed")

func (d *Deps) askTwiceFor(ctx context.Context, question, again string) (secret.Value, error) {
	first, err := d.ReadSecret(ctx, question)
	if err != nil {
		return first, err
	}
	second, err := d.ReadSecret(ctx, again)
	if err != nil {
		return first, err
	}
	defer second.Destroy()
	if !first.Equal(second) {
		first.Destroy()
		return first, errDiffer
	}
	return first, nil
}

// passwordFile reads the master password from the file that the flag or the
// environment names; ok is false when neither does.
func (d *Deps) passwordFile(ctx context.Context) (pass secret.Value, ok bool, err error) {
	name := d.Session.Globals.PasswordFile
	if name == "" {
		name = d.Getenv(EnvPasswordFile)
	}
	if name == "" {
		return pass, false, nil
	}
	pass, err = d.secretFile(ctx, name, passwordFileArg)
	if err != nil {
		return pass, false, err
	}
	return pass, true, nil
}

// secretFile reads a secret from a file, or from standard input for "-". One
// trailing newline is cut: editors and echo add it. what names the file's role
// in messages.
func (d *Deps) secretFile(ctx context.Context, name, what string) (secret.Value, error) {
	switch {
	case name != fromStdin:
	case d.Interactive || d.Session.batch:
		return secret.Value{}, pam.Errorf(pam.ErrUsage, "%s: standard input is where the commands come from", what).
			WithHint("name a file instead of -")
	default:
		return readSecret(d.In, what)
	}
	f, err := d.open(ctx, name)
	if err != nil {
		return secret.Value{}, pam.Errorf(unreadable(pam.ErrIO, err), "read the %s: %w", what, err)
	}
	defer f.Close() //nolint:errcheck // only read
	return readSecret(f, what)
}

func readSecret(r io.Reader, what string) (secret.Value, error) {
	b, err := io.ReadAll(io.LimitReader(r, maxSecretFile+1))
	if err != nil {
		clear(b)
		return secret.Value{}, pam.Errorf(unreadable(pam.ErrIO, err), "read the %s: %w", what, err)
	}
	if len(b) > maxSecretFile {
		clear(b)
		return secret.Value{}, pam.Errorf(pam.ErrInvalidInput, "the %s is longer than %d bytes", what, maxSecretFile)
	}
	b, cut := bytes.CutSuffix(b, []byte("\n"))
	if cut {
		b, _ = bytes.CutSuffix(b, []byte("\r"))
	}
	return secret.New(b), nil
}
