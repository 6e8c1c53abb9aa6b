package commands

import (
	"context"
	"errors"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
	"keyturn/vault"
	"keyturn/vault/keyring"
)

// A Keyring keeps secrets by name for the user of this computer. Get and Delete
// return [keyring.ErrNone] for a name it does not have. No call takes longer than
// [keyring.Timeout].
type Keyring interface {
	Get(ctx context.Context, name string) (secret.Value, error)
	Set(ctx context.Context, name string, value secret.Value) error
	Delete(ctx context.Context, name string) error
}

// unlockWithKeyring opens the vault with what this computer's keyring keeps for
// it. A vault without such slots does not ask the keyring. found is false when
// there is nothing to open it with; err is then why, where a person should know.
func (d *Deps) unlockWithKeyring(ctx context.Context, try Try) (key secret.Value, found bool, err error) {
	if d.Keyring == nil {
		return secret.Value{}, false, nil
	}
	var failed error
	key, err = try(vault.WithKeyring(func(ctx context.Context, entry string) (secret.Value, error) {
		with, err := d.Keyring.Get(ctx, entry)
		if errors.Is(err, keyring.ErrNone) { // it is in the keyring of another computer
			return secret.Value{}, nil
		}
		failed = err
		return with, err
	}))
	switch {
	case err == nil:
		return key, true, nil
	case ctx.Err() != nil:
		return key, true, ctx.Err()
	case failed != nil:
		return key, false, failed
	case errors.Is(err, pam.ErrNotFound):
		return key, false, nil
	}
	return key, true, err
}
