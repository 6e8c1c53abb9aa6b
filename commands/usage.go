package commands

import (
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Help is no wider than helpWidth, nor than its terminal, down to leastHelpWidth.
const (
	helpWidth      = 100
	leastHelpWidth = 60
)

// usage writes what help says below a command's text. It is the library's own, but its
// lines end where the terminal does, and it names what else to read.
func (d *Deps) usage(cmd *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:\n  " + useLine(cmd) + "\n")
	if cmd.HasAvailableSubCommands() {
		b.WriteString("  " + cmd.CommandPath() + " [command]\n")
	}
	if len(cmd.Aliases) > 0 {
		b.WriteString("\nAliases:\n  " + cmd.NameAndAliases() + "\n")
	}
	if cmd.HasExample() {
		b.WriteString("\nExamples:\n" + cmd.Example + "\n")
	}
	writeSubcommands(&b, cmd)
	columns := helpWidth
	if screen := d.columns(d.Out); screen > 0 {
		columns = max(leastHelpWidth, min(helpWidth, screen))
	}
	if cmd.HasAvailableLocalFlags() {
		b.WriteString("\nFlags:\n" + cmd.LocalFlags().FlagUsagesWrapped(columns))
	}
	if cmd.HasAvailableInheritedFlags() {
		b.WriteString("\nGlobal Flags:\n" + cmd.InheritedFlags().FlagUsagesWrapped(columns))
	}
	if related := seeAlso(cmd); len(related) > 0 {
		b.WriteString("\nSee also:\n")
		for _, one := range related {
			b.WriteString("  " + cmd.Root().Name() + " help " + one + "\n")
		}
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\nUse \"" + cmd.CommandPath() + " [command] --help\" for more information about a command.\n")
	}
	_, err := io.WriteString(cmd.OutOrStderr(), b.String())
	return err
}

// useLine is how a command is written, with the flags that it cannot be without.
func useLine(cmd *cobra.Command) string {
	line, rest, found := strings.Cut(cmd.UseLine(), " [flags]")
	for name := range strings.FieldsSeq(cmd.Annotations[annotRequired]) {
		f := cmd.Flags().Lookup(name)
		value, _ := pflag.UnquoteUsage(f)
		if f.Shorthand != "" {
			line += " -" + f.Shorthand + " " + value
		} else {
			line += " --" + f.Name + " " + value
		}
	}
	if found {
		line += " [flags]" + rest
	}
	return line
}

func writeSubcommands(b *strings.Builder, cmd *cobra.Command) {
	if !cmd.HasAvailableSubCommands() {
		return
	}
	b.WriteString("\nAvailable Commands:\n")
	for _, sub := range cmd.Commands() {
		if sub.IsAvailableCommand() {
			fmt.Fprintf(b, "  %-*s %s\n", sub.NamePadding(), sub.Name(), sub.Short)
		}
	}
}

// seeAlso names the commands and topics that go with a command: what comes before it,
// what comes after it, and what takes it back.
func seeAlso(cmd *cobra.Command) []string { return related[pathOf(cmd)] }

// related is by the path of a command, that of the program is empty.
var related = map[string][]string{
	"":                            {"basics", "exit-codes", "keys", "log-in", "windows-command"},
	"audit list":                  {"audit verify", "audit export"},
	"audit verify":                {"audit export", "vault check"},
	"audit export":                {"audit list"},
	"clipboard-copy":              {"find-password", "totp"},
	"find-password":               {"clipboard-copy", "totp", "get"},
	"totp":                        {"find-password", "get"},
	"export":                      {"import", "vault backup"},
	"import":                      {"export", "pam project import"},
	"init":                        {"basics", "key add", "vault backup"},
	"key add":                     {"keys", "key list", "key remove"},
	"key list":                    {"keys", "key add", "key remove"},
	"key remove":                  {"keys", "key list", "rekey"},
	"login":                       {"keys", "logout"},
	"logout":                      {"login"},
	"passwd":                      {"key list", "rekey"},
	"rekey":                       {"keys", "key list", "passwd"},
	"record-add":                  {"record-type-info", "record-update", "log-in"},
	"record-update":               {"record-type-info", "record-history", "log-in"},
	"record-type-info":            {"record-add", "record-update"},
	"record-history":              {"record-update", "trash restore"},
	"rm":                          {"trash list", "trash restore", "trash purge"},
	"rmdir":                       {"rm", "mkdir"},
	"mkdir":                       {"mv", "rmdir", "rndir"},
	"get":                         {"find-password", "record-history", "record-update"},
	"list":                        {"ls", "search"},
	"ls":                          {"list", "search", "tree"},
	"search":                      {"list", "get"},
	"trash list":                  {"trash restore", "trash purge"},
	"trash restore":               {"trash list", "record-history"},
	"trash purge":                 {"trash list", "vault backup"},
	"run-batch":                   {"exit-codes", "shell", "set"},
	"shell":                       {"run-batch", "completion", "history"},
	"vault backup":                {"vault restore", "vault check", "export"},
	"vault restore":               {"vault backup", "vault check"},
	"vault check":                 {"vault salvage", "audit verify"},
	"vault salvage":               {"vault check", "vault restore"},
	"pam action discover start":   {"pam action discover status", "pam action discover process"},
	"pam action discover status":  {"pam action discover process", "pam action discover start"},
	"pam action discover process": {"pam action discover status", "pam action service list"},
	"pam action gateway-info":     {"log-in", "windows-command", "record-update"},
	"pam action job-cancel":       {"pam action job-info", "pam action resume"},
	"pam action job-info":         {"pam action job-list", "pam action resume", "pam action retry", "exit-codes"},
	"pam action job-list":         {"pam action job-info", "pam action resume"},
	"pam action restart":          {"pam action job-info", "pam action rotate", "pam rotation edit"},
	"pam action resume":           {"pam action job-info", "pam action retry"},
	"pam action retry":            {"pam action job-info", "pam action resume"},
	"pam action rotate": {
		"pam rotation edit", "pam action service add", "pam action gateway-info", "pam action job-info", "exit-codes",
	},
	"pam action service add":     {"pam rotation edit", "pam action service list", "pam action discover start"},
	"pam action service disable": {"pam action service enable", "pam action service remove"},
	"pam action service enable":  {"pam action service disable"},
	"pam action service list":    {"pam action service add", "pam action service remove"},
	"pam action service map":     {"pam action discover start", "pam action service list"},
	"pam action service remove":  {"pam action service disable", "pam action service list"},
	"pam config edit":            {"pam config list", "pam rotation edit"},
	"pam config new":             {"pam config edit", "record-add"},
	"pam project export":         {"pam project import"},
	"pam project extend":         {"pam project import"},
	"pam project import":         {"pam project extend", "import"},
	"pam rotation edit":          {"pam rotation info", "pam action service add", "pam action rotate"},
	"pam rotation info":          {"pam rotation edit", "pam action rotate"},
	"pam rotation list":          {"pam rotation info", "pam action rotate"},
}
