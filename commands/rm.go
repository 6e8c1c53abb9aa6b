package commands

import (
	"context"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type rmOptions struct{ force, purge bool }

func newRm(d *Deps) *cobra.Command {
	o := rmOptions{}
	cmd := &cobra.Command{
		Use:   "rm RECORD...",
		Short: "Remove records",
		Long: `Move records to the trash, with their history, mappings and rotation settings:
"trash restore" brings them back. --purge removes them for good. It asks first,
unless -f is given. While a job uses a record it is refused. Nothing is removed
unless every record is found.`,
		Example:     "  keyturn rm -f old_svc\n  keyturn rm Prod/SRV9",
		Args:        cobra.ArbitraryArgs,
		Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().BoolVarP(&o.force, "force", "f", false, "do not ask")
	cmd.Flags().BoolVar(&o.purge, "purge", false, "remove for good: not into the trash")
	cmd.ValidArgsFunction = d.records()
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if len(c.args) == 0 {
			return output.View{}, usagef("the following arguments are required: RECORD")
		}
		var heads []pam.Head
		for _, name := range c.args {
			h, err := c.find(ctx, name)
			if err != nil {
				return output.View{}, err
			}
			heads = append(heads, h)
		}
		forGood := ""
		if o.purge {
			forGood = " for good"
		}
		if err := c.tellWhatGoes(ctx, heads); err != nil {
			return output.View{}, err
		}
		if !o.force {
			if err := c.confirm(ctx, fmt.Sprintf("Do you want to remove %s%s?", countedTitles(heads), forGood), "-f"); err != nil {
				return output.View{}, err
			}
		}
		return o.remove(ctx, c, heads)
	})
}

// countedTitles names records in a question: a few of them, and how many.
func countedTitles(heads []pam.Head) string {
	const most = 3
	var names []string
	for _, h := range heads[:min(most, len(heads))] {
		names = append(names, titled(h.Title, h.UID))
	}
	text := strings.Join(names, ", ")
	if more := len(heads) - most; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}

// tellWhatGoes says what stops working without records: rotations that no longer
// reach a machine, machines without an admin, users without an authority. It is
// told before anything is removed.
func (c *call) tellWhatGoes(ctx context.Context, heads []pam.Head) error {
	gone := map[pam.UID]pam.Head{}
	for _, h := range heads {
		gone[h.UID] = h
	}
	mappings, err := c.vault.AllMappings(ctx)
	if err != nil {
		return err
	}
	rotations, err := c.vault.Rotations(ctx)
	if err != nil {
		return err
	}
	title := func(uid pam.UID) string {
		if h, err := c.vault.Find(ctx, string(uid), ""); err == nil {
			return h.Title
		}
		return string(uid)
	}
	for _, m := range mappings {
		_, user := gone[m.User]
		if h, machine := gone[m.Machine]; machine && !user {
			c.newsf("warning: rotations of %s no longer reach %s: what runs there as it keeps the old password", title(m.User), h.Title)
		}
	}
	for _, r := range rotations {
		_, user := gone[r.User]
		if h, resource := gone[r.Resource]; resource && !user {
			c.newsf("warning: %s can no longer be rotated: its password is decided at %s", title(r.User), h.Title)
		}
	}
	return c.tellAdminless(ctx, gone)
}

// tellAdminless names the configurations and machines whose admin goes.
func (c *call) tellAdminless(ctx context.Context, gone map[pam.UID]pam.Head) error {
	configurations, err := c.vault.Configurations(ctx)
	if err != nil {
		return err
	}
	for _, cfg := range configurations {
		if h, admin := gone[cfg.Admin]; admin {
			c.newsf("warning: configuration %s has no admin any more without %s: its machines cannot be logged in to", cfg.Title, h.Title)
		}
	}
	return nil
}

func (o rmOptions) remove(ctx context.Context, c *call, heads []pam.Head) (output.View, error) {
	removed := []pam.UID{}
	t := output.Table{Header: []string{"Record UID", "Title"}}
	v := output.View{}
	var err error
	for _, h := range heads {
		if err = c.vault.DeleteRecord(ctx, h.UID); err != nil {
			break
		}
		said := " moved to the trash"
		if o.purge {
			if err = c.vault.Purge(ctx, []pam.UID{h.UID}); err != nil {
				break
			}
			said = " removed for good"
		}
		removed = append(removed, h.UID)
		v.Before = append(v.Before, "Record "+titled(h.Title, h.UID)+said)
		t.Rows = append(t.Rows, []string{string(h.UID), h.Title})
	}
	if len(removed) > 0 && !o.purge {
		v.After = []string{"Bring back: keyturn trash restore " + joinedBy(removed, " ")}
	}
	v.CSV, v.Document = &t, map[string]any{"removed": removed, "purged": o.purge}
	return v, err
}
