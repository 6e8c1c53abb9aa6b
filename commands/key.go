package commands

import (
	"context"
	"encoding/base64"
	"io"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
	"keyturn/vault/agekey"
)

func newKey(d *Deps) *cobra.Command {
	return group(&cobra.Command{Use: "key", Short: "List, add and remove ways into the vault"},
		newKeyList(d), newKeyAdd(d), newKeyRemove(d))
}

func newKeyList(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Aliases: []string{"l"},
		Short:   "List the ways into the vault",
		Long:    "List the key slots of the vault: each is a way in. The one that opened it now is\nmarked.",
		Example: "  keyturn key list",
		Args:    discreet(), Annotations: notes(annotNeeds, needVault),
	}
	return d.leaf(cmd, func(_ context.Context, c *call) (output.View, error) {
		slots, err := c.vault.KeySlots()
		if err != nil {
			return output.View{}, err
		}
		t := output.Table{Header: []string{"ID", "Kind", "Costs", "Recipient", "Current"}, Prose: []string{"Costs"}}
		for _, s := range slots {
			current := ""
			if s.ID == c.Session.Slot {
				current = "yes"
			}
			t.Rows = append(t.Rows, []string{s.ID, s.Kind, s.Costs, agekey.Hint(s.Recipient), current})
		}
		return output.View{Tables: []output.Table{t}, Document: map[string]any{"slots": slots, "current": c.Session.Slot}}, nil
	})
}

type keyAddOptions struct {
	file, passwordFile string
	age                string // a recipient, or @FILE
	recovery, keyring  bool
	kdfMemory          uint32
	master             masterOptions
}

func newKeyAdd(d *Deps) *cobra.Command {
	o := keyAddOptions{}
	cmd := &cobra.Command{
		Use:   "add",
		Short: "Add a way into the vault",
		Long: `Add a key slot:
- another master password (asked for twice, or from --new-password-file);
- a key file for pipelines (--new-key-file), which is made if it is not there:
  the vault then opens with --key-file or ` + EnvKeyFile + `, without the time
  that a password costs;
- an age recipient (--age): age1..., a post-quantum age1pq1..., one of a plugin
  (age1NAME1...), the line of a public SSH key (ssh-ed25519, ssh-rsa), or @FILE
  with one of them. Whoever has its identity or private key opens the vault with
  --identity or ` + EnvIdentity + `, at no cost of time either; no secret is
  handed over to add it;
- a key in the keyring of this computer (--keyring), with which your commands
  open the vault by themselves while you are logged in;
- a recovery code for paper (--recovery), shown once, which is typed in the
  place of the master password.
"keyturn help keys" says which of several keys a command takes.`,
		Example: "  keyturn key add --new-key-file ci.key\n  keyturn key add --age @alice.pub\n" +
			"  keyturn key add --keyring\n  keyturn key add --recovery",
		Args: discreet(), Annotations: notes(annotNeeds, needVault),
	}
	f := cmd.Flags()
	f.StringVar(&o.file, "new-key-file", "", "add the key in `FILE`; a missing file is made")
	f.StringVar(&o.age, "age", "", "add the age `RECIPIENT`, or the one in @FILE")
	f.BoolVar(&o.keyring, "keyring", false, "add a key that this computer's keyring keeps")
	f.BoolVar(&o.recovery, "recovery", false, "add a recovery code and show it")
	f.StringVar(&o.passwordFile, "new-password-file", "", "read another master password from `FILE`, - for standard input")
	f.Uint32Var(&o.kdfMemory, "kdf-memory", 0, "memory of the key derivation in `KIB`; 0 is the default")
	o.master.add(cmd)
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) {
		if cmd.Flags().Changed("age") && o.age == "" { // a script's substitution that failed
			return output.View{}, usagef("argument --age: it is empty; nothing changed")
		}
		return addKey(ctx, c, o)
	})
}

