package commands

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

func newVault(d *Deps) *cobra.Command {
	return group(&cobra.Command{Use: "vault", Short: "Check, back up, restore and salvage the vault"},
		newVaultCheck(d), newVaultBackup(d), newVaultRestore(d), newVaultSalvage(d))
}

func newVaultCheck(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check",
		Short: "Read everything in the vault and say whether it is sound",
		Long: `Read every row of the vault: whether it can be opened, whether it is the one
that was written last, and whether the audit trail is whole. It fails with 4
when the vault was changed outside of Keyturn, with 1 when it is damaged.`,
		Example: "  keyturn vault check\n  keyturn vault check --format json",
		Args:    positional(), Annotations: notes(annotNeeds, needVault),
	}
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		r, err := c.vault.Check(ctx)
		if err != nil {
			return output.View{}, err
		}
		facts := [][]string{
			{"Records", fmt.Sprint(r.Records)},
			{"Accounts", fmt.Sprint(r.Accounts)},
			{"Passwords", fmt.Sprint(r.Passwords)},
			{"Jobs", fmt.Sprint(r.Jobs)},
			{"Rows", fmt.Sprint(r.Rows)},
			{"Audit entries", fmt.Sprint(r.AuditEntries)},
		}
		var pairs []string
		for _, f := range facts {
			pairs = append(pairs, f...)
		}
		return output.View{
			Before:   append(labelled(20, pairs...), "", "The vault is sound."),
			CSV:      &output.Table{Header: []string{"name", "value"}, Rows: facts},
			Document: r,
		}, nil
	})
}

func newVaultBackup(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write one moment of the vault to a file",
		Long: `Write one moment of the vault to a new file, sealed as it is in the vault. It
opens with the master password of that moment. Jobs and other commands go on
meanwhile.`,
		Example: "  keyturn vault backup keyturn-2026-11-25.tar",
		Args:    positional("FILE"), Annotations: notes(annotNeeds, needVault),
	}
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		path, err := c.path(c.args[0])
		if err != nil {
			return output.View{}, err
		}
		return shownIf(c.vault.Backup(ctx, path), messageView("The vault is in "+path+".", map[string]any{"file": path}))
	})
}

func newVaultRestore(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make a vault from a backup",
		Long: `Make a vault from a backup, where there is none: in the folder of --vault or
` + EnvHome + `. Passwords that were changed after the backup are not in it: a
rotation of such an account ends with 7 and says how to tell the vault the
password in force.

Where a newer copy of the vault was seen on this computer, the one that is made
opens for reading only. --accept-rollback goes on with it in place of the newer
one, which is for reading only from then on. --anchor FILE, given with every
command, keeps apart what is seen of it: a copy that is only tried out does not
get in the way of the one in use.`,
		Example: "  keyturn --vault ./again vault restore keyturn-2026-11-25.tar\n  keyturn --vault ./again --anchor again.anchor whoami",
		Args:    positional("FILE"),
	}
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		path, err := c.path(c.args[0])
		if err != nil {
			return output.View{}, err
		}
		dir, err := c.VaultDir()
		if err != nil {
			return output.View{}, err
		}
		f, err := c.open(ctx, path)
		if err != nil {
			return output.View{}, pam.Errorf(unreadable(pam.ErrIO, err), "read the backup: %w; nothing was made", err)
		}
		defer f.Close() //nolint:errcheck // only read
		v := messageView("The vault in "+dir+" is made from "+path+".", map[string]any{"dir": dir})
		v.After = []string{"If a newer copy of it is in use, try this one with --anchor FILE: see keyturn help vault restore"}
		return shownIf(vault.Restore(dir, f), v)
	})
}
