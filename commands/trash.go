package commands

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

func newTrash(d *Deps) *cobra.Command {
	return group(&cobra.Command{Use: "trash", Short: "Show, restore and purge deleted records"},
		newTrashList(d), newTrashGet(d), newTrashRestore(d), newTrashPurge(d))
}

func newTrashList(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list [PATTERN]",
		Aliases: []string{"l"},
		Short:   "List deleted records",
		Long:    "List the records in the trash, what was deleted last first. A pattern has *\nand ? and is for titles and UIDs.",
		Example: "  keyturn trash list\n  keyturn trash list 'svc_*' --format json",
		Args:    atMostOne, Annotations: notes(annotNeeds, needVault),
	}
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		trash, err := c.vault.Trash(ctx)
		if err != nil {
			return output.View{}, err
		}
		named := func(vault.Trashed) bool { return true }
		if len(c.args) > 0 {
			var re *regexp.Regexp
			if re, err = glob(c.args[0]); err != nil {
				return output.View{}, err
			}
			named = func(r vault.Trashed) bool { return re.MatchString(r.Title) || re.MatchString(string(r.UID)) }
		}
		return trashView(trash, named), nil
	})
}

type trashDocument struct {
	UID      pam.UID        `json:"record_uid"`
	Title    string         `json:"title"`
	Type     pam.RecordType `json:"type"`
	Deleted  string         `json:"deleted"`
	Mappings int            `json:"mappings"`
}

func trashView(trash []vault.Trashed, named func(vault.Trashed) bool) output.View {
	t := output.Table{Header: []string{"Record UID", "Title", "Record Type", "Deleted"}}
	docs := []trashDocument{}
	for _, r := range trash {
		if !named(r) {
			continue
		}
		t.Rows = append(t.Rows, []string{string(r.UID), r.Title, string(r.Type), timestamp(r.Deleted)})
		docs = append(docs, trashDocument{r.UID, r.Title, r.Type, timestamp(r.Deleted), r.Mappings})
	}
	v := output.View{Tables: []output.Table{t}, CSV: &t, Document: map[string]any{"records": docs}}
	if len(docs) == 0 {
		v.Tables, v.Before = nil, []string{"The trash is empty."}
		if len(trash) > 0 {
			v.Before = []string{"Nothing in the trash matches."}
		}
	}
	return v
}

// trashed completes the records in the trash.
func (d *Deps) trashed() completer {
	return d.fromVault(func(ctx context.Context, v *vault.Vault, _ string) ([]string, error) {
		trash, err := v.Trash(ctx)
		var titles, uids []string
		for _, r := range trash {
			titles = append(titles, completion(r.Title, string(r.Type)+" deleted "+timestamp(r.Deleted)))
			uids = append(uids, completion(string(r.UID), r.Title))
		}
		return append(titles, uids...), err
	})
}

// findTrashed returns the records of the trash that were named by UID or exact
// title, or none of them.
func (c *call) findTrashed(ctx context.Context, names []string) ([]vault.Trashed, error) {
	trash, err := c.vault.Trash(ctx)
	if err != nil {
		return nil, err
	}
	var found []vault.Trashed
	for _, name := range names {
		r, err := oneTrashed(trash, name)
		if err != nil {
			return nil, err
		}
		found = append(found, r)
	}
	return found, nil
}

func oneTrashed(trash []vault.Trashed, name string) (vault.Trashed, error) {
	var found []vault.Trashed
	for _, r := range trash {
		if string(r.UID) == name {
			return r, nil
		}
		if strings.EqualFold(r.Title, name) {
			found = append(found, r)
		}
	}
	switch len(found) {
	case 0:
		return vault.Trashed{}, pam.Errorf(pam.ErrNotFound, "there is no record %q in the trash; nothing changed", name).
			WithHint("keyturn trash list")
	case 1:
		return found[0], nil
	}
	uids := make([]pam.UID, len(found))
	for i, r := range found {
		uids[i] = r.UID
	}
	return vault.Trashed{}, pam.Errorf(pam.ErrAmbiguous, "%d records in the trash are called %q: %s; nothing changed",
		len(found), name, joined(uids)).WithHint("name one by its UID")
}

