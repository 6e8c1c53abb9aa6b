package commands

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
)

const basics = `The way to a first rotation:

  keyturn init
  keyturn record-add -rt pamMachine -t DC01 \
    pamHostname=dc01.lab.example text.operatingSystem=windows
  keyturn record-add -rt pamMachine -t SRV1 \
    pamHostname=srv1.lab.example:5986 text.operatingSystem=windows
  keyturn record-add -rt pamUser -t "LAB admin" 'login=LAB\admin' password=
  keyturn record-add -rt pamUser -t svc_app 'login=LAB\svc_app' password=
  keyturn pam config edit "Local Network" -a "LAB admin"
  keyturn pam rotation edit -r svc_app -rs DC01 --force
  keyturn pam action service add -g Embedded -m SRV1 -u svc_app
  keyturn pam action rotate -r svc_app --dry-run
  keyturn pam action rotate -r svc_app

Every place that takes a UID takes the title too. DC01 is the machine record of
the authority: a domain controller, or the machine that has the local account. A
domain can be a pamDirectory record instead, and is changed over LDAPS then.
A record's password is asked for on the terminal (password=), read from a file
(password=@FILE) or from standard input (password=@-).

More: "keyturn help COMMAND", "keyturn help exit-codes".`

// helpTopics are what help explains beside commands.
func helpTopics() map[string]func() output.View {
	return map[string]func() output.View{
		"exit-codes":      exitCodesView,
		"basics":          func() output.View { return textView(basics) },
		"keys":            keysView,
		"log-in":          logInView,
		"windows-command": windowsCommandView,
	}
}

func newHelp(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "help [COMMAND | TOPIC]",
		Short: "Help about a command or a topic",
		Long: `Show what a command does, or explain a topic: exit-codes, basics,
keys (what opens the vault, and which of several keys a command takes),
log-in (passwords, keys, certificates and agents that log in to machines) or
windows-command (what Keyturn runs on Windows, for allow lists).`,
		Example: "  keyturn help pam action rotate\n  keyturn help exit-codes --format json",
		Args:    cobra.ArbitraryArgs,
	}
	cmd.ValidArgsFunction = completeHelp
	return d.leaf(cmd, func(_ context.Context, c *call) (output.View, error) {
		if len(c.args) == 1 {
			if topic, ok := helpTopics()[strings.ToLower(c.args[0])]; ok {
				return topic(), nil
			}
		}
		words := append([]string{}, c.args...)
		found, rest := descend(cmd.Root(), words)
		if rest < len(words) {
			return output.View{}, unknownWord(found, words[rest:])
		}
		return helpView(found)
	})
}

// helpView is what "help" and --help say of a command.
func helpView(cmd *cobra.Command) (output.View, error) {
	var b strings.Builder
	cmd.InitDefaultHelpFlag()
	cmd.SetOut(&b)
	err := cmd.Help()
	return textView(strings.TrimSuffix(b.String(), "\n")), err
}

// textView is a page of text.
func textView(text string) output.View {
	v := output.View{Before: strings.Split(text, "\n"), Document: map[string]string{"text": text}}
	v.CSV = &output.Table{Header: []string{"text"}}
	for _, l := range v.Before {
		v.CSV.Rows = append(v.CSV.Rows, []string{l})
	}
	return v
}

func completeHelp(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	found, rest := descend(cmd.Root(), append([]string{}, args...))
	if rest < len(args) {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	var words []string
	for _, sub := range found.Commands() {
		if sub.IsAvailableCommand() {
			words = append(words, completion(sub.Name(), sub.Short))
		}
	}
	if len(args) == 0 {
		words = append(words, "basics", "exit-codes", "keys", "log-in", "windows-command")
	}
	return words, cobra.ShellCompDirectiveNoFileComp
}
