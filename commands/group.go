package commands

import (
	"fmt"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
)

// group makes a command that only holds others. On its own it shows its help,
// as Commander prints it. The order of the sub-commands is kept: it is the
// order people read.
func group(cmd *cobra.Command, subs ...*cobra.Command) *cobra.Command {
	for i, sub := range subs {
		sub.Annotations = withOrder(sub.Annotations, i)
	}
	cmd.AddCommand(subs...)
	cmd.Annotations = notes(annotGroup, "yes")
	cmd.Args = cobra.ArbitraryArgs
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return output.Render(cmd.OutOrStdout(), output.FormatTable, groupHelp(cmd), 0)
	}
	cmd.SetHelpFunc(func(c *cobra.Command, args []string) {
		if c == cmd {
			_ = output.Render(c.OutOrStdout(), output.FormatTable, groupHelp(c), 0)
			return
		}
		c.Root().HelpFunc()(c, args)
	})
	return cmd
}

func withOrder(m map[string]string, i int) map[string]string {
	if m == nil {
		m = map[string]string{}
	}
	m[annotOrder] = fmt.Sprintf("%03d", i)
	return m
}

// groupHelp lists what is in a group. As in Commander it is headed by the top
// command's name, whatever the depth.
func groupHelp(cmd *cobra.Command) output.View {
	top := cmd
	for top.HasParent() && top.Parent().HasParent() {
		top = top.Parent()
	}
	t := output.Table{Header: []string{"Command", "Description"}}
	for _, sub := range ordered(cmd) {
		t.Rows = append(t.Rows, []string{sub.Name(), sub.Short})
	}
	return output.View{
		Before: []string{top.Name() + " command [--options]", ""},
		Tables: []output.Table{t},
		After:  []string{""},
	}
}

func ordered(cmd *cobra.Command) []*cobra.Command {
	var subs []*cobra.Command
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			subs = append(subs, sub)
		}
	}
	sortBy(subs, func(c *cobra.Command) string { return c.Annotations[annotOrder] })
	return subs
}
