package commands

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

func newShell(d *Deps) *cobra.Command {
	var idle time.Duration
	cmd := &cobra.Command{
		Use:   "shell",
		Short: "Start the interactive shell",
		Long: `Start the interactive shell: the prompt "My Vault>" over the same commands.

When nobody typed anything for --timeout it locks the vault, like "logout", and
asks for the master password with the next command that needs it.

A rotation returns to the prompt at once, and its end is announced above it.

Tab completes, Ctrl-R finds lines typed before. A line is read like one of
run-batch: # begins a comment, and a \ at its end goes on in the next one. Lines
that are pasted do not run: Enter runs them one by one, Ctrl-C drops them.`,
		Example: "  keyturn shell\n  keyturn shell --timeout 1h",
		Args:    positional(),
	}
	cmd.Flags().DurationVar(&idle, "timeout", agentIdle, "lock the vault when nobody typed anything for this `duration`; 0 never does")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if c.Interactive || c.Session.batch {
			return output.View{}, usagef("the shell cannot be started from here")
		}
		if c.Shell == nil {
			return output.View{}, pam.Errorf(pam.ErrInternal, "this build has no shell")
		}
		if !c.InIsTerminal() || !c.OutIsTerminal() {
			return output.View{}, usagef("the shell needs a terminal to read from and to write to; nothing was done").
				WithHint("keyturn - runs commands from standard input, keyturn run-batch FILE from a file")
		}
		if idle < 0 {
			return output.View{}, usagef("argument --timeout: %s is less than nothing", idle)
		}
		return output.View{}, c.Shell(ctx, idle)
	})
}

// newJobRunner is how the program starts itself to run a job; it is no command
// for people.
func newJobRunner(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "job-runner JOB",
		Short:   "Run one job (started by keyturn itself)",
		Long:    "Run one saved job with the vault key from an inherited pipe. Keyturn starts this\nitself.",
		Example: "  keyturn job-runner JOB",
		Args:    positional("JOB"),
		Hidden:  true,
	}
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		id, err := pam.ParseUID(c.args[0])
		if err != nil {
			return output.View{}, err
		}
		return output.View{}, c.RunJob(ctx, id)
	})
}
