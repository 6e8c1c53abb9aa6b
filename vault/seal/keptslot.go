package seal

import (
	"fmt"
	"io"

	"keyturn/pkg/secret"
)

// Kinds of slots whose secret is drawn for them and kept where people do not see
// it: encrypted to an age recipient inside the slot, or in the keyring of an
// operating system.
const (
	KindAge     = "age"
	KindKeyring = "keyring"
)

// Most bytes of an age slot's parts. A post-quantum recipient has about 2000
// characters, and what is encrypted to it about 1800 bytes.
const (
	MaxSealed    = 8 * 1024 // the age file
	MaxRecipient = 4 * 1024
)

const useRecipient = "keyturn vault 1: slot recipient"

// An ageSlot is what an age slot has beside its salt and wrapped key.
type ageSlot struct {
	Sealed    []byte `json:"age"`       // an age file that holds the slot's secret
	Recipient []byte `json:"recipient"` // to whom, sealed: who it is is nobody's business
}

type ageSlotJSON struct {
	Kind string `json:"kind"`
	secretSlot
	ageSlot
}

// Sealed returns the age file in an age slot, nil where there is none or it is
// larger than [MaxSealed]. The bytes are the slot's own.
func (s Slot) Sealed() []byte {
	if len(s.age.Sealed) > MaxSealed {
		return nil
	}
	return s.age.Sealed
}

// AddAge adds a slot that opens with a secret, which sealed holds encrypted to
// the recipient, and returns its ID. ErrParams when there is no room for it.
func (h *Header) AddAge(random io.Reader, key secret.Value, recipient string, with secret.Value, sealed []byte) (string, error) {
	if len(recipient) > MaxRecipient || len(sealed) > MaxSealed {
		return "", fmt.Errorf("%w: an age recipient of %d bytes, %d of them sealed", ErrParams, len(recipient), len(sealed))
	}
	if _, err := h.addSecret(random, KindAge, key, with); err != nil {
		return "", err
	}
	s := &h.Slots[len(h.Slots)-1]
	named, err := h.sealRecipient(random, key, recipient, s.secret.Salt)
	if err != nil {
		h.Slots = h.Slots[:len(h.Slots)-1]
		return "", err
	}
	s.age = ageSlot{Sealed: sealed, Recipient: named}
	return s.ID(), nil
}

func (h Header) sealRecipient(random io.Reader, key secret.Value, recipient string, salt []byte) ([]byte, error) {
	sub, err := Subkey(key, h.Vault, useRecipient)
	if err != nil {
		return nil, err
	}
	defer sub.Destroy()
	return wrapBytes(random, sub, []byte(recipient), AD(useRecipient, h.Vault, string(salt)))
}

// Recipient returns to whom an age slot is encrypted, "" for other kinds.
func (h Header) Recipient(s Slot, key secret.Value) (string, error) {
	if s.Kind != KindAge {
		return "", nil
	}
	sub, err := Subkey(key, h.Vault, useRecipient)
	if err != nil {
		return "", err
	}
	defer sub.Destroy()
	text, err := unwrapBytes(sub, s.age.Recipient, AD(useRecipient, h.Vault, string(s.secret.Salt)))
	return string(text), err
}

// OpenEach is [Header.Open] for a kind whose slots have secrets of their own:
// with returns the one of a slot, which is destroyed here, or an empty one for a
// slot that is not for the caller. A failure of with ends the attempt.
func (h Header) OpenEach(kind string, with func(Slot) (secret.Value, error)) (key secret.Value, slot string, err error) {
	return h.openFirst(kind, func(s Slot) (secret.Value, error) { return s.openWith(h.Vault, with) })
}

// openWith unwraps the vault key with the slot's own secret; ErrKey when there is none.
func (s Slot) openWith(vaultID string, with func(Slot) (secret.Value, error)) (secret.Value, error) {
	from, err := with(s)
	if err != nil {
		return secret.Value{}, err
	}
	defer from.Destroy()
	if from.IsZero() {
		return secret.Value{}, ErrKey
	}
	return s.open(vaultID, from)
}
