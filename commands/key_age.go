package commands

import (
	"bytes"
	"context"
	"strings"

	"keyturn/commands/output"
	"keyturn/vault"
	"keyturn/vault/agekey"
)

// addAge adds a slot for an age recipient. Nobody proves to have its identity:
// that is what public keys are for.
func addAge(ctx context.Context, c *call, text string) (output.View, error) {
	if name, ok := strings.CutPrefix(text, "@"); ok {
		line, err := c.recipientIn(ctx, name)
		if err != nil {
			return output.View{}, err
		}
		text = line
	}
	recipient, err := agekey.Recipient(text)
	if err != nil {
		return output.View{}, err
	}
	with, err := vault.NewSlotSecret(c.Random)
	if err != nil {
		return output.View{}, err
	}
	defer with.Destroy()
	sealed, err := agekey.Encrypt(ctx, recipient, with, c.ageTalk())
	if err != nil {
		return output.View{}, err
	}
	id, err := c.vault.AddAgeSlot(ctx, recipient, with, sealed)
	return shownIf(err, addedView(id, "the age recipient "+agekey.Hint(recipient)))
}

// recipientIn is the one recipient in a file, such as a public SSH key.
func (c *call) recipientIn(ctx context.Context, name string) (string, error) {
	file, err := c.secretFile(ctx, name, "recipient file") // it may be the wrong half
	if err != nil {
		return "", err
	}
	defer file.Destroy()
	var found []string
	for line := range bytes.Lines(file.Reveal()) {
		if line = bytes.TrimSpace(line); len(line) > 0 && line[0] != '#' {
			found = append(found, string(line))
		}
	}
	// An identity has several lines: its own refusal says more than their number.
	if len(found) == 0 || len(found) > 1 && !strings.HasPrefix(found[0], "-----BEGIN ") {
		return "", usagef("%s holds %d recipients, not one; nothing changed", name, len(found)).WithHint("add them one by one")
	}
	return found[0], nil
}
