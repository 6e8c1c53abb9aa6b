package commands

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
	"keyturn/vault/agekey"
	"keyturn/vault/seal"
)

// askForSlot is another question than that which opens the vault just before.
const askForSlot = "Master password or recovery code, to keep its key slot: "

func newRekey(d *Deps) *cobra.Command {
	o := &rekeyOptions{}
	cmd := &cobra.Command{
		Use:   "rekey",
		Short: "Give the vault a new key and seal everything anew",
		Long: `Give the vault a new key, and seal everything in it anew: records, history,
trash, jobs, the audit trail. Do it when the key, or a password together with a
copy of the vault, may be in wrong hands: "passwd" and "key remove" leave the
key as it is.

A key slot wraps the key for what opens it, so that is needed once more: the
present master password is asked for, or comes from where it always does; what
opens the other slots is asked for on the terminal, or given with --keep.
Nothing is needed for age recipients and for a key in this computer's keyring:
their slots stay by themselves. A slot whose secret is not there is closed: the
command names it and asks first, unless --force is given.

Agents, shells and other programs that have the old key are locked out at once,
and can be unlocked again. While a job has not ended the command is refused.
Whatever cuts it off, the vault opens as before or as after. Copies and backups
from before still open with what opened them then, and plans written by
--plan-out are void.`,
		Example: "  keyturn rekey\n  keyturn rekey --keep ci.key --keep paper-code.txt\n  keyturn rekey --force",
		Args:    discreet(), Annotations: notes(annotNeeds, needVault),
	}
	f := cmd.Flags()
	f.StringArrayVar(&o.keep, "keep", nil, "keep the slot that opens with what is in `FILE`; can be given more than once")
	f.BoolVarP(&o.force, "force", "f", false, "do not ask: close the slots whose secret is not given")
	return d.leaf(cmd, o.run)
}

type rekeyOptions struct {
	keep  []string
	force bool
}

func (o *rekeyOptions) run(ctx context.Context, c *call) (output.View, error) {
	r, err := c.vault.BeginRekey(ctx)
	if err != nil {
		return output.View{}, err
	}
	defer r.Close()
	a := &rekeying{call: c, Rekeying: r, opened: c.Session.Slot}
	if err := a.present(ctx); err != nil {
		return output.View{}, err
	}
	if err := a.keepOwn(ctx); err != nil {
		return output.View{}, err
	}
	for _, name := range o.keep {
		if err := a.keepFile(ctx, name); err != nil {
			return output.View{}, err
		}
	}
	if !o.force {
		if err := a.askForOthers(ctx); err != nil {
			return output.View{}, err
		}
		if err := a.confirmLost(ctx); err != nil {
			return output.View{}, err
		}
	}
	return a.finish(ctx)
}

// A rekeying is one run of the command.
type rekeying struct {
	*call
	*vault.Rekeying
	opened string           // the ID of the slot that opened the vault for this command
	moving []seal.Rewrapped // keyring slots that stay, whose entries get other names
}

// offer keeps what a secret opens, which it destroys, and reports whether that
// was anything.
func (a *rekeying) offer(with secret.Value) (bool, error) {
	defer with.Destroy()
	kept, err := a.Offer(with)
	a.tellKept(kept)
	return len(kept) > 0, err
}

func (a *rekeying) tellKept(kept []seal.Rewrapped) {
	for _, k := range kept {
		a.newsf("keyturn: key slot %s (%s) will be kept", k.Old, k.Kind)
	}
}

// present offers what opens the vault for any command: a shell left alone must
// not be enough to change who gets in.
func (a *rekeying) present(ctx context.Context) error {
	name, identity, err := a.named()
	var with secret.Value
	named := true
	switch {
	case err != nil:
	case name != "":
		with, err = a.secretFile(ctx, name, "key file")
	case identity != "":
		return a.presentIdentity(ctx, identity)
	default:
		with, named, err = a.passwordFile(ctx)
	}
	if err != nil {
		return err
	}
	if !named {
		return a.askForPresent(ctx)
	}
	if ok, err := a.offer(with); ok || err != nil {
		return err
	}
	return pam.Errorf(pam.ErrLocked, "the given master password or key file does not open this vault; nothing changed")
}

func (a *rekeying) askForPresent(ctx context.Context) error {
	if !a.typed() { // then the keyring is what opens the vault when nothing is named
		return a.presentKeyring(ctx)
	}
	wrong := pam.Errorf(pam.ErrLocked, "wrong master password; nothing changed")
	for range unlockTries {
		pass, err := a.ReadSecret(ctx, askForSlot)
		if isNoTerminal(err) {
			return pam.Errorf(pam.ErrLocked, "there is no terminal to ask for the master password; nothing changed").WithHint(unlockHint)
		}
		if err != nil {
			return err
		}
		if ok, err := a.offer(pass); ok || err != nil {
			return err
		}
		a.sayf("keyturn: %s", wrong)
	}
	return wrong
}

