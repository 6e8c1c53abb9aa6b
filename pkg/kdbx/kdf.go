package kdbx

import (
	"bytes"
	"crypto/aes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tobischo/argon2"
	"github.com/tobischo/gokeepasslib/v3"
)

// What a file may ask for before its password is known to be right. KeePass and
// KeePassXC let people choose what takes a second or, at most, five: tens of
// millions of rounds of AES, or some gigabytes of memory passed over by Argon2.
const (
	maxRounds = 200e6    // of AES-KDF: some seconds
	maxMemory = 1 << 30  // of Argon2, in bytes
	maxPasses = 10_000   // of Argon2 over its memory
	maxPassed = 12 << 30 // memory times passes, in bytes: about twelve seconds of one processor
	maxLanes  = 64       // of Argon2
	minMemory = 8 * 1024 // of one lane of Argon2, in bytes
	maxSalt   = 1024     // in bytes
	minSalt   = 8        // in bytes
	argon13   = 0x13     // the only version of Argon2 in use
	keySize   = 32       // of what is derived, in bytes
)

// kdfArgon2id is not among the library's names.
var kdfArgon2id = []byte{0x9e, 0x29, 0x8b, 0x19, 0x56, 0xdb, 0x47, 0x73, 0xb2, 0x3d, 0xfc, 0x3e, 0xc6, 0xf0, 0xa1, 0xe6}

// A kdf is how a file wants its key derived.
type kdf struct {
	id     []byte
	salt   []byte
	rounds uint64 // of AES

	memory, passes, lanes, version uint64 // of Argon2; memory in bytes
}

// The types of values in a dictionary of the header, by their sizes.
const dictionaryVersion = 1 // the high byte; another is another format

// readKDF reads the dictionary of KDBX 4: a version, then type, name and value
// in turns, ended by a zero.
func readKDF(data []byte) (k kdf, err error) {
	if len(data) < 2 || data[1] != dictionaryVersion {
		return k, errDamaged
	}
	for data = data[2:]; ; {
		if len(data) == 0 {
			return k, errShort
		}
		if data[0] == 0 {
			return k, nil
		}
		var name, value []byte
		if name, data, err = sized(data[1:]); err != nil {
			return k, err
		}
		if value, data, err = sized(data); err != nil {
			return k, err
		}
		if err := k.set(string(name), value); err != nil {
			return k, err
		}
	}
}

// sized cuts off what has its length before it.
func sized(data []byte) (value, rest []byte, err error) {
	if len(data) < 4 {
		return nil, nil, errShort
	}
	size := uint64(binary.LittleEndian.Uint32(data))
	if data = data[4:]; size > uint64(len(data)) {
		return nil, nil, errShort
	}
	return data[:size], data[size:], nil
}

func (k *kdf) set(name string, value []byte) (err error) {
	switch name {
	case "$UUID":
		k.id = value
	case "S":
		k.salt = value
	case "R":
		k.rounds, err = number(value)
	case "M":
		k.memory, err = number(value)
	case "I":
		k.passes, err = number(value)
	case "P":
		k.lanes, err = number(value)
	case "V":
		k.version, err = number(value)
	default:
		err = fmt.Errorf("its key derivation has a parameter %q that is not known", name)
	}
	return err
}

// check refuses what is not known and what would cost too much.
func (k *kdf) check() error {
	switch {
	case bytes.Equal(k.id, gokeepasslib.KdfAES4), bytes.Equal(k.id, gokeepasslib.KdfAES3):
		return k.checkAES()
	case bytes.Equal(k.id, gokeepasslib.KdfArgon2), bytes.Equal(k.id, kdfArgon2id):
		return k.checkArgon2()
	}
	return errors.New("its key derivation is not known")
}

func (k *kdf) checkAES() error {
	switch {
	case len(k.salt) != seedSize:
		return errDamaged
	case k.rounds > maxRounds:
		return fmt.Errorf("%w: %d rounds of AES to derive its key; at most %d are done", ErrCost, k.rounds, uint64(maxRounds))
	}
	return nil
}

func (k *kdf) checkArgon2() error {
	switch {
	case k.version != argon13:
		return errors.New("its version of Argon2 is not known")
	case k.memory > maxMemory:
		return fmt.Errorf("%w: %d MiB of memory to derive its key; at most %d MiB are given", ErrCost, k.memory>>20, maxMemory>>20)
	case k.passes > maxPasses || k.passes*max(k.memory, minMemory) > maxPassed:
		return fmt.Errorf("%w: %d passes over %d MiB to derive its key; at most %d, and %d MiB in all, are done", ErrCost,
			k.passes, k.memory>>20, maxPasses, uint64(maxPassed)>>20)
	case k.lanes > maxLanes:
		return fmt.Errorf("%w: %d threads to derive its key; at most %d are started", ErrCost, k.lanes, maxLanes)
	case k.lanes == 0 || k.memory < k.lanes*minMemory || k.passes == 0:
		return errDamaged
	case len(k.salt) < minSalt || len(k.salt) > maxSalt:
		return errDamaged
	}
	return nil
}

// derive makes the file's key of a composite one. The parameters were checked.
func (k *kdf) derive(composite []byte) ([]byte, error) {
	passes, memory, lanes := uint32(k.passes), uint32(k.memory>>10), uint8(k.lanes) //nolint:gosec // check bounds them
	switch {
	case bytes.Equal(k.id, kdfArgon2id):
		return argon2.IDKey(composite, k.salt, passes, memory, lanes, keySize), nil
	case bytes.Equal(k.id, gokeepasslib.KdfArgon2):
		return argon2.DKey(composite, k.salt, passes, memory, lanes, keySize), nil
	}
	block, err := aes.NewCipher(k.salt)
	if err != nil {
		return nil, err
	}
	key := bytes.Clone(composite)
	for range k.rounds {
		block.Encrypt(key, key)
		block.Encrypt(key[aes.BlockSize:], key[aes.BlockSize:])
	}
	sum := sha256.Sum256(key)
	return sum[:], nil
}

// composite hashes what opens the file into one key.
func (k Key) composite() ([]byte, error) {
	if k.Password.IsZero() && k.KeyFile.IsZero() {
		return nil, fmt.Errorf("%w: neither was given", ErrKey)
	}
	h := sha256.New()
	if !k.Password.IsZero() {
		sum := sha256.Sum256(k.Password.Reveal())
		h.Write(sum[:])
	}
	if !k.KeyFile.IsZero() {
		part, err := gokeepasslib.ParseKeyData(k.KeyFile.Reveal())
		if err != nil {
			return nil, fmt.Errorf("%w: the key file cannot be read: %w", ErrKey, err)
		}
		h.Write(part)
	}
	return h.Sum(nil), nil
}
