package commands

import (
	"context"
	"errors"
	"fmt"

	"keyturn/commands/output"
	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault/keyring"
)

// addKeyring adds a slot that the keyring of this computer opens.
func addKeyring(ctx context.Context, c *call) (output.View, error) {
	if c.Keyring == nil {
		return output.View{}, pam.Errorf(pam.ErrIO, "there is no keyring here; nothing changed")
	}
	keep := func(entry string, with secret.Value) error {
		err := c.Keyring.Set(ctx, entry, with)
		if err == nil || ctx.Err() != nil {
			return err
		}
		return pam.Errorf(pam.ErrIO, "%w; nothing changed", err).
			WithHint("unlock the keyring of your desktop session, or use keyturn key add --age or --new-key-file")
	}
	// Taken out again whether or not this command was interrupted.
	drop := func(entry string) { _ = c.Keyring.Delete(context.WithoutCancel(ctx), entry) }
	id, err := c.vault.AddKeyringSlot(ctx, keep, drop)
	return shownIf(err, addedView(id, "a key in this computer's keyring"))
}

// dropEntry removes what the keyring keeps for a slot that is gone, and says how
// that went.
func (c *call) dropEntry(ctx context.Context, slot, entry string) output.View {
	failed := errors.New("there is no keyring here")
	if c.Keyring != nil {
		failed = c.Keyring.Delete(ctx, entry)
	}
	text, how := "Key slot "+slot+" removed, and its key from this computer's keyring.", "removed"
	left := fmt.Sprintf("Wherever it is kept (service %s, user %s), it opens older copies of the vault.", keyring.Service, entry)
	switch {
	case errors.Is(failed, keyring.ErrNone):
		how = "none"
		text = "Key slot " + slot + " removed. Its key is not in this computer's keyring. " + left
	case failed != nil:
		how = "left"
		text = "Key slot " + slot + " removed. Its key could not be removed from the keyring: " + message(failed) + ". " + left
	}
	return messageView(text, map[string]any{"id": slot, "keyring": how})
}
