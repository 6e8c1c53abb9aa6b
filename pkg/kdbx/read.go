package kdbx

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/tobischo/gokeepasslib/v3"
)

// maxPlain is the most that a file may hold when it is unpacked, in bytes:
// attachments, which are passed over, and the XML, which has a limit of its own.
const maxPlain = 512 << 20

// maxInner is the most that a field of the inner header may hold, in bytes, that
// is no attachment.
const maxInner = 1024

// The numbers of the inner header's fields.
const (
	innerStream    = 1
	innerStreamKey = 2
)

// Inspect says, before anybody is asked for a password, what Read would say of a
// file's header: that it is no database, of another format, or asks for too much.
func Inspect(data []byte) error {
	_, _, err := readHeader(data)
	return err
}

// Read reads a database. The error wraps [ErrKey] when the key does not open it
// and [ErrCost] when it asks for more, or holds more, than any file may. An entry
// with two fields of one name is refused. The caller destroys the database.
func Read(data []byte, key Key) (Database, error) {
	h, rest, err := readHeader(data)
	if err != nil {
		return Database{}, err
	}
	if h.version == Version4 {
		// Before anything is computed: a header that was changed asks for anything.
		if len(rest) < 2*sha256.Size {
			return Database{}, errShort
		}
		if sum := sha256.Sum256(h.raw); !bytes.Equal(sum[:], rest[:sha256.Size]) {
			return Database{}, errDamaged
		}
	}
	composite, err := key.composite()
	if err != nil {
		return Database{}, err
	}
	derived, err := h.kdf.derive(composite)
	clear(composite)
	if err != nil {
		return Database{}, err
	}
	defer clear(derived)
	plain, err := h.open(rest, derived)
	if err != nil {
		return Database{}, err
	}
	defer clear(plain)
	text, err := h.unpack(plain, maxPlain)
	if err != nil {
		return Database{}, err
	}
	if err := h.inner(text); err != nil {
		return Database{}, err
	}
	stream, err := gokeepasslib.NewStreamManager(h.stream, h.streamKey)
	if err != nil {
		return Database{}, errors.New("the cipher of its protected values is not known")
	}
	return readXML(text, stream, &h)
}

// open decrypts and checks what follows the header.
func (h *header) open(rest, derived []byte) (plain []byte, err error) {
	if h.version == Version4 {
		if rest, err = h.blocks4(rest, derived); err != nil {
			return nil, err
		}
	}
	if plain, err = h.decrypt(rest, derived); err != nil {
		return nil, err
	}
	if h.version == Version31 {
		if len(plain) < startSize || !bytes.Equal(plain[:startSize], h.startBytes) {
			return nil, ErrKey
		}
		return blocks31(plain[startSize:])
	}
	return plain, nil
}

func (h *header) decrypt(data, derived []byte) ([]byte, error) {
	sum := sha256.Sum256(append(bytes.Clone(h.masterSeed), derived...))
	c, err := gokeepasslib.NewEncrypterManager(h.cipher, sum[:], h.iv)
	if err != nil {
		return nil, errDamaged
	}
	if bytes.Equal(h.cipher, gokeepasslib.CipherChaCha20) {
		return c.Decrypt(data), nil
	}
	if len(data) == 0 || len(data)%16 != 0 {
		return nil, errShort
	}
	plain := c.Decrypt(data)
	pad := int(plain[len(plain)-1])
	switch {
	case pad > 0 && pad <= 16:
		return plain[:len(plain)-pad], nil
	case h.version == Version4: // the blocks are authentic
		return nil, errDamaged
	}
	return nil, ErrKey
}

