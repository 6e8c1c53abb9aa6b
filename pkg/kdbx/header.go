package kdbx

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tobischo/gokeepasslib/v3"
)

// The numbers of the header's fields.
const (
	fieldEnd             = 0
	fieldCipher          = 2
	fieldCompression     = 3
	fieldMasterSeed      = 4
	fieldTransformSeed   = 5
	fieldTransformRounds = 6
	fieldIV              = 7
	fieldStreamKey       = 8
	fieldStartBytes      = 9
	fieldStream          = 10
	fieldKDF             = 11
)

const (
	signatureSize = 12 // two magic numbers, and the version
	seedSize      = 32
	startSize     = 32
)

var (
	errShort   = errors.New("the file is cut off")
	errDamaged = errors.New("the file is damaged")

	magic     = []byte{0x03, 0xd9, 0xa2, 0x9a, 0x67, 0xfb, 0x4b, 0xb5}
	magicKDB1 = []byte{0x03, 0xd9, 0xa2, 0x9a, 0x65, 0xfb, 0x4b, 0xb5}
)

// A header is what a file says about itself before anything is decrypted.
type header struct {
	version    Version
	raw        []byte // as it is in the file
	cipher     []byte
	zipped     bool
	masterSeed []byte
	iv         []byte
	kdf        kdf

	// Of version 3.1.
	startBytes []byte

	// The cipher of protected values: of 3.1 here, of 4 in the inner header.
	stream    uint32
	streamKey []byte
}

// readHeader reads the header and returns what follows it.
func readHeader(data []byte) (h header, rest []byte, err error) {
	switch {
	case bytes.HasPrefix(data, magicKDB1):
		return h, nil, errors.New("it is a database of KeePass 1 (.kdb); save it as KDBX first")
	case len(data) < signatureSize || !bytes.HasPrefix(data, magic):
		return h, nil, errors.New("it is no KeePass database")
	}
	minor, major := binary.LittleEndian.Uint16(data[8:]), binary.LittleEndian.Uint16(data[10:])
	h.version = Version(major)
	if h.version != Version4 && (h.version != Version31 || minor != 1) {
		return h, nil, fmt.Errorf("it has version %d.%d of the format, and only 3.1 and 4 can be read", major, minor)
	}
	if h.version == Version31 {
		h.kdf = kdf{id: gokeepasslib.KdfAES4}
	}
	rest = data[signatureSize:]
	for {
		id, value, more, err := nextField(rest, h.version)
		if err != nil {
			return h, nil, err
		}
		rest = more
		if id == fieldEnd {
			h.raw = data[:len(data)-len(rest)]
			return h, rest, h.check()
		}
		if err := h.set(id, value); err != nil {
			return h, nil, err
		}
	}
}

// nextField cuts one field off a header. Its length is 16 bits wide in 3.1.
func nextField(data []byte, v Version) (id byte, value, rest []byte, err error) {
	wide := 2
	if v == Version4 {
		wide = 4
	}
	if len(data) < 1+wide {
		return 0, nil, nil, errShort
	}
	size := uint64(binary.LittleEndian.Uint16(data[1:]))
	if v == Version4 {
		size = uint64(binary.LittleEndian.Uint32(data[1:]))
	}
	id, data = data[0], data[1+wide:]
	if size > uint64(len(data)) {
		return 0, nil, nil, errShort
	}
	return id, data[:size], data[size:], nil
}

func (h *header) set(id byte, value []byte) (err error) {
	switch id {
	case fieldCipher:
		h.cipher = value
	case fieldCompression:
		h.zipped, err = compression(value)
	case fieldMasterSeed:
		h.masterSeed = value
	case fieldTransformSeed:
		h.kdf.salt = value
	case fieldTransformRounds:
		h.kdf.rounds, err = number(value)
	case fieldIV:
		h.iv = value
	case fieldStreamKey:
		h.streamKey = value
	case fieldStartBytes:
		h.startBytes = value
	case fieldStream:
		h.stream, err = streamID(value)
	case fieldKDF:
		h.kdf, err = readKDF(value)
	}
	return err
}

func compression(value []byte) (zipped bool, err error) {
	n, err := number(value)
	if err == nil && n > 1 {
		err = fmt.Errorf("its compression %d is not known", n)
	}
	return n == 1, err
}

// streamID reads the number of a cipher; one that is too large is no cipher's.
func streamID(value []byte) (uint32, error) {
	n, err := number(value)
	return uint32(min(n, 1<<31)), err
}

// check refuses what no cipher takes, and what would cost too much.
func (h *header) check() error {
	if len(h.masterSeed) != seedSize || h.version == Version31 && len(h.startBytes) != startSize {
		return errDamaged
	}
	want := map[string]int{
		string(gokeepasslib.CipherAES): 16, string(gokeepasslib.CipherTwoFish): 16, string(gokeepasslib.CipherChaCha20): 12,
	}
	size, known := want[string(h.cipher)]
	switch {
	case !known:
		return errors.New("its cipher is not known")
	case len(h.iv) != size:
		return errDamaged
	}
	return h.kdf.check()
}

// number reads an integer of four or eight bytes.
func number(b []byte) (uint64, error) {
	switch len(b) {
	case 4:
		return uint64(binary.LittleEndian.Uint32(b)), nil
	case 8:
		return binary.LittleEndian.Uint64(b), nil
	}
	return 0, errDamaged
}
