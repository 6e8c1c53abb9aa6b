package rotator

import (
	"context"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
)

// Unlock clears the lockout of the account, with all that is counted of wrong
// passwords. Whatever sent those may lock it again at once.
func (w *Windows) Unlock(ctx context.Context, a Authority) error {
	answer, err := w.ask(ctx, a, powershell.Request{Op: powershell.OpUnlock})
	line, heard := itemOf(answer, "unlock")
	switch {
	case heard && line.Err != nil:
		return notUnlocked(a, line.Err.Class)
	case err != nil:
		return err
	case heard && (line.Status == string(pam.StatusOK) || line.Status == string(pam.StatusNoop)):
		return nil
	}
	return pam.Errorf(pam.ErrIO, "%s did not say whether it unlocked \"%s\"", at(a), a.Account.Name)
}

func notUnlocked(a Authority, class string) error {
	if class == powershell.ClassAccessDenied {
		return pam.Errorf(pam.ErrPolicy, "%s does not let its admin unlock the account \"%s\"; nothing changed", at(a), a.Account.Name).
			WithHint("log in to the machine with an account that may unlock others, or unlock it by hand")
	}
	kind := powershell.KindOf(class)
	if kind == "" || kind == pam.ErrAuthFailed {
		kind = pam.ErrPolicy
	}
	return pam.Errorf(kind, "%s could not unlock the account \"%s\" (%s); nothing changed", at(a), a.Account.Name, class).
		WithHint("%s", powershell.Explain(class))
}