func (a *rekeying) keepFile(ctx context.Context, name string) error {
	with, err := a.secretFile(ctx, name, "file of --keep")
	if err != nil {
		return err
	}
	if ok, err := a.offer(with); ok || err != nil {
		return err
	}
	return pam.Errorf(pam.ErrLocked, "what is in %s opens no key slot, or one that will be kept already; nothing changed", name).
		WithHint("keyturn key list")
}

// askForOthers asks for what opens slots that a person can type the secret of.
func (a *rekeying) askForOthers(ctx context.Context) error {
	for a.typed() {
		pass, err := a.ReadSecret(ctx, "Another master password or recovery code, for "+a.lost()+" (empty: no more): ")
		if isNoTerminal(err) {
			return nil
		}
		if err != nil || pass.IsZero() {
			return err
		}
		if ok, err := a.offer(pass); err != nil {
			return err
		} else if !ok {
			a.newsf("keyturn: that opens none of them")
		}
	}
	return nil
}

// lost names the slots that nothing was given for.
func (a *rekeying) lost() string {
	names := []string{}
	for _, s := range a.Lost() {
		names = append(names, s.ID+" ("+strings.TrimSpace(s.Kind+" "+agekey.Hint(s.Recipient))+")")
	}
	return joined(names)
}

// typed reports whether a slot is lost that opens with what people type.
func (a *rekeying) typed() bool {
	return slices.ContainsFunc(a.Lost(), func(s vault.KeySlot) bool {
		return s.Kind == string(vault.ByPassphrase) || s.Kind == string(vault.ByRecovery)
	})
}

// confirmLost asks whether slots may be closed.
func (a *rekeying) confirmLost(ctx context.Context) error {
	if len(a.Lost()) == 0 {
		return nil
	}
	question := "Nothing was given that opens these key slots, so they will be closed: " + a.lost() + ". Do you want to go on?"
	err := a.confirm(ctx, question, "--force")
	if e, ok := errors.AsType[*pam.Error](err); ok && e.Hint != "" {
		return e.WithHint("--keep FILE for each that should stay; --force closes the others")
	}
	return err
}

// finish replaces the key. The vault that is open from then on has the new one,
// and the agent, which has the old one, is ended.
func (a *rekeying) finish(ctx context.Context) (output.View, error) {
	if err := a.copyEntries(ctx); err != nil {
		return output.View{}, err
	}
	key, err := a.Run(ctx)
	if key.IsZero() && a.Doubt {
		for _, m := range a.moving {
			a.sayf("keyturn: the keyring keeps the key of slot %s under its next name too (%s)", m.Old, a.Entry(m.New))
		}
		return output.View{}, err
	}
	if key.IsZero() {
		for _, text := range a.dropEntries(ctx, newID) {
			a.sayf("keyturn: %s", text)
		}
		return output.View{}, err
	}
	defer key.Destroy()
	left := a.leaveEntries(ctx, err)
	slot := ""
	for _, k := range a.Kept() {
		if slot == "" || k.Old == a.opened {
			slot = k.New
		}
	}
	err = errors.Join(err, a.Reopen(context.WithoutCancel(ctx), key, slot))
	ended, stopErr := a.StopAgent(ctx)
	if stopErr != nil { // no failure of this: what it holds opens nothing any more
		a.sayf("warning: %s: it had the old key", message(stopErr))
	}
	v, doc := a.view()
	v.After = append(v.After, left...)
	if doc["agent_ended"] = ended; ended {
		v.After = append(v.After, "The agent had the old key and is ended: keyturn login starts it again.")
	}
	return shownIf(err, v)
}

// view is what became of the key slots, as a table and as a document.
func (a *rekeying) view() (v output.View, doc map[string]any) {
	const done = "The vault has a new key, and everything in it is sealed anew."
	v.Before = []string{done, ""}
	t := output.Table{Header: []string{"Was", "Kind", "Is"}}
	kept, closed := []map[string]string{}, []map[string]string{}
	for _, k := range a.Kept() {
		t.Rows = append(t.Rows, []string{k.Old, k.Kind, k.New})
		kept = append(kept, map[string]string{"old_id": k.Old, "kind": k.Kind, "id": k.New})
	}
	for _, s := range a.Lost() {
		t.Rows = append(t.Rows, []string{s.ID, s.Kind, "closed"})
		closed = append(closed, map[string]string{"old_id": s.ID, "kind": s.Kind})
	}
	v.Tables = []output.Table{t}
	v.After = []string{"", "Copies and backups from before still open with what opened them then: remove what you do not need."}
	doc = map[string]any{"message": done, "kept": kept, "closed": closed}
	v.Document = doc
	return v, doc
}