func addKey(ctx context.Context, c *call, o keyAddOptions) (output.View, error) {
	given := 0
	for _, is := range []bool{o.recovery, o.keyring, o.file != "", o.passwordFile != "", o.age != ""} {
		if is {
			given++
		}
	}
	switch {
	case given > 1:
		return output.View{}, usagef("give one of --new-key-file, --age, --keyring, --recovery and --new-password-file")
	case o.recovery:
		return addRecovery(ctx, c)
	case o.file != "":
		return addKeyFile(ctx, c, o.file)
	case o.age != "":
		return addAge(ctx, c, o.age)
	case o.keyring:
		return addKeyring(ctx, c)
	}
	pass, err := c.nextPassphrase(ctx, o.passwordFile, o.master)
	if err != nil {
		return output.View{}, err
	}
	defer pass.Destroy()
	id, err := c.vault.AddSlot(ctx, vault.ByPassphrase, pass, o.kdfMemory)
	return shownIf(err, addedView(id, "another master password"))
}

func addRecovery(ctx context.Context, c *call) (output.View, error) {
	code, id, err := c.vault.NewRecovery(ctx)
	if err != nil {
		return output.View{}, err
	}
	defer code.Destroy()
	text := string(code.Reveal()) // it is shown, once
	v := messageView("Recovery code: "+text, map[string]any{"id": id, "recovery_code": text})
	v.After = []string{
		"Write it down: it is not shown again. It opens the vault where the master password is asked for,",
		"until keyturn key remove " + id + ".",
	}
	return v, nil
}

func addedView(id, what string) output.View {
	return messageView("Key slot "+id+" added: "+what+".", map[string]any{"id": id})
}

// addKeyFile adds the key in a file. A file made here is of no use, and is
// removed again, when its slot cannot be added.
func addKeyFile(ctx context.Context, c *call, name string) (output.View, error) {
	path, err := c.path(name)
	if err != nil {
		return output.View{}, err
	}
	made, err := makeKeyFile(path, c.Random)
	if err != nil {
		return output.View{}, pam.Errorf(pam.ErrIO, "make the key file: %w; nothing changed", err)
	}
	key, err := c.secretFile(ctx, name, "key file")
	if err != nil {
		return output.View{}, err
	}
	defer key.Destroy()
	id, err := c.vault.AddSlot(ctx, vault.ByKeyFile, key, 0)
	if err != nil && made {
		_ = os.Remove(path)
	}
	return shownIf(err, addedView(id, "the key in "+path))
}

// keyFileBytes are as many random bytes as a vault key has.
const keyFileBytes = 32

// makeKeyFile makes a file that only its owner can read, with a random key as
// one line of base64. A file that is there already is left alone.
func makeKeyFile(path string, random io.Reader) (made bool, err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) //nolint:gosec // the user names the file
	if os.IsExist(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	raw := make([]byte, keyFileBytes)
	line := secret.New(make([]byte, base64.StdEncoding.EncodedLen(len(raw))+1))
	defer line.Destroy()
	defer clear(raw)
	if _, err = io.ReadFull(random, raw); err == nil {
		text := line.Reveal()
		base64.StdEncoding.Encode(text, raw)
		text[len(text)-1] = '\n'
		_, err = f.Write(text)
	}
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return true, err
}

func newKeyRemove(d *Deps) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "remove ID",
		Aliases: []string{"rm"},
		Short:   "Remove a way into the vault",
		Long: `Remove a key slot. The only one stays, and so does the one that opened the vault
for this command. The key of a keyring slot is taken out of this computer's
keyring too. Who has an older copy of the vault still gets in with what was
removed, and learns the vault's key, which stays: "rekey" gives the vault
another one.`,
		Example: "  keyturn key remove 1f0c22ab",
		Args:    positional("ID"), Annotations: notes(annotNeeds, needVault),
	}
	return d.leaf(cmd, func(ctx context.Context, c *call) (output.View, error) { return removeKey(ctx, c, c.args[0]) })
}

func removeKey(ctx context.Context, c *call, id string) (output.View, error) {
	slots, err := c.vault.KeySlots()
	if err != nil {
		return output.View{}, err
	}
	info, err := c.vault.Info(ctx)
	if err != nil {
		return output.View{}, err
	}
	if err := c.vault.RemoveSlot(ctx, id, c.Session.Slot); err != nil {
		return output.View{}, err
	}
	if slices.ContainsFunc(slots, func(s vault.KeySlot) bool { return s.ID == id && s.Kind == string(vault.ByKeyring) }) {
		return c.dropEntry(ctx, id, vault.KeyringEntry(info.ID, id)), nil
	}
	return messageView("Key slot "+id+" removed.", map[string]any{"id": id}), nil
}
