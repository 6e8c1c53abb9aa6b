package seal

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"keyturn/pkg/secret"
)

// Version is the vault format this program writes.
const Version = 1

// MaxHeader is the most bytes a header file may have.
const MaxHeader = 64 * 1024

const (
	magic      = "keyturn-vault "
	macPrefix  = "hmac-sha256 "
	maxSlots   = 32
	maxPhrases = 8 // passphrase slots: each costs a full key derivation
)

// A Header is the public part of a vault: who may open it and how. Its file is
// three lines: magic and version, one JSON object, and a MAC over both under a
// key derived from the vault key.
type Header struct {
	Vault string `json:"vault"` // the vault's UID
	Epoch int64  `json:"epoch"` // grows when the vault key is replaced
	Slots []Slot `json:"slots"`

	signed []byte // the first two lines, as read
	mac    []byte
}

// Kinds returns the kinds of the slots, in order.
func (h Header) Kinds() []string {
	kinds := make([]string, len(h.Slots))
	for i, s := range h.Slots {
		kinds[i] = s.Kind
	}
	return kinds
}

// ReplacePassphrase gives the slot that old opens the passphrase next. ErrKey
// when old opens none. With zero costs the slot keeps its own, and has the default
// ones at least.
func (h *Header) ReplacePassphrase(random io.Reader, key, old, next secret.Value, p KDFParams) error {
	for i, s := range h.Slots {
		if s.Kind != KindPassphrase {
			continue
		}
		opened, err := s.open(h.Vault, old)
		opened.Destroy()
		if errors.Is(err, ErrTampered) || errors.Is(err, ErrParams) {
			continue
		}
		if err != nil {
			return err
		}
		if p == (KDFParams{}) {
			p = s.params()
			p.Memory, p.Time = max(p.Memory, DefaultKDF().Memory), max(p.Time, DefaultKDF().Time)
		}
		made, err := newPassphraseSlot(random, h.Vault, key, next, p)
		if err != nil {
			return err
		}
		h.Slots[i] = made
		return nil
	}
	return ErrKey
}

func (h Header) count(kind string) int {
	n := 0
	for _, s := range h.Slots {
		if s.Kind == kind {
			n++
		}
	}
	return n
}

// Encode returns the header file, authenticated under the vault key. ErrParams
// for one that would be too large to be read again.
func (h Header) Encode(key secret.Value) ([]byte, error) {
	signed, err := h.lines()
	if err != nil {
		return nil, err
	}
	mac, err := headerMAC(key, h.Vault, signed)
	if err != nil {
		return nil, err
	}
	file := appendMAC(signed, mac)
	if len(file) > MaxHeader {
		return nil, fmt.Errorf("%w: there is no room for another key slot", ErrParams)
	}
	return file, nil
}

func (h Header) lines() ([]byte, error) {
	body, err := json.Marshal(h)
	if err != nil {
		return nil, fmt.Errorf("encode the header: %w", err)
	}
	return fmt.Appendf(nil, "%s%d\n%s\n", magic, Version, body), nil
}

func appendMAC(signed, mac []byte) []byte {
	return append(bytes.Clone(signed), macPrefix+base64.RawStdEncoding.EncodeToString(mac)+"\n"...)
}

func headerMAC(key secret.Value, vaultID string, signed []byte) ([]byte, error) {
	sub, err := Subkey(key, vaultID, useHeader)
	if err != nil {
		return nil, err
	}
	defer sub.Destroy()
	mac := hmac.New(sha256.New, sub.Reveal())
	mac.Write(signed)
	return mac.Sum(nil), nil
}

// Decode reads a header file. Exactly one file decodes to a given header, so
// that nothing in it can be changed without notice. Nothing is trusted before
// Verify: Decode needs no key.
func Decode(file []byte) (Header, error) {
	var h Header
	if len(file) > MaxHeader {
		return h, fmt.Errorf("%w: more than %d bytes", ErrFormat, MaxHeader)
	}
	lines := strings.Split(string(file), "\n")
	version, ok := strings.CutPrefix(lines[0], magic)
	n, err := strconv.Atoi(version)
	if !ok || err != nil || n < 1 {
		return h, fmt.Errorf("%w: no magic", ErrFormat)
	}
	if n > Version {
		return h, fmt.Errorf("%w: format %d", ErrNewer, n)
	}
	if len(lines) != 4 || lines[3] != "" {
		return h, fmt.Errorf("%w: not three lines", ErrFormat)
	}
	if err := json.Unmarshal([]byte(lines[1]), &h); err != nil {
		return Header{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	h.mac, err = base64.RawStdEncoding.DecodeString(strings.TrimPrefix(lines[2], macPrefix))
	if err != nil || len(h.mac) != sha256.Size {
		return Header{}, fmt.Errorf("%w: no MAC", ErrFormat)
	}
	return h, h.canonical(file)
}

// canonical refuses a file that is not what Encode would write.
func (h *Header) canonical(file []byte) error {
	if h.Vault == "" || h.Epoch < 1 || len(h.Slots) == 0 || len(h.Slots) > maxSlots {
		return fmt.Errorf("%w: a field is missing or out of range", ErrFormat)
	}
	signed, err := h.lines()
	if err != nil {
		return err
	}
	if !bytes.Equal(appendMAC(signed, h.mac), file) {
		return fmt.Errorf("%w: not in canonical form", ErrFormat)
	}
	h.signed = signed
	return nil
}

// Verify checks a decoded header's MAC with the vault key; ErrMAC.
func (h Header) Verify(key secret.Value) error {
	want, err := headerMAC(key, h.Vault, h.signed)
	if err != nil {
		return err
	}
	if !hmac.Equal(want, h.mac) {
		return ErrMAC
	}
	return nil
}

// Unlock is [Header.Open] with a passphrase.
func (h Header) Unlock(passphrase secret.Value) (secret.Value, error) {
	key, _, err := h.Open(KindPassphrase, passphrase)
	return key, err
}

// AddPassphrase adds a slot that opens with passphrase.
func (h *Header) AddPassphrase(random io.Reader, key, passphrase secret.Value, p KDFParams) error {
	if n := h.count(KindPassphrase); n >= maxPhrases || len(h.Slots) >= maxSlots {
		return fmt.Errorf("%w: there are %d passphrase slots already", ErrParams, n)
	}
	s, err := newPassphraseSlot(random, h.Vault, key, passphrase, p)
	if err != nil {
		return err
	}
	h.Slots = append(h.Slots, s)
	return nil
}
