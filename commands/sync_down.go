package commands

import (
	"context"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
)

func newSyncDown(d *Deps) *cobra.Command {
	const text = "There is nothing to sync: the vault is on this computer, and every command reads it anew."
	cmd := &cobra.Command{
		Use:     "sync-down",
		Aliases: []string{"d"},
		Short:   "Accepted for Commander's sake: there is nothing to sync",
		Long: `Do nothing, which scripts for Keeper Commander begin with. The vault is on this
computer, and every command reads it anew.`,
		Example: "  keyturn sync-down",
		Args:    positional(),
	}
	var force bool
	cmd.Flags().BoolVarP(&force, flagForce, "f", false, "accepted for Commander's sake: nothing is kept that could be old")
	return d.leaf(cmd, func(_ context.Context, c *call) (output.View, error) {
		v := messageView(text, nil)
		if !c.OutIsTerminal() {
			v.Before = nil // a script's output is its own
		}
		return v, nil
	})
}
