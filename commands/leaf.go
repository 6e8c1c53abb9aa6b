package commands

import (
	"context"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/vault"
)

// Annotations that a command declares itself with.
const (
	annotNeeds    = "needs"    // what the leaf wrapper gets ready: needVault, needExecutor, needThrift
	annotShort    = "short"    // two-letter short flags: "rs=resource rt=record-type"
	annotRequired = "required" // flags that must be given: "gateway machine-uid"
	annotGroup    = "group"    // the command is a group
	annotOrder    = "order"    // its place in its group's help
	annotFormats  = "formats"  // more words of --format, which it shows itself: "password fields"
	annotOfFile   = "of-file"  // --format is that of a file, by whose name it is known, and has these words beside json and csv
	annotTargets  = "targets"  // the words of --output, the first is the default; or targetFile
)

// targetFile is for a command that writes the file of --output itself.
const targetFile = "FILE"

// flagForce answers yes, and replaces files that are there.
const flagForce = "force"

const (
	needVault    = "vault"
	needExecutor = "executor"
	needThrift   = "thrift" // for what holds very many rows: see [Deps.Thrift]
)

// notes makes annotations of name, value pairs.
func notes(pairs ...string) map[string]string {
	m := map[string]string{}
	for i := 0; i+1 < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

func noted(cmd *cobra.Command, name, word string) bool {
	return slices.Contains(strings.Fields(cmd.Annotations[name]), word)
}

// A call is one execution of a leaf.
type call struct {
	*Deps
	vault  *vault.Vault // set when the command needs "vault"
	format output.Format
	style  string // the word of --format that only this command knows
	target string // the word of --output, where that is no file
	args   []string
	// replace allows a command to write over a file that is there.
	replace bool
	// oneScreen: results and messages are read by one person in one place.
	oneScreen bool
}

type runLeaf func(ctx context.Context, c *call) (output.View, error)

// leaf makes cmd a command that runs run and shows its view. The vault is opened
// here, once, when the command says it needs it.
func (d *Deps) leaf(cmd *cobra.Command, run runLeaf) *cobra.Command {
	o := &outputOptions{}
	o.add(cmd)
	completeNothing(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := missing(cmd); err != nil {
			return err
		}
		c := &call{Deps: d, args: args}
		var err error
		if err = o.parse(cmd, c); err != nil {
			return err
		}
		if err := d.hasEngine(cmd); err != nil {
			return err
		}
		if err := d.canLog(); err != nil {
			return err
		}
		to, err := c.resultTo(o.file)
		if err != nil {
			return err
		}
		defer to.abandon()
		c.oneScreen = o.file == "" && c.onOneScreen()
		defer d.thrift(cmd)()
		ctx := cmd.Context()
		if noted(cmd, annotNeeds, needVault) {
			if c.vault, err = d.Vault(ctx); err != nil {
				return err
			}
			c.tellOfOpening()
			c.tellOfJobs(ctx, cmd)
		}
		view, err := run(ctx, c)
		// A failed job still has its summary: what was found is shown first.
		if shown := to.show(c.format, view); err == nil {
			err = shown
		}
		if c.format == output.FormatCSV {
			for _, w := range view.Warnings {
				c.sayf("%s", w)
			}
		}
		return err
	}
	return cmd
}

// onOneScreen reports whether standard output and standard error are a terminal.
func (c *call) onOneScreen() bool {
	return c.format == output.FormatTable && c.OutIsTerminal() && c.ErrIsTerminal != nil && c.ErrIsTerminal()
}

// hasEngine refuses a command whose executor is not built in.
func (d *Deps) hasEngine(cmd *cobra.Command) error {
	if noted(cmd, annotNeeds, needExecutor) && (d.StartJob == nil || d.DryRun == nil || d.Discover == nil || d.Examine == nil) {
		return pam.Errorf(pam.ErrInternal, "this build has no engine; nothing was done")
	}
	return nil
}

// canLog refuses a log that cannot be written before anything is begun: the process
// of a job opens it by itself.
func (d *Deps) canLog() error {
	f, err := d.OpenLog()
	if err != nil || f == nil {
		return err
	}
	if err := f.Close(); err != nil {
		return pam.Errorf(pam.ErrIO, "--debug: %w; nothing was done", err)
	}
	return nil
}

// OpenLog opens the file that --debug names, behind what is in it; nil when it names
// none. The caller closes it.
func (d *Deps) OpenLog() (*os.File, error) {
	name := d.Session.Globals.Debug
	if name == "" {
		return nil, nil //nolint:nilnil // no log is no failure
	}
	if err := d.OutsideVault(name); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(name, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600) //nolint:gosec // the user names the file
	if err != nil {
		return nil, pam.Errorf(pam.ErrIO, "--debug: %w; nothing was done", err)
	}
	return f, nil
}

// thrift makes the program thrifty for a command that says it needs it.
func (d *Deps) thrift(cmd *cobra.Command) (end func()) {
	if noted(cmd, annotNeeds, needThrift) && d.Thrift != nil {
		return d.Thrift()
	}
	return func() {}
}

// missing reports required flags that were not given, in Commander's words.
func missing(cmd *cobra.Command) error {
	var names []string
	for name := range strings.FieldsSeq(cmd.Annotations[annotRequired]) {
		f := cmd.Flags().Lookup(name)
		if f.Changed {
			continue
		}
		text := "--" + f.Name
		if f.Shorthand != "" {
			text += "/-" + f.Shorthand
		}
		names = append(names, text)
	}
	if len(names) == 0 {
		return nil
	}
	return usagef("the following arguments are required: %s", strings.Join(names, ", ")).
		WithHint("%s", helpFor(cmd))
}

func helpFor(cmd *cobra.Command) string {
	root, rest, _ := strings.Cut(cmd.CommandPath(), " ")
	return strings.TrimSpace(root + " help " + rest)
}

// ofFile reports whether --format is that of a file.
func ofFile(cmd *cobra.Command) bool { return cmd.Annotations[annotOfFile] != "" }

// formatsOf are the words of --format.
func formatsOf(cmd *cobra.Command) []string {
	if ofFile(cmd) {
		return append([]string{string(output.FormatJSON), string(output.FormatCSV)}, strings.Fields(cmd.Annotations[annotOfFile])...)
	}
	return append(output.Formats(), strings.Fields(cmd.Annotations[annotFormats])...)
}

func eitherOf(words []string) string {
	last := len(words) - 1
	return strings.Join(words[:last], ", ") + " or " + words[last]
}

// outputOptions are the flags that say how a view is shown.
type outputOptions struct {
	format string
	file   string
}

func (o *outputOptions) add(cmd *cobra.Command) {
	formats, usual := formatsOf(cmd), string(output.FormatTable)
	usage := "show the result as `table`, " + eitherOf(formats[1:])
	if ofFile(cmd) {
		usual, usage = "", "the file's `FORMAT`: "+eitherOf(formats)+" (default: as its name says)"
	}
	cmd.Flags().StringVar(&o.format, "format", usual, usage)
	completeFlag(cmd, "format", fixed(formats...))
	if targets := strings.Fields(cmd.Annotations[annotTargets]); len(targets) > 0 && targets[0] != targetFile {
		cmd.Flags().StringVar(&o.file, "output", targets[0], "`WHERE` to: "+strings.Join(targets, ", "))
		completeFlag(cmd, "output", fixed(targets...))
		return
	}
	cmd.Flags().StringVar(&o.file, "output", "", "write the result to `FILE` instead of standard output")
	if cmd.Flags().Lookup(flagForce) == nil {
		cmd.Flags().Bool(flagForce, false, "replace a file that is there")
	}
}

// parse reads the flags into c.
func (o *outputOptions) parse(cmd *cobra.Command, c *call) (err error) {
	if f := cmd.Flags().Lookup(flagForce); f != nil {
		c.replace = f.Value.String() == "true"
	}
	if targets := strings.Fields(cmd.Annotations[annotTargets]); len(targets) > 0 {
		if targets[0] != targetFile && !slices.Contains(targets, o.file) {
			return usagef("--output: unknown word %q: it is %s", o.file, strings.Join(targets, ", "))
		}
		c.target, o.file = o.file, ""
	}
	word := strings.ToLower(o.format)
	switch {
	case ofFile(cmd) && !cmd.Flags().Changed("format"):
		c.format = output.FormatTable
		return nil
	case ofFile(cmd) && !slices.Contains(formatsOf(cmd), word):
		return usagef("--format: unknown format %q: it is %s", o.format, strings.Join(formatsOf(cmd), ", "))
	case noted(cmd, annotFormats, word), noted(cmd, annotOfFile, word):
		c.format, c.style = output.FormatTable, word
		return nil
	}
	if c.format, err = output.ParseFormat(o.format); err != nil {
		return usagef("--format: %w", err)
	}
	return nil
}

// positional returns a check for exactly the named arguments.
func positional(names ...string) cobra.PositionalArgs {
	return func(cmd *cobra.Command, args []string) error {
		switch {
		case len(args) < len(names):
			return usagef("the following arguments are required: %s", strings.Join(names[len(args):], ", ")).
				WithHint("%s", helpFor(cmd))
		case len(args) > len(names):
			return usagef("unrecognized arguments: %s", strings.Join(args[len(names):], " ")).WithHint("%s", helpFor(cmd))
		}
		return nil
	}
}

// discreet is like [positional], for a command behind which a secret is typed by
// mistake: what it refuses may be one, and is not repeated.
func discreet(names ...string) cobra.PositionalArgs {
	exactly := positional(names...)
	return func(cmd *cobra.Command, args []string) error {
		if len(args) > len(names) {
			err := usagef("unrecognized arguments: %d, not repeated because they may be a secret", len(args)-len(names))
			if len(names) > 0 {
				return err.WithHint("a value with spaces in it stands in quotes")
			}
			return err.WithHint("%s", helpFor(cmd))
		}
		return exactly(cmd, args)
	}
}

// assignments is a check for arguments that are fields; a variable may stand for one.
func assignments(_ *cobra.Command, args []string) error {
	for _, arg := range args {
		if _, err := ParseAssignment(arg); err != nil && !variableUse().MatchString(arg) {
			return err
		}
	}
	return nil
}

// atMostOne is a check for no argument or one.
func atMostOne(cmd *cobra.Command, args []string) error {
	if len(args) > 1 {
		return usagef("unrecognized arguments: %s", strings.Join(args[1:], " ")).WithHint("%s", helpFor(cmd))
	}
	return nil
}
