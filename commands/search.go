package commands

import (
	"context"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

type searchOptions struct{ verbose, list, regex bool }

func newSearch(d *Deps) *cobra.Command {
	o := searchOptions{}
	cmd := &cobra.Command{
		Use:     "search [PATTERN]",
		Aliases: []string{"s"},
		Short:   "Search records",
		Long: `Search the UIDs, titles, types and descriptions of all records, without case;
every word must be found. Secrets are never searched.`,
		Example: "  keyturn search srv\n  keyturn search pamUser svc\n  keyturn search --regex '^SRV[0-9]+$'",
		Args:    cobra.ArbitraryArgs, Annotations: notes(annotNeeds, needVault),
	}
	f := cmd.Flags()
	f.BoolVarP(&o.verbose, "verbose", "v", false, "accepted for Commander's sake: UIDs are always shown")
	f.BoolVarP(&o.list, "list", "l", false, "accepted for Commander's sake: the result is always a list")
	f.BoolVar(&o.regex, "regex", false, "the pattern is a regular expression for title, type or description")
	cmd.ValidArgsFunction = nothing
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		match, err := o.matcher(c.args)
		if err != nil {
			return output.View{}, err
		}
		heads, err := c.vault.Search(ctx, match)
		if err != nil {
			return output.View{}, err
		}
		t := output.Table{Header: []string{"#", "Record UID", "Type", "Title", "Description", "Record Category"}}
		rows := []lsRow{}
		for _, h := range heads {
			t.Rows = append(t.Rows, []string{
				strconv.Itoa(len(rows) + 1), string(h.UID), string(h.Type), h.Title, h.Summary, "record",
			})
			rows = append(rows, lsRow{"record", h.UID, h.Title, recordDetails{
				Type: h.Type, Description: h.Summary, Modified: timestamp(h.Modified),
			}, sourceVault})
		}
		if len(rows) == 0 {
			return output.View{}, pam.Errorf(pam.ErrNotFound, "search: no record matches %s", strings.Join(c.args, " "))
		}
		return output.View{Tables: []output.Table{t}, Document: rows}, nil
	})
}

func (o searchOptions) matcher(args []string) (func(pam.Head) bool, error) {
	texts := func(h pam.Head) []string {
		return []string{string(h.UID), h.Title, string(h.Type), h.Summary}
	}
	if o.regex {
		re, err := regexp.Compile("(?i)" + strings.Join(args, " "))
		if err != nil {
			return nil, usagef("--regex: %w", err)
		}
		return func(h pam.Head) bool {
			return slices.ContainsFunc(texts(h), re.MatchString)
		}, nil
	}
	words := strings.Fields(strings.ToLower(strings.Join(args, " ")))
	return func(h pam.Head) bool {
		all := strings.ToLower(strings.Join(texts(h), "\n"))
		for _, w := range words {
			if !strings.Contains(all, w) {
				return false
			}
		}
		return true
	}, nil
}
