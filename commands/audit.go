package commands

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

func newAudit(d *Deps) *cobra.Command {
	return group(&cobra.Command{Use: "audit", Short: "Read, verify and export the audit trail"},
		newAuditList(d), newAuditVerify(d), newAuditExport(d))
}

// auditOptions say which entries a command is about.
type auditOptions struct {
	object string
	days   int
	last   int
}

func (o *auditOptions) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.object, "object", "", "entries about this `UID` only: a record, an account, a job")
	f.IntVar(&o.days, "days", 0, "entries of the last `N` days only")
	f.IntVar(&o.last, "last", 0, "the last `N` entries only")
}

func (o *auditOptions) entries(ctx context.Context, c *call) ([]vault.AuditEntry, error) {
	if o.days < 0 || o.last < 0 {
		return nil, usagef("--days and --last take numbers from 1 on")
	}
	all, err := c.vault.Audit(ctx)
	if err != nil {
		return nil, err
	}
	since := time.Time{}
	if o.days > 0 {
		since = c.Now().AddDate(0, 0, -o.days)
	}
	kept := []vault.AuditEntry{}
	for _, e := range all {
		if (o.object == "" || string(e.Object) == o.object) && e.At.After(since) {
			kept = append(kept, e)
		}
	}
	if o.last > 0 && len(kept) > o.last {
		kept = kept[len(kept)-o.last:]
	}
	return kept, nil
}

func newAuditList(d *Deps) *cobra.Command {
	o := auditOptions{}
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"l"},
		Short:   "List the audit trail",
		Long:    "List what was done with the vault, oldest first: who, when, what, to which\nrecord or job.",
		Example: "  keyturn audit list --last 20\n  keyturn audit list --days 7 --format json",
		Args:    positional(), Annotations: notes(annotNeeds, needVault),
	}
	o.add(cmd)
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		entries, err := o.entries(ctx, c)
		if err != nil {
			return output.View{}, err
		}
		return output.View{Tables: []output.Table{auditTable(entries)}, Document: map[string]any{"entries": entries}}, nil
	})
}

func auditTable(entries []vault.AuditEntry) output.Table {
	t := output.Table{Header: []string{"#", "Time", "Actor", "Action", "Object", "Detail"}, Prose: []string{"Detail"}}
	for _, e := range entries {
		t.Rows = append(t.Rows, []string{
			strconv.FormatInt(e.Number, 10), timestamp(e.At), e.Actor, e.Action, string(e.Object), e.Detail,
		})
	}
	return t
}

func newAuditVerify(d *Deps) *cobra.Command {
	var export string
	cmd := &cobra.Command{
		Use:   "verify",
		Short: "Verify that nothing was changed in the audit trail",
		Long: `Follow the chain of the audit trail from its first entry. It fails with 4 when
an entry was changed, removed, moved or added, or the end is cut off, and with 7
when this computer has seen entries that are not in it.

Who has the vault key can make the whole trail anew, and what this computer has
seen. Keep exports where they cannot be changed (audit export --as jsonl), and
give the last one with --against: every entry in it must be in the trail as it
was.`,
		Example: "  keyturn audit verify\n  keyturn audit verify --against audit-2026-11.jsonl",
		Args:    positional(), Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().StringVar(&export, "against", "", "compare with the export in `FILE`, too")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if err := c.vault.VerifyAudit(ctx); err != nil {
			return output.View{}, err
		}
		if err := c.vault.Behind(); err != nil {
			return output.View{}, err
		}
		entries, err := c.vault.Audit(ctx)
		if err != nil {
			return output.View{}, err
		}
		text, doc := "The audit trail is whole: "+count(entries)+" entries.", map[string]any{"entries": len(entries)}
		if export != "" {
			n, err := c.compareExport(ctx, export, entries)
			if err != nil {
				return output.View{}, err
			}
			text += fmt.Sprintf(" All %d of the export are in it, as they were.", n)
			doc["compared"] = n
		}
		return messageView(text, doc), nil
	})
}

func newAuditExport(d *Deps) *cobra.Command {
	o := auditOptions{}
	var as string
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Export the audit trail for another system",
		Long: `Write the audit trail as one event a line: jsonl (JSON Lines), syslog (RFC 5424)
or cef (ArcSight Common Event Format).`,
		Example: "  keyturn audit export --as syslog --output audit.log\n  keyturn audit export --days 1",
		Args:    positional(), Annotations: notes(annotNeeds, needVault),
	}
	o.add(cmd)
	cmd.Flags().StringVar(&as, "as", "jsonl", "`jsonl`, syslog or cef")
	completeFlag(cmd, "as", fixed("jsonl", "syslog", "cef"))
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		encode, ok := map[string]func(vault.AuditEntry) string{
			"jsonl": auditJSON, "syslog": auditSyslog, "cef": func(e vault.AuditEntry) string { return auditCEF(e, d.Version) },
		}[as]
		if !ok {
			return output.View{}, usagef("argument --as: unknown format %q: it is jsonl, syslog or cef", as)
		}
		entries, err := o.entries(ctx, c)
		if err != nil {
			return output.View{}, err
		}
		lines := make([]string, len(entries))
		for i, e := range entries {
			lines[i] = encode(e)
		}
		t := auditTable(entries)
		return output.View{Before: lines, CSV: &t, Document: map[string]any{"entries": entries}}, nil
	})
}

// auditJSON is an entry as one line of JSON; encoding/json escapes what would
// break the line.
func auditJSON(e vault.AuditEntry) string {
	text, err := json.Marshal(e)
	if err != nil { // a struct of strings, a number and a time
		return pam.ErrInternal.Error()
	}
	return string(text)
}
