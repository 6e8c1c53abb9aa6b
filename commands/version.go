package commands

import (
	"context"
	"runtime"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
)

func versionLine(version string) string { return "Keyturn, version " + version }

func newVersion(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "version",
		Aliases: []string{"v"},
		Short:   "Show the version of this program",
		Long:    "Show the version of this program, and what it was built with and for.",
		Example: "  keyturn version\n  keyturn version --format json",
		Args:    positional(),
	}
	return d.leaf(cmd, func(_ context.Context, c *call) (output.View, error) {
		return output.View{
			Before: []string{versionLine(c.Version)},
			CSV:    &output.Table{Header: []string{"Version"}, Rows: [][]string{{c.Version}}},
			Document: map[string]any{
				"version": c.Version, "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH,
			},
		}, nil
	})
}
