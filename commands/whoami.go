package commands

import (
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/vault"
)

func newWhoami(d *Deps) *cobra.Command {
	var verbose, asJSON bool
	cmd := &cobra.Command{
		Use:         "whoami",
		Short:       "Show which vault is open",
		Long:        "Show which vault is open: its folder, identity, format, key slots and number of\nrecords.",
		Example:     "  keyturn whoami\n  keyturn whoami --format json",
		Args:        positional(),
		Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().BoolVarP(&verbose, "verbose", "v", false, "accepted for Commander's sake: all is always shown")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as --format json")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if asJSON {
			c.format = output.FormatJSON
		}
		info, err := c.vault.Info(ctx)
		if err != nil {
			return output.View{}, err
		}
		return output.View{
			Before: labelled(20,
				"Vault", info.Dir,
				"Vault ID", string(info.ID),
				"Format", strconv.Itoa(info.Format),
				"Created", timestamp(info.Created),
				"Records", strconv.Itoa(info.Records),
				"Key slots", strings.Join(info.Slots, ", ")),
			CSV: &output.Table{
				Header: []string{"Vault", "Vault ID", "Format", "Created", "Records"},
				Rows: [][]string{{
					info.Dir, string(info.ID), strconv.Itoa(info.Format), timestamp(info.Created), strconv.Itoa(info.Records),
				}},
			},
			Document: struct {
				LoggedIn bool `json:"logged_in"`
				vault.Info
				Created string `json:"created"` // in place of the vault's, to the second
			}{true, info, timestamp(info.Created)},
		}, nil
	})
}

// labelled makes "label: value" lines with the labels to the right of width
// columns, as get shows a record. It takes label, value pairs.
func labelled(width int, pairs ...string) []string {
	var lines []string
	for i := 0; i+1 < len(pairs); i += 2 {
		lines = append(lines, strings.Repeat(" ", max(0, width-len(pairs[i])))+pairs[i]+": "+pairs[i+1])
	}
	return lines
}

// timestamp shows a time as everywhere: RFC 3339 in UTC, nothing for none.
func timestamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(time.RFC3339)
}
