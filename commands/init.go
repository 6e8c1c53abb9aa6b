package commands

import (
	"context"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

func newInit(d *Deps) *cobra.Command {
	var kdfMemory uint32
	var master masterOptions
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Make a new vault",
		Long: `Make a new, empty vault with one key slot for the master password, the gateway
"Embedded" and the configuration "Local Network".

The master password is asked for twice, or read from the file that
--password-file or ` + EnvPasswordFile + ` names. It has at least eight
characters: whoever steals a copy of the vault can try one after the other.

A vault belongs on a local disk. On a network file system it is refused, unless
` + EnvNetwork + ` is 1: do that only where no other computer uses it.`,
		Example: `  keyturn init
  keyturn init --vault ./home --password-file master.txt`,
		Args: discreet(),
	}
	cmd.Flags().Uint32Var(&kdfMemory, "kdf-memory", 0, "memory of the key derivation in `KIB`; 0 is the default")
	master.add(cmd)
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		dir, err := c.VaultDir()
		if err == nil && vault.Exists(dir) { // before anything is asked
			return output.View{}, pam.Errorf(pam.ErrConflict, "there is a vault in %s already; nothing changed", dir).
				WithHint("keyturn login")
		}
		pass, err := c.newPassphrase(ctx, master)
		if err != nil {
			return output.View{}, err
		}
		defer pass.Destroy()
		v, err := c.CreateVault(ctx, pass, kdfMemory)
		if err != nil {
			return output.View{}, err
		}
		info, err := v.Info(ctx)
		if err != nil {
			return output.View{}, err
		}
		return output.View{
			Before:   []string{"Vault " + string(info.ID) + " made in " + info.Dir},
			CSV:      &output.Table{Header: []string{"Vault ID", "Folder"}, Rows: [][]string{{string(info.ID), info.Dir}}},
			Document: map[string]any{"vault_id": info.ID, "dir": info.Dir},
		}, nil
	})
}
