// Command keyturn-lab runs a practice domain on this computer: simulated
// Windows machines whose passwords can be rotated without harm. It wires
// pkg/lab to a command line and knows nothing else. Its selftest is for real ones.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"keyturn/pkg/lab"
	"keyturn/pkg/lab/sshd"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := newRoot()
	if err := root.ExecuteContext(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "keyturn-lab: %v\n", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

func newRoot() *cobra.Command {
	root := &cobra.Command{
		Use:   "keyturn-lab",
		Short: "Practise on simulated Windows machines",
		Long: "A simulation: a domain LAB with a domain controller and some servers, on loopback.\n" +
			"Nothing in it is a Windows machine. Only selftest works on a real one.",
		SilenceErrors: true,
		SilenceUsage:  true,
	}
	root.AddCommand(newStart(), newShow(), newFault(), newSelftest())
	return root
}

func newStart() *cobra.Command {
	o := lab.Options{Now: time.Now, StartDelay: 300 * time.Millisecond, StopDelay: 200 * time.Millisecond}
	c := &cobra.Command{
		Use:     "start",
		Short:   "Start the machines and stay until interrupted",
		Example: "  keyturn-lab start --machines 3 --state lab",
		Args:    cobra.NoArgs,
	}
	var shell string
	f := c.Flags()
	f.IntVar(&o.Machines, "machines", 3, "`number` of servers beside the domain controller")
	f.StringVar(&o.Engine, "engine", os.Getenv("KEYTURN_PWSH"), "`path` of a PowerShell engine; empty answers without one")
	f.StringVar(&shell, "shell", string(sshd.CMD), "the machines' default `shell` over SSH: cmd, powershell or bash")
	f.DurationVar(&o.StartDelay, "start-delay", o.StartDelay, "how long services take to start, a `duration`")
	f.DurationVar(&o.StopDelay, "stop-delay", o.StopDelay, "how long services take to stop, a `duration`")
	debug := f.Bool("debug", false, "log what the machines' services do to standard error")
	stateFlag(c, &o.Dir)
	c.RunE = func(c *cobra.Command, _ []string) error {
		o.Shell = sshd.Shell(shell)
		for _, name := range []string{"PATH", "HOME", "PSENGINE_CACHE", "XDG_CACHE_HOME"} {
			if v, ok := os.LookupEnv(name); ok {
				o.Environment = append(o.Environment, name+"="+v)
			}
		}
		if *debug {
			o.Logger = slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelDebug}))
		}
		return lab.Serve(c.Context(), o, c.OutOrStdout())
	}
	return c
}

func newShow() *cobra.Command {
	var dir, format string
	c := &cobra.Command{
		Use:     "show",
		Short:   "Show what each machine looks like now",
		Example: "  keyturn-lab show --state lab",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return lab.Show(c.Context(), dir, format, c.OutOrStdout())
		},
	}
	stateFlag(c, &dir)
	c.Flags().StringVar(&format, "format", lab.FormatTable, "`format`: table or json")
	return c
}

func newFault() *cobra.Command {
	var dir, machine string
	var help strings.Builder
	for _, k := range lab.Faults() {
		fmt.Fprintf(&help, "  %-14s %s\n", k.Name, k.Help)
	}
	c := &cobra.Command{
		Use:     "fault NAME",
		Short:   "Break a machine, or mend it",
		Long:    "Break a machine, or mend it:\n" + help.String(),
		Example: "  keyturn-lab fault --state lab --machine SRV2 down",
		Args:    cobra.ExactArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			return lab.AskFault(c.Context(), dir, machine, args[0])
		},
	}
	stateFlag(c, &dir)
	c.Flags().StringVarP(&machine, "machine", "m", "", "`name` of the machine, such as SRV2")
	_ = c.MarkFlagRequired("machine")
	return c
}

func stateFlag(c *cobra.Command, dir *string) {
	c.Flags().StringVar(dir, "state", "lab", "`folder` in which the lab keeps its files")
}
