package commands

import (
	"context"
	"maps"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

func newServiceMap(d *Deps) *cobra.Command {
	o := scopeOptions{}
	cmd := &cobra.Command{
		Use:     "map",
		Aliases: []string{"m"},
		Short:   "Map users to discovered services.",
		Long: `Look at one machine, or all of the configuration, find what runs as whom, and
map every user to the machines where something runs as its account. Accounts are
compared by their identity (SID); what cannot be told, and accounts that no
record names, are reported and left alone. Nothing is changed on any machine:
mappings say what the next rotation updates.

"pam action discover start" does the same without mapping anything.`,
		Example: `  keyturn pam action service map -g Embedded
  keyturn pam action service map -g Embedded -m SRV1`,
		Args: positional(), Annotations: notes(annotNeeds, needVault+" "+needExecutor),
	}
	o.add(d, cmd, "machine-uid")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return mapServices(ctx, c, o) })
}

func mapServices(ctx context.Context, c *call, o scopeOptions) (output.View, error) {
	r, failure := c.discover(ctx, o)
	if r.discovery.ID == "" {
		return output.View{}, failure
	}
	if r.discovery.State == pam.JobFailed || r.discovery.State == pam.JobCancelled {
		return output.View{}, notMapped(failure)
	}
	if err := c.applyProposals(ctx, r, r.proposals); err != nil {
		return output.View{}, notMapped(err)
	}
	list, err := listServices(ctx, c, serviceListOptions{gatewayOptions: o.gatewayOptions})
	if err != nil {
		return output.View{}, err
	}
	v := list
	v.Before = append([]string{"Finished mapping users to Windows services."}, list.Before...)
	if left := r.leftTable(); len(left.Rows) > 0 {
		v.Tables = append(v.Tables, left)
	}
	doc := map[string]any{"discovery": r.document()}
	if users, ok := list.Document.(map[string]any); ok {
		maps.Copy(doc, users)
	}
	v.Document = doc
	return v, failure
}

// notMapped says Commander's words before the reason.
func notMapped(err error) error {
	return pam.Errorf(pam.KindOf(err), "Could not map users to Windows services. %w", err).WithHint("%s", pam.HintOf(err))
}
