package vault

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"

	"keyturn/pkg/secret"
)

var errFrame = errors.New("a sealed row has an unknown layout")

// frameStep is the least step in which lengths of frames grow.
const frameStep = 256

// stepped is the length to which n bytes are filled up: the next multiple of a
// step that grows with n, so that filling costs at most an eighth beyond 4096.
func stepped(n int) int {
	step := frameStep
	for 16*step <= n {
		step *= 2
	}
	return (n + step - 1) / step * step
}

// encodeFrame lays out a row's plaintext: the length of a JSON document, the
// document, the number of secrets, each secret after its length, and zeros that
// fill it up. Secrets stay out of the document so that no encoder's buffer ever
// holds them, and are filled up apart from it: the whole is as long for a short
// secret as for a longer one, or none. Nil secrets are for what never has any.
// The caller clears the result.
func encodeFrame(doc any, secrets []secret.Value) ([]byte, error) {
	text, err := json.Marshal(doc)
	if err != nil {
		return nil, fmt.Errorf("encode a row: %w", err)
	}
	return layFrame(text, secrets), nil
}

// layFrame is encodeFrame of a document that is text already.
func layFrame(text []byte, secrets []secret.Value) []byte {
	document, hidden := segmentLen(len(text)), uvarintLen(len(secrets))
	for _, s := range secrets {
		hidden += segmentLen(s.Len())
	}
	n := stepped(document + hidden)
	if secrets != nil {
		n = stepped(document) + stepped(hidden)
	}
	// One allocation: growing would leave copies of secrets behind.
	b := make([]byte, 0, n)
	b = binary.AppendUvarint(b, uint64(len(text)))
	b = append(b, text...)
	b = binary.AppendUvarint(b, uint64(len(secrets)))
	for _, s := range secrets {
		b = binary.AppendUvarint(b, uint64(len(s.Reveal())))
		b = append(b, s.Reveal()...)
	}
	return b[:n]
}

func uvarintLen(n int) int { return len(binary.AppendUvarint(nil, uint64(n))) } //nolint:gosec // a length

func segmentLen(n int) int { return uvarintLen(n) + n }

// A textReader is a document that reads itself, when it is laid out as this program
// does it; readText says whether it is, else it is read as any JSON.
type textReader interface{ readText(text []byte) bool }

// decodeFrame reads what encodeFrame wrote, and what was written before frames
// were filled up. The secrets are copies.
func decodeFrame(b []byte, doc any) ([]secret.Value, error) {
	text, secrets, err := cutFrame(b)
	if err != nil {
		return nil, err
	}
	if own, ok := doc.(textReader); ok && own.readText(text) {
		return secrets, nil
	}
	if err := json.Unmarshal(text, doc); err != nil {
		destroy(secrets)
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	return secrets, nil
}

// cutFrame takes a frame apart. The text is a part of b, the secrets are copies.
func cutFrame(b []byte) (text []byte, secrets []secret.Value, err error) {
	text, b, ok := cutSegment(b)
	if !ok {
		return nil, nil, errFrame
	}
	n, size := binary.Uvarint(b)
	if size <= 0 || n > uint64(len(b)) {
		return nil, nil, errFrame
	}
	b = b[size:]
	for range n {
		var s []byte
		if s, b, ok = cutSegment(b); !ok {
			destroy(secrets)
			return nil, nil, errFrame
		}
		secrets = append(secrets, secret.Copy(s))
	}
	if len(bytes.TrimLeft(b, "\x00")) != 0 {
		destroy(secrets)
		return nil, nil, errFrame
	}
	return text, secrets, nil
}

func cutSegment(b []byte) (segment, rest []byte, ok bool) {
	n, size := binary.Uvarint(b)
	if size <= 0 {
		return nil, nil, false
	}
	b = b[size:]
	if n > uint64(len(b)) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}

func destroy(secrets []secret.Value) {
	for _, s := range secrets {
		s.Destroy()
	}
}
