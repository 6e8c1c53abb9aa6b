package seal

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"golang.org/x/crypto/chacha20poly1305"

	"keyturn/pkg/secret"
)

// KindPassphrase is the kind of a slot that a passphrase opens.
const KindPassphrase = "passphrase"

const (
	kdfArgon2id = "argon2id"
	saltSize    = 16
	maxSalt     = 64
)

// A Slot wraps the vault key for one way in. Slots of a kind this program does
// not know are kept as they came.
type Slot struct {
	Kind string
	raw  json.RawMessage // an unknown kind, whole
	passphraseSlot
	secret secretSlot // of the kinds that need no stretching
	age    ageSlot    // of KindAge
}

type passphraseSlot struct {
	KDF     string `json:"kdf"`
	Memory  uint32 `json:"memory"`
	Time    uint32 `json:"time"`
	Threads uint8  `json:"threads"`
	Salt    []byte `json:"salt"`
	Key     []byte `json:"key"` // nonce, wrapped key and tag
}

type passphraseSlotJSON struct {
	Kind string `json:"kind"`
	passphraseSlot
}

// MarshalJSON implements [json.Marshaler].
func (s Slot) MarshalJSON() ([]byte, error) {
	switch {
	case s.Kind == KindAge:
		return json.Marshal(ageSlotJSON{s.Kind, s.secret, s.age})
	case isSecretKind(s.Kind):
		return json.Marshal(secretSlotJSON{s.Kind, s.secret})
	case s.Kind != KindPassphrase:
		return s.raw, nil
	}
	return json.Marshal(passphraseSlotJSON{s.Kind, s.passphraseSlot})
}

// UnmarshalJSON implements [json.Unmarshaler].
func (s *Slot) UnmarshalJSON(b []byte) error {
	var head struct {
		Kind string `json:"kind"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return fmt.Errorf("key slot: %w", err)
	}
	if head.Kind == "" {
		return fmt.Errorf("key slot: %w: no kind", ErrFormat)
	}
	*s = Slot{Kind: head.Kind}
	if isSecretKind(s.Kind) {
		var slot ageSlotJSON // with nothing in the fields that its kind does not have
		if err := json.Unmarshal(b, &slot); err != nil {
			return fmt.Errorf("%s slot: %w", s.Kind, err)
		}
		s.secret, s.age = slot.secretSlot, slot.ageSlot
		return nil
	}
	if s.Kind != KindPassphrase {
		s.raw = bytes.Clone(b)
		return nil
	}
	var slot passphraseSlotJSON
	err := json.Unmarshal(b, &slot)
	if e, ok := errors.AsType[*json.UnmarshalTypeError](err); ok { // as large as no 32 bits hold, for one
		err = fmt.Errorf("%w: a %s where %s belongs", ErrParams, e.Value, e.Field[strings.LastIndexByte(e.Field, '.')+1:])
	}
	if err != nil {
		return fmt.Errorf("passphrase slot: %w", err)
	}
	s.passphraseSlot = slot.passphraseSlot
	return nil
}

func (s passphraseSlot) params() KDFParams {
	return KDFParams{Memory: s.Memory, Time: s.Time, Threads: s.Threads}
}

// ad binds the wrapped key to its vault and to the costs it was made with.
func (s passphraseSlot) ad(vaultID string) []byte {
	return AD(useSlot, vaultID, s.KDF, strconv.FormatUint(uint64(s.Memory), 10),
		strconv.FormatUint(uint64(s.Time), 10), strconv.Itoa(int(s.Threads)), string(s.Salt))
}

func newPassphraseSlot(random io.Reader, vaultID string, key, passphrase secret.Value, p KDFParams) (Slot, error) {
	s := passphraseSlot{KDF: kdfArgon2id, Memory: p.Memory, Time: p.Time, Threads: p.Threads, Salt: make([]byte, saltSize)}
	if _, err := io.ReadFull(random, s.Salt); err != nil {
		return Slot{}, fmt.Errorf("draw a salt: %w", err)
	}
	wrap, err := p.derive(passphrase, s.Salt)
	if err != nil {
		return Slot{}, err
	}
	defer wrap.Destroy()
	s.Key, err = wrapKey(random, wrap, key, s.ad(vaultID))
	return Slot{Kind: KindPassphrase, passphraseSlot: s}, err
}

// open unwraps the vault key with what opens a slot of its kind.
func (s Slot) open(vaultID string, with secret.Value) (secret.Value, error) {
	if isSecretKind(s.Kind) {
		return s.secret.open(s.Kind, vaultID, with)
	}
	return s.passphraseSlot.open(vaultID, with)
}

// open unwraps the vault key; ErrTampered for a wrong passphrase, ErrParams
// before anything is allocated for costs out of range.
func (s passphraseSlot) open(vaultID string, passphrase secret.Value) (secret.Value, error) {
	if s.KDF != kdfArgon2id || len(s.Salt) < saltSize || len(s.Salt) > maxSalt {
		return secret.Value{}, fmt.Errorf("%w: key derivation %.20q", ErrParams, s.KDF)
	}
	wrap, err := s.params().derive(passphrase, s.Salt)
	if err != nil {
		return secret.Value{}, err
	}
	defer wrap.Destroy()
	return unwrapKey(wrap, s.Key, s.ad(vaultID))
}

// wrapKey seals the vault key with the key that a slot derives.
func wrapKey(random io.Reader, wrap, key secret.Value, ad []byte) ([]byte, error) {
	return wrapBytes(random, wrap, key.Reveal(), ad)
}

func wrapBytes(random io.Reader, wrap secret.Value, plain, ad []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(wrap.Reveal())
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	return sealWith(aead, random, plain, ad)
}

// unwrapKey is the reverse of wrapKey; ErrTampered for another key.
func unwrapKey(wrap secret.Value, sealed, ad []byte) (secret.Value, error) {
	key, err := unwrapBytes(wrap, sealed, ad)
	if err != nil {
		return secret.Value{}, err
	}
	if len(key) != KeySize {
		return secret.Value{}, fmt.Errorf("%w: wrapped key of %d bytes", ErrFormat, len(key))
	}
	return secret.New(key), nil
}

func unwrapBytes(wrap secret.Value, sealed, ad []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(wrap.Reveal())
	if err != nil {
		return nil, fmt.Errorf("make a cipher: %w", err)
	}
	return openWith(aead, sealed, ad)
}
