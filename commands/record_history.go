package commands

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

// What record-history can do. It is no group of commands: in Commander the word
// is the value of -a, here it may stand alone, too.
const (
	historyList    = "list"
	historyView    = "view"
	historyDiff    = "diff"
	historyRestore = "restore"
	historyPrune   = "prune"
)

func historyActions() []string {
	return []string{historyList, historyView, historyDiff, historyRestore, historyPrune}
}

const currentRevision = "current"

type historyOptions struct {
	revealOptions

	action, revision         string
	password, force, verbose bool
	keep                     int
}

func newRecordHistory(d *Deps) *cobra.Command {
	o := historyOptions{}
	cmd := &cobra.Command{
		Use:     "record-history [list | view | diff | restore | prune] RECORD",
		Aliases: []string{"rh"},
		Short:   "Show and restore what a record was",
		Long: `Every revision of a record is kept until it is pruned. list shows them, the
newest first, with what each changed; -r takes the numbers that list shows.

view shows a revision, diff what differs between it and the record as it is now
(without -r: the revision before). Secrets are masked unless --unmask is given.

restore makes a revision the record again, as a new revision; the folder stays.
The password of a pamUser is its account's credential: it is left as it is,
unless --password is given, which is refused while a job holds the account, and
is not sent anywhere. prune removes all but the newest --keep former revisions
for good.`,
		Example: "  keyturn record-history SRV1\n  keyturn record-history view -r 17 SRV1\n" +
			"  keyturn record-history restore -r 17 SRV1\n  keyturn record-history prune --keep 10 SRV1",
		Args: cobra.ArbitraryArgs, Annotations: notes(annotNeeds, needVault),
	}
	f := cmd.Flags()
	f.StringVarP(&o.action, "action", "a", "", "list, view, diff, restore or prune: `ACTION`, as in Commander")
	f.StringVarP(&o.revision, "revision", "r", "", "the `REVISION`, a number that list shows")
	o.add(cmd)
	f.BoolVar(&o.password, "password", false, "restore the password of a pamUser, too")
	f.IntVar(&o.keep, "keep", -1, "how many former revisions prune keeps: `N`")
	f.BoolVarP(&o.force, "force", "f", false, "do not ask before prune")
	f.BoolVarP(&o.verbose, "verbose", "v", false, "accepted for Commander's sake")
	completeFlag(cmd, "action", fixed(historyActions()...))
	cmd.ValidArgsFunction = func(cmd *cobra.Command, args []string, s string) ([]string, cobra.ShellCompDirective) {
		words, directive := first(d.records())(cmd, slices.DeleteFunc(slices.Clone(args), isHistoryAction), s)
		if len(args) == 0 {
			words = append(historyActions(), words...)
		}
		return words, directive
	}
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return recordHistory(ctx, c, o) })
}

func isHistoryAction(word string) bool { return slices.Contains(historyActions(), word) }

func recordHistory(ctx context.Context, c *call, o historyOptions) (output.View, error) {
	args := c.args
	if o.action == "" && len(args) > 0 && isHistoryAction(args[0]) {
		o.action, args = args[0], args[1:]
	}
	if len(args) != 1 {
		return output.View{}, usagef("record-history takes one RECORD").WithHint("keyturn help record-history")
	}
	head, err := c.find(ctx, args[0])
	if err != nil {
		return output.View{}, err
	}
	if o.action == historyPrune {
		return pruneHistory(ctx, c, o, head)
	}
	history, err := c.vault.History(ctx, head.UID)
	if err != nil {
		return output.View{}, err
	}
	defer vault.DestroyHistory(history)
	switch o.action {
	case "", historyList:
		return historyListView(history), nil
	case historyView:
		return viewRevision(ctx, c, o, history)
	case historyDiff:
		return diffRevision(ctx, c, o, history)
	case historyRestore:
		return restoreRevision(ctx, c, o, history)
	}
	return output.View{}, usagef("argument --action/-a: unknown action %q: it is %s", o.action, strings.Join(historyActions(), ", "))
}

// pick returns the revision that -r names: "17", "V.17" or "current"; without
// it, otherwise of the history.
func (o historyOptions) pick(history []pam.Record, otherwise int) (pam.Record, error) {
	if o.revision == "" {
		return history[min(otherwise, len(history)-1)], nil
	}
	if strings.EqualFold(o.revision, currentRevision) {
		return history[0], nil
	}
	number, err := strconv.ParseInt(strings.TrimPrefix(strings.TrimPrefix(strings.ToUpper(o.revision), "V"), "."), 10, 64)
	if err != nil {
		return pam.Record{}, usagef("argument --revision/-r: %q is no revision", o.revision).
			WithHint("keyturn record-history list %s", history[0].UID)
	}
	for _, r := range history {
		if r.Revision == number {
			return r, nil
		}
	}
	return pam.Record{}, pam.Errorf(pam.ErrNotFound, "record %s has no revision %d", titled(history[0].Title, history[0].UID), number).
		WithHint("keyturn record-history list %s", history[0].UID)
}

func viewRevision(ctx context.Context, c *call, o historyOptions, history []pam.Record) (output.View, error) {
	r, err := o.pick(history, 0)
	if err != nil {
		return output.View{}, err
	}
	show, err := o.shower(ctx, c, r, " of revision "+strconv.FormatInt(r.Revision, 10))
	if err != nil {
		return output.View{}, err
	}
	folder, err := c.vault.FolderPath(ctx, r.Folder)
	if errors.Is(err, pam.ErrNotFound) {
		folder, err = string(r.Folder), nil // it was removed since
	}
	v := recordView(r, folder, show)
	v.Before = append([]string{fmt.Sprintf("%*s: %s", labelWidth, "Revision", versionText(history, r))}, v.Before...)
	return v, err
}

func restoreRevision(ctx context.Context, c *call, o historyOptions, history []pam.Record) (output.View, error) {
	if o.revision == "" {
		return output.View{}, usagef("the following arguments are required: --revision/-r").
			WithHint("keyturn record-history list %s", history[0].UID)
	}
	r, err := o.pick(history, 0)
	if err != nil {
		return output.View{}, err
	}
	if err := c.vault.RestoreRevision(ctx, r.UID, r.Revision, vault.RestoreOptions{Password: o.password}); err != nil {
		return output.View{}, err
	}
	text := "Record " + titled(r.Title, r.UID) + " restored to revision " + strconv.FormatInt(r.Revision, 10) + "."
	changed := changes(r, history[0])
	kept := r.Type == pam.TypeUser && !o.password && slices.ContainsFunc(changed, func(c fieldChange) bool { return c.name == "password" })
	if kept && r.Text("login", "") == history[0].Text("login", "") {
		text += " Its password was left as it is; --password restores that, too."
	}
	return messageView(text, map[string]any{"record_uid": r.UID, "revision": r.Revision, "password_restored": o.password}), nil
}

func pruneHistory(ctx context.Context, c *call, o historyOptions, head pam.Head) (output.View, error) {
	if o.keep < 0 {
		return output.View{}, usagef("the following arguments are required: --keep").WithHint("--keep 10 keeps the newest ten")
	}
	if !o.force {
		question := "Do you want to remove the former revisions of " + titled(head.Title, head.UID) + " for good?"
		if err := c.confirm(ctx, question, "-f"); err != nil {
			return output.View{}, err
		}
	}
	n, err := c.vault.PruneHistory(ctx, head.UID, o.keep)
	return shownIf(err, messageView(strconv.Itoa(n)+" revision(s) of "+titled(head.Title, head.UID)+" removed.",
		map[string]any{"record_uid": head.UID, "removed": n}))
}
