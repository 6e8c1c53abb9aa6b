package remote_test

import (
	"errors"
	"fmt"
	"testing"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

func TestAFailureKeepsItsKindThroughWrapping(t *testing.T) {
	t.Parallel()
	err := fmt.Errorf("look: %w", &remote.Error{Kind: pam.ErrUntrusted, Address: "h:1", Op: "connect", Err: errors.New("who")})
	if !errors.Is(err, pam.ErrUntrusted) || errors.Is(err, pam.ErrUnreachable) || pam.KindOf(err) != pam.ErrUntrusted {
		t.Errorf("kind of %v is %s", err, pam.KindOf(err))
	}
}
