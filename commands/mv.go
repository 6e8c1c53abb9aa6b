package commands

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

func newMv(d *Deps) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:     "mv RECORD FOLDER",
		Short:   "Move a record to another folder",
		Long:    "Move a record to another folder, which must be there; / is the root.",
		Example: "  keyturn mv SRV1 Prod\n  keyturn mv Prod/SRV1 /",
		Args:    positional("RECORD", "FOLDER"), Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "accepted for Commander's sake: nothing is asked")
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
		if len(args) == 0 {
			return d.records()(cmd, args, s)
		}
		return first(d.folders())(cmd, args[1:], s)
	}
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		head, err := c.find(ctx, c.args[0])
		if err != nil {
			return output.View{}, err
		}
		folder, err := c.vault.FindFolder(ctx, c.args[1], c.Session.Folder)
		if errors.Is(err, pam.ErrNotFound) {
			return output.View{}, pam.Errorf(pam.ErrNotFound, "mv: Destination path should be existing folder (%s)", c.args[1])
		}
		if err != nil {
			return output.View{}, err
		}
		r, err := c.vault.Record(ctx, head.UID)
		if err != nil {
			return output.View{}, err
		}
		r.Folder = folder
		if err := c.vault.UpdateRecord(ctx, r); err != nil {
			return output.View{}, err
		}
		path, err := c.vault.FolderPath(ctx, folder)
		return messageView("Record "+titled(r.Title, r.UID)+" moved to "+path, map[string]any{
			"record_uid": r.UID, "folder": path,
		}), err
	})
}
