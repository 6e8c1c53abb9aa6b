package commands

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

func newMv(d *Deps) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "mv SOURCE FOLDER",
		Short: "Move a record or a folder to another folder",
		Long: `Move a record, or a folder with all that is in it, to another folder, which must
be there; / is the root. Where both are called SOURCE, a slash behind it means
the folder: "Prod/".`,
		Example: "  keyturn mv SRV1 Prod\n  keyturn mv Prod/SRV1 /\n  keyturn mv Prod/DB/ Archive",
		Args:    positional("SOURCE", "FOLDER"), Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "accepted for Commander's sake: nothing is asked")
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return first(d.folders())(cmd, args[1:], s)
		}
		records, directive := d.records()(cmd, args, s)
		folders, _ := d.folders()(cmd, args, s)
		return append(records, folders...), directive
	}
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		folder, err := c.vault.FindFolder(ctx, c.args[1], c.Session.Folder)
		if errors.Is(err, pam.ErrNotFound) {
			return output.View{}, pam.Errorf(pam.ErrNotFound, "mv: Destination path should be existing folder (%s)", c.args[1])
		}
		if err != nil {
			return output.View{}, err
		}
		source := c.args[0]
		head, err := c.find(ctx, source)
		if strings.HasSuffix(source, "/") || errors.Is(err, pam.ErrNotFound) {
			if f, found := c.vault.FindFolder(ctx, source, c.Session.Folder); found == nil {
				return c.moveFolder(ctx, f, folder)
			}
			return output.View{}, pam.Errorf(pam.ErrNotFound, "mv: there is no record or folder %q", source).
				WithHint(`"keyturn ls -l -R" shows all with their UIDs`)
		}
		if err != nil {
			return output.View{}, err
		}
		return c.moveRecord(ctx, head, folder)
	})
}

func (c *call) moveRecord(ctx context.Context, head pam.Head, folder pam.UID) (output.View, error) {
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
}

func (c *call) moveFolder(ctx context.Context, uid, to pam.UID) (output.View, error) {
	f, err := c.folder(ctx, uid)
	if err != nil {
		return output.View{}, err
	}
	f.Parent = to
	return c.putFolder(ctx, f, "moved to")
}

// folder returns a folder, which is not the root.
func (c *call) folder(ctx context.Context, uid pam.UID) (pam.Folder, error) {
	folders, err := c.vault.Folders(ctx)
	if err != nil {
		return pam.Folder{}, err
	}
	for _, f := range folders {
		if f.UID == uid {
			return f, nil
		}
	}
	return pam.Folder{}, usagef("the root is no folder to move, rename or remove; nothing changed")
}

// putFolder saves a folder and says where it was and is.
func (c *call) putFolder(ctx context.Context, f pam.Folder, how string) (output.View, error) {
	was, err := c.vault.FolderPath(ctx, f.UID)
	if err != nil {
		return output.View{}, err
	}
	if err := c.vault.PutFolder(ctx, f); err != nil {
		return output.View{}, err
	}
	path, err := c.vault.FolderPath(ctx, f.UID)
	return messageView("Folder "+was+" "+how+" "+path, map[string]any{"folder_uid": f.UID, "folder": path}), err
}
