package commands

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"
)

// NewRoot builds a fresh tree of commands. Every line of a shell or batch gets
// its own: a tree that was parsed once keeps its flags' values, and a second
// "pam action rotate" without -r would rotate the first one's record again.
//
// Run a line with [Execute], which also reads the words that the tree's parser
// does not know.
func NewRoot(d *Deps) *cobra.Command { return newRoot(d, nil) }

// newRoot builds as much of the tree as a line of args needs: most name one of
// the commands below the root, and making all of them takes a short command as
// long as what it does. Without args it is the whole tree.
func newRoot(d *Deps, args []string) *cobra.Command {
	root := bareRoot(d)
	named := topCommandOf(root, args)
	for _, b := range topCommands() {
		if named == "" || named == b.names {
			root.AddCommand(b.grow(d))
		}
	}
	help := newHelp(d)
	root.AddCommand(help)
	root.SetHelpCommand(help)
	return root
}

func bareRoot(d *Deps) *cobra.Command {
	root := &cobra.Command{
		Use:   "keyturn",
		Short: "Rotate the passwords of service accounts, safely",
		Long: `Keyturn rotates the passwords of Windows and Linux service accounts, and brings
the new password to every service, scheduled task and IIS pool that runs as
them.

It keeps records, accounts and jobs in a local encrypted vault. Start with
"keyturn init"; "keyturn help basics" shows the way to a first rotation.`,
		SilenceErrors:     true,
		SilenceUsage:      true,
		Args:              cobra.ArbitraryArgs,
		CompletionOptions: cobra.CompletionOptions{DisableDefaultCmd: true},
	}
	root.SetIn(d.In)
	root.SetOut(d.Out)
	root.SetErr(d.Err)
	root.SetFlagErrorFunc(flagError)
	root.SetUsageFunc(d.usage)
	d.addGlobals(root)
	// The library's own flag prints through a template, and a program that links
	// text/template keeps every method of every type: a third of its size.
	showVersion := root.Flags().BoolP("version", "v", false, "version for keyturn")
	root.RunE = func(cmd *cobra.Command, _ []string) error {
		if *showVersion {
			_, err := fmt.Fprintln(d.Out, versionLine(d.Version))
			return err
		}
		return d.runBare(cmd.Context(), cmd)
	}
	return root
}

func (d *Deps) addGlobals(root *cobra.Command) {
	g := &d.Session.Globals
	f := root.PersistentFlags()
	f.StringVar(&g.VaultDir, "vault", g.VaultDir, "use the vault in `DIR` (default: "+EnvHome+", else the user's data folder)")
	f.StringVar(&g.PasswordFile, "password-file", g.PasswordFile,
		"read the master password from `FILE`, - for standard input (default: "+EnvPasswordFile+")")
	f.StringVar(&g.KeyFile, "key-file", g.KeyFile,
		"open the vault with the key in `FILE` (default: "+EnvKeyFile+"); see \"keyturn help key add\"")
	f.StringVar(&g.Identity, "identity", g.Identity,
		"open the vault with the age identities or the SSH key in `FILE` (default: "+EnvIdentity+")")
	f.BoolVar(&g.AcceptRollback, "accept-rollback", g.AcceptRollback,
		"go on with a copy of the vault that is older than the one seen last")
	f.StringVar(&g.Anchor, "anchor", g.Anchor,
		"keep in `FILE` which state of the vault was seen last (default: "+EnvAnchor+", else this computer's own)")
	f.StringVar(&g.Debug, "debug", g.Debug, "append a log for operators to `FILE`")
}

// runBare is "keyturn" alone: the shell on a terminal, help elsewhere.
func (d *Deps) runBare(ctx context.Context, cmd *cobra.Command) error {
	if d.Shell != nil && !d.Interactive && d.InIsTerminal() && d.OutIsTerminal() {
		return d.Shell(ctx, agentIdle)
	}
	return cmd.Help()
}

// Execute runs one command line, without the program's name, in a fresh tree.
// The error is for [Deps.Report].
func Execute(ctx context.Context, d *Deps, args []string) error {
	if (d.Interactive || d.Session.batch) && !completing(args) {
		args = d.Session.expand(args)
	}
	root := newRoot(d, args) //nolint:contextcheck // the tree's funcs get their context from ExecuteContext
	prepared, err := prepare(root, args)
	if err != nil {
		return err
	}
	if completing(args) {
		plainUsages(root)
		d.Session.Quiet = true
		defer func() { d.Session.Quiet = false }()
	}
	root.SetArgs(prepared)
	if err := root.ExecuteContext(ctx); !errors.Is(err, ErrNobodyReads) {
		return err
	}
	return nil
}

// Run executes one command line, reports its failure and returns the exit code.
func Run(ctx context.Context, d *Deps, args []string) int {
	return d.Report(Execute(ctx, d, args), args)
}