func newTrashGet(d *Deps) *cobra.Command {
	o := revealOptions{}
	cmd := &cobra.Command{
		Use:     "get RECORD",
		Short:   "Show a deleted record",
		Long:    "Show a record in the trash: by UID or title. Secrets are masked unless --unmask\nis given, which is audited.",
		Example: "  keyturn trash get old_svc",
		Args:    positional("RECORD"), Annotations: notes(annotNeeds, needVault),
	}
	o.add(cmd)
	cmd.ValidArgsFunction = first(d.trashed())
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		found, err := c.findTrashed(ctx, c.args)
		if err != nil {
			return output.View{}, err
		}
		r, err := c.vault.TrashedRecord(ctx, found[0].UID)
		if err != nil {
			return output.View{}, err
		}
		defer vault.DestroyHistory([]pam.Record{r})
		show, err := o.shower(ctx, c, r, " in the trash")
		if err != nil {
			return output.View{}, err
		}
		return recordView(r, "(trash)", show), nil
	})
}

func newTrashRestore(d *Deps) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "restore RECORD...",
		Short: "Restore deleted records",
		Long: `Take records out of the trash: by UID or title. A record comes back with its
UID, fields, history, rotation settings and service mappings; a mapping needs
the other record, too, and comes back with it when that is in the trash. A
pamUser shows the password that its account has now.`,
		Example: "  keyturn trash restore old_svc",
		Args:    cobra.ArbitraryArgs, Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "accepted for Commander's sake: nothing is asked")
	cmd.ValidArgsFunction = d.trashed()
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if len(c.args) == 0 {
			return output.View{}, usagef("the following arguments are required: RECORD").WithHint("keyturn trash list")
		}
		found, err := c.findTrashed(ctx, c.args)
		if err != nil {
			return output.View{}, err
		}
		return restoreRecords(ctx, c, found)
	})
}

type restoredDocument struct {
	UID      pam.UID `json:"record_uid"`
	Title    string  `json:"title"`
	Folder   string  `json:"folder"`
	Mappings int     `json:"mappings"`
	Waiting  int     `json:"mappings_waiting"`
	Lost     int     `json:"mappings_lost"`
}

func restoreRecords(ctx context.Context, c *call, found []vault.Trashed) (output.View, error) {
	v := output.View{}
	t := output.Table{Header: []string{"Record UID", "Title", "Folder", "Mappings"}}
	docs := []restoredDocument{}
	var err error
	for _, r := range found {
		var out vault.Restored
		var folder string
		if out, err = c.vault.RestoreRecord(ctx, r.UID); err != nil {
			break
		}
		if folder, err = c.vault.FolderPath(ctx, out.Head.Folder); err != nil {
			break
		}
		v.Before = append(v.Before, restoredText(out, folder))
		docs = append(docs, restoredDocument{r.UID, r.Title, folder, out.Mappings, out.Waiting, out.Lost})
		t.Rows = append(t.Rows, []string{string(r.UID), r.Title, folder, strconv.Itoa(out.Mappings)})
	}
	v.CSV, v.Document = &t, map[string]any{"restored": docs}
	return v, err
}

func restoredText(out vault.Restored, folder string) string {
	said := []string{"Record " + titled(out.Head.Title, out.Head.UID) + " restored to " + folder}
	if out.ToRoot {
		said = append(said, "its folder is gone")
	}
	for _, m := range []struct {
		count int
		what  string
	}{
		{out.Mappings, "mapping(s) came back"},
		{out.Waiting, "mapping(s) wait for a record in the trash"},
		{out.Lost, "mapping(s) are lost: the other record is gone"},
	} {
		if m.count > 0 {
			said = append(said, fmt.Sprintf("%d %s", m.count, m.what))
		}
	}
	return strings.Join(said, "; ")
}

func newTrashPurge(d *Deps) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "purge [RECORD...]",
		Short: "Remove deleted records for good",
		Long: `Remove records from the trash for good, with all their revisions: the named
ones, or all. It asks first, unless -f is given. The passwords that an account
had stay with the account: a machine may still use one of them.`,
		Example: "  keyturn trash purge old_svc\n  keyturn trash purge -f",
		Args:    cobra.ArbitraryArgs, Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().BoolVarP(&force, "force", "f", false, "do not ask")
	cmd.ValidArgsFunction = d.trashed()
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		found, err := c.findTrashed(ctx, c.args)
		if len(c.args) == 0 {
			found, err = c.vault.Trash(ctx)
		}
		if err != nil {
			return output.View{}, err
		}
		if len(found) > 0 && !force {
			question := fmt.Sprintf("Do you want to remove %d record(s) from the trash for good?", len(found))
			if err := c.confirm(ctx, question, "-f"); err != nil {
				return output.View{}, err
			}
		}
		uids := []pam.UID{}
		for _, r := range found {
			uids = append(uids, r.UID)
		}
		return shownIf(c.vault.Purge(ctx, uids), messageView(count(uids)+" record(s) removed for good.", map[string]any{"purged": uids}))
	})
}
