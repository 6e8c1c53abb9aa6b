package commands

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

func newCd(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "cd [FOLDER]",
		Short:   "Change the current folder",
		Long:    "Change the current folder of a shell or batch; without a folder, to the root. A\none-shot command starts at the root.",
		Example: "  cd Prod\n  cd ..\n  cd /",
		Args:    atMostOne, Annotations: notes(annotNeeds, needVault),
	}
	cmd.ValidArgsFunction = first(d.folders())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if len(c.args) == 0 {
			c.Session.Folder = ""
			return output.View{}, nil
		}
		folder, err := c.vault.FindFolder(ctx, c.args[0], c.Session.Folder)
		if errors.Is(err, pam.ErrNotFound) {
			return output.View{}, pam.Errorf(pam.ErrNotFound, "cd: Folder %s not found", c.args[0])
		}
		if err == nil {
			c.Session.Folder = folder
		}
		return output.View{}, err
	})
}

type mkdirOptions struct{ shared, user bool }

func newMkdir(d *Deps) *cobra.Command {
	o := mkdirOptions{}
	cmd := &cobra.Command{
		Use:   "mkdir FOLDER",
		Short: "Make a folder",
		Long: `Make a folder and print its UID. FOLDER is a path; all folders of it but the
last must be there. A slash within a name is written twice, in every path.`,
		Example: "  keyturn mkdir Prod\n  keyturn mkdir Prod/DB\n  keyturn mkdir Prod/Web//Mail",
		Args:    positional("FOLDER"), Annotations: notes(annotNeeds, needVault, annotShort, "sf=shared-folder uf=user-folder"),
	}
	cmd.Flags().BoolVar(&o.shared, "shared-folder", false, "accepted for Commander's sake (short: -sf): all folders are alike")
	cmd.Flags().BoolVar(&o.user, "user-folder", false, "accepted for Commander's sake (short: -uf): all folders are alike")
	for short, long := range map[string]string{
		"a": "all", "u": "manage-users", "r": "manage-records", "s": "can-share", "e": "can-edit",
	} {
		cmd.Flags().BoolP(long, short, false, "accepted for Commander's sake: nothing is shared")
	}
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		parent, name, err := c.splitPath(ctx, c.args[0])
		if err != nil {
			return output.View{}, err
		}
		uid, err := c.vault.AddFolder(ctx, name, parent)
		if err != nil {
			return output.View{}, err
		}
		return output.View{
			Before:   []string{string(uid)},
			CSV:      &output.Table{Header: []string{"Folder UID"}, Rows: [][]string{{string(uid)}}},
			Document: map[string]any{"folder_uid": uid},
		}, nil
	})
}

// folderName reads a name as it stands in a path, with its slashes written twice.
func folderName(text string) (string, error) {
	if name := strings.ReplaceAll(text, "//", "/"); pam.EscapeName(name) == text {
		return name, nil
	}
	return "", pam.Errorf(pam.ErrInvalidInput, `Character "/" is reserved. Use "//" inside folder name; nothing changed`)
}

// splitPath returns the folder that a new name goes into, and the name.
func (c *call) splitPath(ctx context.Context, path string) (parent pam.UID, name string, err error) {
	dir, name := pam.CutPath(strings.TrimRight(path, "/"))
	if name == "" || name == "." || name == ".." {
		return "", "", usagef("%q is no name for a folder", path)
	}
	parent = c.Session.Folder
	if dir != "" {
		parent, err = c.vault.FindFolder(ctx, dir, parent)
	}
	return parent, name, err
}
