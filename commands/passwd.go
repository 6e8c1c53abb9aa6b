package commands

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
)

const askNew, askNewAgain = "New master password: ", "New master password again: "

func newPasswd(d *Deps) *cobra.Command {
	var file string
	var kdfMemory uint32
	var master masterOptions
	cmd := &cobra.Command{
		Use:   "passwd",
		Short: "Change the master password",
		Long: `Change the master password. The present one comes from where it always does; the
new one is asked for twice, or read from --new-password-file. What is sealed
stays as it is: an older copy of the vault still opens with the older password.
Where that matters, "rekey" seals everything anew.`,
		Example: "  keyturn passwd\n  keyturn passwd --new-password-file new.txt",
		Args:    discreet(), Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().StringVar(&file, "new-password-file", "", "read the new master password from `FILE`, - for standard input")
	cmd.Flags().Uint32Var(&kdfMemory, "kdf-memory", 0, "memory of the key derivation in `KIB`; 0 leaves it, or raises it to the default")
	master.add(cmd)
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		old, err := c.presentPassphrase(ctx)
		if err != nil {
			return output.View{}, err
		}
		defer old.Destroy()
		next, err := c.nextPassphrase(ctx, file, master)
		if err != nil {
			return output.View{}, err
		}
		defer next.Destroy()
		return shownIf(c.vault.ChangePassphrase(ctx, old, next, kdfMemory), messageView("The master password is changed.", nil))
	})
}

// presentPassphrase is asked for again although the vault is open: a shell left
// alone must not be enough to shut its owner out.
func (c *call) presentPassphrase(ctx context.Context) (secret.Value, error) {
	pass, ok, err := c.passwordFile(ctx)
	if ok || err != nil {
		return pass, err
	}
	pass, err = c.ReadSecret(ctx, askMaster)
	if errors.Is(err, ErrNoTerminal) {
		return pass, pam.Errorf(pam.ErrLocked, "there is no terminal to ask for the master password; nothing changed").WithHint(unlockHint)
	}
	if err != nil {
		return pass, err
	}
	return pass, c.opens(ctx, pass)
}

// opens finds out that a password was mistyped before a new one is asked for.
func (c *call) opens(ctx context.Context, pass secret.Value) error {
	dir, err := c.VaultDir()
	if err != nil {
		return err
	}
	key, err := vault.UnlockKey(ctx, dir, pass)
	key.Destroy()
	return err
}

func (c *call) nextPassphrase(ctx context.Context, file string, o masterOptions) (next secret.Value, err error) {
	if file != "" {
		next, err = c.secretFile(ctx, file, "new password file")
	} else {
		next, err = c.askTwiceFor(ctx, askNew, askNewAgain)
	}
	switch {
	case errors.Is(err, ErrNoTerminal):
		return next, usagef("there is no terminal to ask for the new master password; nothing changed").
			WithHint("--new-password-file FILE (- is standard input)")
	case err != nil:
		return next, err
	case next.IsZero():
		return next, usagef("the new master password is empty; nothing changed")
	}
	return next, o.check(next, "nothing changed")
}
