package commands

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

func newVaultSalvage(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "salvage DIR",
		Short: "Make a new vault of what is left of a damaged one",
		Long: `Read what the vault's key proves in a damaged vault, row by row and without its
database's own order, and make a new vault of it in the folder DIR. The damaged
one is only read; nothing else should work with it meanwhile. Its file "header"
must be whole: that of any backup does, unless the vault was given a new key
since.

It says of every record what became of it: whole; part, when some of it is lost;
trash, when only a former revision is left, which "trash restore" brings back;
or lost. What may not be the newest state is told of, and such passwords count
as not verified. The new vault opens with what opened the damaged one. It fails
with 1 when anything was lost or is in doubt; the new vault is made all the
same. A backup may hold more.`,
		Example: "  keyturn vault salvage ./salvaged\n  keyturn --vault ./salvaged vault check",
		Args:    positional("DIR"),
	}
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		dir, err := c.VaultDir()
		if err != nil {
			return output.View{}, err
		}
		out, err := c.path(c.args[0])
		if err != nil {
			return output.View{}, err
		}
		if vault.Exists(out) { // before anything is asked
			return output.View{}, pam.Errorf(pam.ErrConflict, "there is a vault in %s already; nothing changed", out).
				WithHint("choose another folder")
		}
		s, err := c.Salvage(ctx, dir, out)
		if err != nil {
			return output.View{}, err
		}
		return salvageView(s), salvageError(s)
	})
}

func salvageView(s vault.Salvage) output.View {
	t := output.Table{Header: []string{"Record UID", "Title", "State", "Lost or in doubt"}, Prose: []string{"Lost or in doubt"}}
	for _, r := range s.Records {
		t.Rows = append(t.Rows, []string{string(r.UID), r.Title, r.State, strings.Join(r.Lost, "; ")})
	}
	v := output.View{Before: []string{"Vault made in " + s.Dir + " of what is left."}, CSV: &t, Document: s}
	if len(t.Rows) > 0 {
		v.Before = append(v.Before, "")
		v.Tables = []output.Table{t}
	}
	if len(s.Lost) > 0 {
		v.After = append([]string{"", "Lost or in doubt beside the records:"}, s.Lost...)
	}
	if !s.AuditWhole {
		v.After = append(v.After, "",
			"Where the damaged vault was seen the new one counts as older: its first change needs --accept-rollback.")
	}
	return v
}

// salvageError is nil when nothing was lost.
func salvageError(s vault.Salvage) error {
	if s.Complete() {
		return nil
	}
	hurt := 0
	for _, r := range s.Records {
		if len(r.Lost) > 0 {
			hurt++
		}
	}
	return pam.Errorf(pam.ErrIO, "not all could be salvaged: of %d of %d records something is lost or in doubt, and %d other things are",
		hurt, len(s.Records), len(s.Lost)).
		WithHint("compare with a backup; the damaged vault is as it was, keep it")
}
