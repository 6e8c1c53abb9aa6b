package commands

import (
	"context"
	"errors"
	"io"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/kdbx"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// formatKeePass is the word of --format for a KeePass database.
const formatKeePass output.Format = "keepass"

const (
	askKeePass      = "Password of the KeePass database: "
	askKeePassAgain = "Password of the KeePass database again: "
)

// keepassFlags say what a KeePass database is opened with. No flag holds a password.
type keepassFlags struct{ passwordFile, keyFile string }

func (f *keepassFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.passwordFile, "keepass-password-file", "",
		"read the KeePass database's password from `FILE`, - for standard input (default: ask)")
	cmd.Flags().StringVar(&f.keyFile, "keepass-key-file", "", "the KeePass database's key file: `FILE`")
}

// given reports whether there is anything for another format to complain about.
func (f keepassFlags) given() bool { return f != keepassFlags{} }

// check refuses flags that say nothing for the format of a file.
func (f keepassFlags) check(format output.Format) error {
	if f.given() && format != formatKeePass {
		return usagef("--keepass-password-file and --keepass-key-file are for --format keepass")
	}
	return nil
}

// key reads what opens a database: the password from the file, or as ask gets it
// from a person, and the key file. Without a terminal a key file may be all there
// is. The caller destroys both.
func (f keepassFlags) key(ctx context.Context, c *call, ask func() (secret.Value, error)) (key kdbx.Key, err error) {
	if f.keyFile != "" {
		if key.KeyFile, err = c.keepassKeyFile(ctx, f.keyFile); err != nil {
			return key, err
		}
	}
	if f.passwordFile != "" {
		key.Password, err = c.secretFile(ctx, f.passwordFile, "KeePass password file")
	} else if key.Password, err = ask(); errors.Is(err, ErrNoTerminal) {
		err = nil
	}
	switch {
	case err != nil:
	case key.Password.IsZero() && key.KeyFile.IsZero():
		err = usagef("there is neither a password nor a key file for the KeePass database; nothing was done").
			WithHint("--keepass-password-file FILE (- is standard input), --keepass-key-file FILE")
	}
	if err != nil {
		destroyKey(key)
	}
	return key, err
}

func destroyKey(k kdbx.Key) {
	k.Password.Destroy()
	k.KeyFile.Destroy()
}

// keepassKeyFile reads a key file as it is: unlike in a password's file, every
// byte of it counts.
func (c *call) keepassKeyFile(ctx context.Context, name string) (secret.Value, error) {
	f, err := c.open(ctx, name)
	if err != nil {
		return secret.Value{}, pam.Errorf(unreadable(pam.ErrIO, err), "read the KeePass key file: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, maxImport+1))
	switch {
	case err != nil:
		clear(b)
		return secret.Value{}, pam.Errorf(unreadable(pam.ErrIO, err), "read the KeePass key file: %w", err)
	case len(b) == 0 || len(b) > maxImport:
		clear(b)
		return secret.Value{}, pam.Errorf(pam.ErrInvalidInput, "the KeePass key file %s is empty or larger than %d MiB",
			name, maxImport>>20)
	}
	return secret.New(b), nil
}

// openKey is the key of a database that is there already.
func (f keepassFlags) openKey(ctx context.Context, c *call) (kdbx.Key, error) {
	return f.key(ctx, c, func() (secret.Value, error) { return c.ReadSecret(ctx, askKeePass) })
}

// newKey is the key of a database to be made.
func (f keepassFlags) newKey(ctx context.Context, c *call) (kdbx.Key, error) {
	return f.key(ctx, c, func() (secret.Value, error) { return c.askTwiceFor(ctx, askKeePass, askKeePassAgain) })
}

// keepassVersion reads --keepass-version.
func keepassVersion(word string) (kdbx.Version, error) {
	switch word {
	case "4":
		return kdbx.Version4, nil
	case "3.1":
		return kdbx.Version31, nil
	}
	return 0, usagef("--keepass-version: %q is neither 4 nor 3.1", word)
}