// blocks4 checks that header and blocks of KDBX 4 are authentic and returns the
// blocks' content. The header's hash was checked.
func (h *header) blocks4(data, derived []byte) ([]byte, error) {
	seed := append(append(bytes.Clone(h.masterSeed), derived...), 1)
	base := sha512.Sum512(seed)
	clear(seed)
	mac := hmac.New(sha256.New, blockKey(^uint64(0), base[:]))
	mac.Write(h.raw)
	if !hmac.Equal(mac.Sum(nil), data[sha256.Size:2*sha256.Size]) {
		return nil, ErrKey
	}
	var content []byte
	data = data[2*sha256.Size:]
	for i := uint64(0); ; i++ {
		if len(data) < sha256.Size {
			return nil, errShort
		}
		want := data[:sha256.Size]
		block, rest, err := sized(data[sha256.Size:])
		if err != nil {
			return nil, err
		}
		mac := hmac.New(sha256.New, blockKey(i, base[:]))
		mac.Write(binary.LittleEndian.AppendUint64(nil, i))
		mac.Write(data[sha256.Size : sha256.Size+4+len(block)])
		if !hmac.Equal(mac.Sum(nil), want) {
			return nil, errDamaged
		}
		if len(block) == 0 {
			return content, nil
		}
		content, data = append(content, block...), rest
	}
}

func blockKey(i uint64, base []byte) []byte {
	sum := sha512.Sum512(append(binary.LittleEndian.AppendUint64(nil, i), base...))
	return sum[:]
}

// blocks31 checks the blocks of KDBX 3.1: number, hash, length and content.
func blocks31(data []byte) ([]byte, error) {
	var content []byte
	for i := uint32(0); ; i++ {
		if len(data) < 4+sha256.Size {
			return nil, errShort
		}
		at, want := binary.LittleEndian.Uint32(data), data[4:4+sha256.Size]
		block, rest, err := sized(data[4+sha256.Size:])
		if err != nil {
			return nil, err
		}
		if len(block) == 0 {
			return content, nil
		}
		if sum := sha256.Sum256(block); at != i || !bytes.Equal(sum[:], want) {
			return nil, errDamaged
		}
		content, data = append(content, block...), rest
	}
}

// unpack returns what plain holds as it is unpacked, so that little of it is in
// memory at a time. Reading more than limit bytes of it fails with [ErrCost].
func (h *header) unpack(plain []byte, limit int64) (*bufio.Reader, error) {
	if !h.zipped {
		return bufio.NewReader(bytes.NewReader(plain)), nil
	}
	z, err := gzip.NewReader(bytes.NewReader(plain))
	if err != nil {
		return nil, errDamaged
	}
	z.Multistream(false) // some writers pad what they encrypt, also where the cipher needs none
	return bufio.NewReader(&unpacked{from: z, left: limit, limit: limit}), nil
}

// An unpacked stream ends in an error of ours.
type unpacked struct {
	from        io.Reader
	left, limit int64 // in bytes
}

func (u *unpacked) Read(p []byte) (n int, err error) {
	n, err = u.from.Read(p)
	switch u.left -= int64(n); {
	case u.left < 0:
		return 0, fmt.Errorf("%w: it unpacks to more than %d MiB", ErrCost, u.limit>>20)
	case err != nil && !errors.Is(err, io.EOF):
		return 0, errDamaged
	}
	return n, err
}

// inner reads the inner header of KDBX 4; the XML comes after it. Attachments are
// passed over.
func (h *header) inner(in *bufio.Reader) error {
	for h.version == Version4 {
		id, value, err := innerField(in)
		if err != nil {
			return err
		}
		switch id {
		case fieldEnd:
			return nil
		case innerStream:
			if h.stream, err = streamID(value); err != nil {
				return err
			}
		case innerStreamKey:
			h.streamKey = value
		}
	}
	return nil
}

// innerField reads one field of the inner header, and its value if it is wanted.
func innerField(in *bufio.Reader) (id byte, value []byte, err error) {
	var head [5]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, nil, innerFault(err)
	}
	id = head[0]
	size := int64(binary.LittleEndian.Uint32(head[1:]))
	if id != innerStream && id != innerStreamKey {
		_, err = io.CopyN(io.Discard, in, size)
		return id, nil, innerFault(err)
	}
	if size > maxInner {
		return id, nil, errDamaged
	}
	value = make([]byte, size)
	_, err = io.ReadFull(in, value)
	return id, value, innerFault(err)
}

func innerFault(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errShort
	}
	return err
}
