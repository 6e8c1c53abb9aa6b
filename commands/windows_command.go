package commands

import (
	"keyturn/commands/output"
	"keyturn/pkg/powershell"
)

// windowsCommandView shows what Keyturn starts on Windows machines: it is one
// constant command, so that an allow list can name it by its digest.
func windowsCommandView() output.View {
	sum := powershell.CommandLineSHA256()
	return output.View{
		Before: []string{
			"On Windows machines Keyturn runs one constant command; what to do, and every",
			"password, travels on its standard input. SHA-256 of the command line:",
			"", "  " + sum, "",
			"The command line itself:", "", "  " + powershell.CommandLine(),
		},
		CSV:      &output.Table{Header: []string{"sha256", "command_line"}, Rows: [][]string{{sum, powershell.CommandLine()}}},
		Document: map[string]any{"sha256": sum, "command_line": powershell.CommandLine()},
	}
}
