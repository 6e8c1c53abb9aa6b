package commands

import (
	"context"
	"errors"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

func newRmdir(d *Deps) *cobra.Command {
	var force, quiet bool
	cmd := &cobra.Command{
		Use:   "rmdir FOLDER...",
		Short: "Remove empty folders",
		Long: `Remove empty folders. The name at the end of a path can be a pattern with * and
?. It asks first, unless -f is given. One that is not empty is refused (7), and
what stands before it is removed by then.`,
		Example: "  keyturn rmdir -f Prod/DB\n  keyturn rmdir -f 'Prod/old-*'",
		Args:    cobra.ArbitraryArgs, Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().BoolVarP(&force, flagForce, "f", false, "do not ask")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "say nothing when it worked")
	cmd.ValidArgsFunction = d.folders()
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if len(c.args) == 0 {
			return output.View{}, usagef("the following arguments are required: FOLDER").WithHint("%s", helpFor(cmd))
		}
		paths, uids, err := c.foldersNamed(ctx)
		if err != nil {
			return output.View{}, err
		}
		if !force {
			if err := c.confirm(ctx, "Do you want to remove "+counted("folder", paths)+"?", "-f"); err != nil {
				return output.View{}, err
			}
		}
		v, err := c.removeFolders(ctx, paths, uids)
		if quiet {
			v.Before = nil
		}
		return v, err
	})
}

// counted names a few things of a kind in a question.
func counted(kind string, names []string) string {
	if len(names) > 1 {
		kind += "s"
	}
	return "the " + kind + " " + strings.Join(names, ", ")
}

// foldersNamed are the folders that the arguments name or match, each once, the
// ones that lie deeper first.
func (c *call) foldersNamed(ctx context.Context) (paths []string, uids []pam.UID, err error) {
	byPath := map[string]pam.UID{}
	for _, name := range c.args {
		found, err := c.foldersLike(ctx, name)
		if err != nil {
			return nil, nil, err
		}
		for _, uid := range found {
			if _, err := c.folder(ctx, uid); err != nil {
				return nil, nil, err
			}
			path, err := c.vault.FolderPath(ctx, uid)
			if err != nil {
				return nil, nil, err
			}
			if _, twice := byPath[path]; !twice {
				paths = append(paths, path)
			}
			byPath[path] = uid
		}
	}
	sortBy(paths, func(path string) int { return -strings.Count(path, "/") })
	for _, path := range paths {
		uids = append(uids, byPath[path])
	}
	return paths, uids, nil
}

// foldersLike returns the folder of that name, else those that the name at the end
// of it matches as a pattern.
func (c *call) foldersLike(ctx context.Context, name string) ([]pam.UID, error) {
	uid, absent := c.vault.FindFolder(ctx, name, c.Session.Folder)
	if absent == nil || !errors.Is(absent, pam.ErrNotFound) || !strings.ContainsAny(name, "*?[") {
		return []pam.UID{uid}, absent
	}
	parent, pattern, err := c.splitPath(ctx, name)
	if err != nil {
		return nil, err
	}
	re, err := glob(pattern)
	if err != nil {
		return nil, err
	}
	folders, err := c.vault.Folders(ctx)
	if err != nil {
		return nil, err
	}
	var found []pam.UID
	for _, f := range folders {
		if f.Parent == parent && re.MatchString(f.Name) {
			found = append(found, f.UID)
		}
	}
	if len(found) == 0 {
		return nil, pam.Errorf(pam.ErrNotFound, "no folder matches %q; nothing changed", name)
	}
	return found, nil
}

func (c *call) removeFolders(ctx context.Context, paths []string, uids []pam.UID) (output.View, error) {
	v := output.View{CSV: &output.Table{Header: []string{"Folder UID", "Folder"}}}
	removed := []pam.UID{}
	var err error
	for i, uid := range uids {
		if err = c.vault.DeleteFolder(ctx, uid); err != nil {
			break
		}
		if c.Session.Folder == uid {
			c.Session.Folder = ""
		}
		removed = append(removed, uid)
		v.Before = append(v.Before, "Folder "+paths[i]+" removed")
		v.CSV.Rows = append(v.CSV.Rows, []string{string(uid), paths[i]})
	}
	doc := map[string]any{"message": strings.Join(v.Before, "; "), "removed": removed}
	if len(removed) == 1 {
		doc["folder_uid"] = removed[0]
	}
	v.Document = doc
	if err != nil && len(removed) == 0 {
		return output.View{}, err
	}
	return v, err
}

func newRndir(d *Deps) *cobra.Command {
	var name string
	var quiet bool
	cmd := &cobra.Command{
		Use:     "rndir FOLDER",
		Short:   "Rename a folder",
		Long:    "Give a folder another name. What is in it stays in it; \"mv\" moves it.",
		Example: "  keyturn rndir -n Production Prod",
		Args:    positional("FOLDER"), Annotations: notes(annotNeeds, needVault, annotRequired, "name"),
	}
	cmd.Flags().StringVarP(&name, "name", "n", "", "the new `name`")
	cmd.Flags().BoolVarP(&quiet, "quiet", "q", false, "say nothing when it worked")
	cmd.ValidArgsFunction = first(d.folders())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		uid, err := c.vault.FindFolder(ctx, c.args[0], c.Session.Folder)
		if err != nil {
			return output.View{}, err
		}
		f, err := c.folder(ctx, uid)
		if err != nil {
			return output.View{}, err
		}
		if f.Name, err = folderName(name); err != nil {
			return output.View{}, err
		}
		v, err := c.putFolder(ctx, f, "is now")
		if quiet {
			v.Before = nil
		}
		return v, err
	})
}
