package remote

import (
	"errors"
	"net"
)

// UnknownName returns the host name behind an error that no name server knows; ""
// when that is not what went wrong.
func UnknownName(err error) string {
	if e, ok := errors.AsType[*net.DNSError](err); ok && e.IsNotFound {
		return e.Name
	}
	return ""
}
