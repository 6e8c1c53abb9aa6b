package seal

import (
	"fmt"

	"golang.org/x/crypto/argon2"

	"keyturn/pkg/secret"
)

// KDFParams are the costs of argon2id.
type KDFParams struct {
	Memory  uint32 // KiB
	Time    uint32 // passes
	Threads uint8
}

// DefaultKDF returns the costs of a new passphrase slot: the second choice of
// RFC 9106 with one lane, because more lanes gain nothing on small machines.
func DefaultKDF() KDFParams { return KDFParams{Memory: 64 * 1024, Time: 3, Threads: 1} }

// What a header may ask for. The floors stop a downgrade, the caps a bomb.
const (
	minMemory, maxMemory = 19 * 1024, 1024 * 1024
	minTime, maxTime     = 2, 16
	maxThreads           = 16
)

// Check returns ErrParams for costs below the floors or above the caps. It is
// called before anything is allocated for them.
func (p KDFParams) Check() error {
	switch {
	case p.Memory < minMemory || p.Memory > maxMemory:
		return fmt.Errorf("%w: %d KiB of memory, not %d to %d", ErrParams, p.Memory, minMemory, maxMemory)
	case p.Time < minTime || p.Time > maxTime:
		return fmt.Errorf("%w: %d passes, not %d to %d", ErrParams, p.Time, minTime, maxTime)
	case p.Threads < 1 || p.Threads > maxThreads:
		return fmt.Errorf("%w: %d lanes, not 1 to %d", ErrParams, p.Threads, maxThreads)
	}
	return nil
}

// derive stretches a passphrase. The caller destroys the result.
func (p KDFParams) derive(passphrase secret.Value, salt []byte) (secret.Value, error) {
	if err := p.Check(); err != nil {
		return secret.Value{}, err
	}
	return secret.New(argon2.IDKey(passphrase.Reveal(), salt, p.Time, p.Memory, p.Threads, KeySize)), nil
}
