package seal

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"keyturn/pkg/secret"
)

// Kinds of slots that open with a secret as strong as a key, which therefore
// needs no stretching: what is in a key file, and a recovery code.
const (
	KindKeyFile  = "keyfile"
	KindRecovery = "recovery"
)

// MinKeyFile is the least number of bytes a key file may hold, or the secret of
// a slot that has one of its own.
const MinKeyFile = 32

const useSecretSlot = "keyturn vault 1: secret slot" //nolint:gosec // a label

// A secretSlot wraps the vault key under a key derived from the secret by HKDF.
type secretSlot struct {
	Salt []byte `json:"salt"`
	Key  []byte `json:"key"` // nonce, wrapped key and tag
}

type secretSlotJSON struct {
	Kind string `json:"kind"`
	secretSlot
}

func isSecretKind(kind string) bool {
	return kind == KindKeyFile || kind == KindRecovery || kind == KindAge || kind == KindKeyring
}

// derive makes the wrapping key; ErrParams for a secret that is none.
func (s secretSlot) derive(kind, vaultID string, from secret.Value) (secret.Value, error) {
	least := MinKeyFile
	if kind == KindRecovery {
		least = RecoverySize
	}
	if from.Len() < least || len(s.Salt) < saltSize || len(s.Salt) > maxSalt {
		return secret.Value{}, fmt.Errorf("%w: a %s of %d bytes, not %d or more", ErrParams, kind, from.Len(), least)
	}
	return Derive(from, s.Salt, string(AD(useSecretSlot, kind, vaultID))), nil
}

func newSecretSlot(random io.Reader, kind, vaultID string, key, from secret.Value) (Slot, error) {
	s := secretSlot{Salt: make([]byte, saltSize)}
	if _, err := io.ReadFull(random, s.Salt); err != nil {
		return Slot{}, fmt.Errorf("draw a salt: %w", err)
	}
	wrap, err := s.derive(kind, vaultID, from)
	if err != nil {
		return Slot{}, err
	}
	defer wrap.Destroy()
	s.Key, err = wrapKey(random, wrap, key, AD(useSecretSlot, kind, vaultID, string(s.Salt)))
	return Slot{Kind: kind, secret: s}, err
}

// open unwraps the vault key; ErrTampered for another secret.
func (s secretSlot) open(kind, vaultID string, from secret.Value) (secret.Value, error) {
	wrap, err := s.derive(kind, vaultID, from)
	if err != nil {
		return secret.Value{}, err
	}
	defer wrap.Destroy()
	return unwrapKey(wrap, s.Key, AD(useSecretSlot, kind, vaultID, string(s.Salt)))
}

// ID names a slot: it changes whenever the slot does.
func (s Slot) ID() string {
	text, err := json.Marshal(s)
	if err != nil {
		return ""
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:4])
}

// Costs describes how a slot stretches what opens it; "" when it does not.
func (s Slot) Costs() string {
	if s.Kind != KindPassphrase {
		return ""
	}
	return fmt.Sprintf("%s, %d MiB, %d passes, %d lanes", s.KDF, s.Memory/1024, s.Time, s.Threads)
}

// Open tries the slots of a kind in turn and returns the vault key, which the
// caller owns, and the ID of the slot. ErrKey when none opens, ErrParams for a
// slot out of range, ErrMAC when one opens but the header is not as it was written.
func (h Header) Open(kind string, with secret.Value) (key secret.Value, slot string, err error) {
	return h.openFirst(kind, func(s Slot) (secret.Value, error) { return s.open(h.Vault, with) })
}

// openFirst returns what the first slot of a kind that can be unwrapped holds,
// once it proved to be the key.
func (h Header) openFirst(kind string, unwrap func(Slot) (secret.Value, error)) (key secret.Value, slot string, err error) {
	tried, failure := 0, ErrKey
	for _, s := range h.Slots {
		if s.Kind != kind {
			continue
		}
		if tried++; kind == KindPassphrase && tried > maxPhrases {
			return secret.Value{}, "", fmt.Errorf("%w: more than %d passphrase slots", ErrFormat, maxPhrases)
		}
		key, err := unwrap(s)
		switch {
		case errors.Is(err, ErrTampered), errors.Is(err, ErrKey):
			continue
		case errors.Is(err, ErrParams): // another slot may still open
			failure = err
			continue
		case err != nil:
			return secret.Value{}, "", err
		}
		if err := h.Verify(key); err != nil {
			key.Destroy()
			return secret.Value{}, "", err
		}
		return key, s.ID(), nil
	}
	return secret.Value{}, "", failure
}

// AddSecret adds a slot of KindKeyFile, KindRecovery or KindKeyring and returns its ID.
// ErrParams when the secret is too short, or there is no room for a slot.
func (h *Header) AddSecret(random io.Reader, kind string, key, from secret.Value) (string, error) {
	if kind == KindAge { // it would lack its age file
		return "", fmt.Errorf("%w: a bare %s slot", ErrParams, kind)
	}
	return h.addSecret(random, kind, key, from)
}

func (h *Header) addSecret(random io.Reader, kind string, key, from secret.Value) (string, error) {
	if !isSecretKind(kind) || len(h.Slots) >= maxSlots {
		return "", fmt.Errorf("%w: no room for a %s slot among %d", ErrParams, kind, len(h.Slots))
	}
	s, err := newSecretSlot(random, kind, h.Vault, key, from)
	if err != nil {
		return "", err
	}
	h.Slots = append(h.Slots, s)
	return s.ID(), nil
}
