package rotator

import (
	"context"

	"keyturn/pkg/pam"
	"keyturn/pkg/remote"
)

// PingLinux logs in to a Linux machine as its admin, finds the way to root and
// says which it is, in a few words: its own log-in, sudo, or sudo with its
// password. It changes nothing; a wrong sudo password costs one attempt.
func PingLinux(ctx context.Context, d remote.Dialer, admin remote.Target) (root string, err error) {
	h, err := openLinux(ctx, d, Authority{Kind: pam.AuthorityLinux, Admin: admin})
	if err != nil {
		return "", err
	}
	defer func() { _ = h.Close() }()
	switch h.prefix {
	case linuxSudo:
		return "sudo without a password", nil
	case linuxSudoAsks:
		return "sudo with its own password", nil
	default:
		return "its own log-in", nil
	}
}
