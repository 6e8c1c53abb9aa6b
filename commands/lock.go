package commands

import (
	"context"
	"time"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
)

// How long an agent stays without being asked.
const (
	agentIdle    = 15 * time.Minute
	maxAgentIdle = 24 * time.Hour
)

func newUnlock(d *Deps) *cobra.Command {
	var idle time.Duration
	cmd := &cobra.Command{
		Use:     "login",
		Aliases: []string{"unlock"},
		Short:   "Unlock the vault for the commands to come",
		Long: `Unlock the vault and start its agent: a process that keeps the key, and nothing
else, and gives it to your commands until nobody has asked for --timeout, or
"logout". Where it runs, commands ask for no master password.`,
		Example: "  keyturn login\n  keyturn login --timeout 1h",
		Args:    discreet(), Annotations: notes(annotNeeds, needVault),
	}
	cmd.Flags().DurationVar(&idle, "timeout", agentIdle, "end the agent when nobody asked for this `duration`")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if idle < time.Second || idle > maxAgentIdle {
			return output.View{}, usagef("argument --timeout: %s is not between 1s and 24h", idle)
		}
		until, err := c.StartAgent(ctx, idle)
		text := "The vault is unlocked until " + idle.String() + " after the last command, at the earliest " + timestamp(until) + "."
		return shownIf(err, messageView(text, map[string]any{"until": instant(until)}))
	})
}

func newLock(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "logout",
		Aliases: []string{"lock"},
		Short:   "Lock the vault",
		Long: `End the agent, and in the shell forget the key too, variables, and lines that
carried a secret. The next command asks for the master password, unless a
variable or this computer's keyring has a key. Jobs that run go on: each has its
key in its own process.`,
		Example: "  keyturn logout",
		Args:    positional(),
	}
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		ran, err := c.StopAgent(ctx)
		c.LockSession() // whatever became of the agent
		if err != nil {
			return output.View{}, err
		}
		text := "The vault is locked."
		if !ran {
			text = "The vault is locked; no agent was running."
		}
		return messageView(text, map[string]any{"agent": ran}), nil
	})
}

// LockSession forgets the vault's key and what the session holds of its content:
// where one was, and the values of variables.
func (d *Deps) LockSession() {
	d.Lock()
	s := d.Session
	s.Locked, s.Folder, s.Slot = true, "", ""
	for _, v := range s.variables {
		v.Destroy()
	}
	s.variables = nil
}

// AgentOptions are what the agent's process is told.
type AgentOptions struct {
	Socket, Slot string
	Idle         time.Duration
}

// newAgentRunner is how the program starts itself as the agent; it is no command
// for people.
func newAgentRunner(d *Deps) *cobra.Command {
	o := AgentOptions{}
	cmd := &cobra.Command{
		Use:     "agent-runner SOCKET",
		Short:   "Keep the vault's key (started by keyturn itself)",
		Long:    "Keep the vault key that comes through an inherited pipe. Keyturn starts this\nitself.",
		Example: "  keyturn agent-runner SOCKET",
		Args:    positional("SOCKET"),
		Hidden:  true,
	}
	cmd.Flags().StringVar(&o.Slot, "slot", "", "the `ID` of the key slot that opened the vault")
	cmd.Flags().DurationVar(&o.Idle, "timeout", agentIdle, "end when nobody asked for this `duration`")
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if o.Idle <= 0 {
			return output.View{}, pam.Errorf(pam.ErrUsage, "agent-runner is started by keyturn itself")
		}
		o.Socket = c.args[0]
		return output.View{}, c.RunAgent(ctx, o)
	})
}
