package powershell

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"unicode"
	"unicode/utf8"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

const (
	headerSize = 81
	magic      = "WSX1 "
	// maxBody is the largest body that the bootstrap accepts.
	maxBody = 8 << 20
)

// A FrameError says why standard input was not a whole frame. Nothing ran.
type FrameError struct {
	Class     string // transport_header, transport_truncated or transport_corrupt
	Got, Want int
}

// Error says what arrived.
func (e *FrameError) Error() string {
	return fmt.Sprintf("%s: got %d of %d bytes", e.Class, e.Got, e.Want)
}

// EncodeFrame is what goes to standard input: the header, then the main script,
// req and the secrets, which req.Secrets names by index. The frame is itself a
// secret. A secret that Windows could not store as it is - empty, not UTF-8, or
// with a control character - is refused.
func EncodeFrame(req Request, secrets []secret.Value) (secret.Value, error) {
	f, err := encodeFrame(encodedMain(), req, secrets)
	if err != nil {
		return secret.Value{}, err
	}
	defer f.destroy()
	return secret.Join(f.parts()...), nil
}

// A frame is what goes to standard input, in the parts that it is made of. main is
// base64, and may be that of many frames at once: it is most of them.
type frame struct {
	head, main, rest secret.Value
}

func (f frame) parts() []secret.Value { return []secret.Value{f.head, f.main, f.rest} }

// destroy destroys what is of this frame alone.
func (f frame) destroy() {
	f.head.Destroy()
	f.rest.Destroy()
}

// encodedMain is the main script as frames carry it.
var encodedMain = sync.OnceValue(func() []byte { return base64.StdEncoding.AppendEncode(nil, mainScript()) })

func encodeFrame(main []byte, req Request, secrets []secret.Value) (f frame, err error) {
	for i, s := range secrets {
		if err := checkSecret(s.Reveal()); err != nil {
			return f, pam.Errorf(pam.ErrInvalidInput, "secret %d of the request %w", i, err)
		}
	}
	for name, i := range req.Secrets {
		if i < 0 || i >= len(secrets) {
			return f, pam.Errorf(pam.ErrInternal, "the request names secret %d as %s, there are %d", i, name, len(secrets))
		}
	}
	request, err := json.Marshal(req)
	if err != nil {
		return f, pam.Errorf(pam.ErrInternal, "encode the request: %w", err)
	}
	size := 1 + encodedLen(request) + 1
	for _, s := range secrets {
		size += encodedLen(s.Reveal()) + 1
	}
	if size+len(main) > maxBody {
		return f, pam.Errorf(pam.ErrInvalidInput,
			"the request takes %d bytes, more than a machine accepts (%d)", size+len(main), maxBody)
	}
	// One buffer of the right size: growing it would leave copies of the secrets behind.
	rest := make([]byte, 0, size)
	rest = append(rest, '.')
	rest = base64.StdEncoding.AppendEncode(rest, request)
	rest = append(rest, '.')
	for i, s := range secrets {
		if i > 0 {
			rest = append(rest, ',')
		}
		rest = base64.StdEncoding.AppendEncode(rest, s.Reveal())
	}
	digest := sha256.New()
	digest.Write(main)
	digest.Write(rest)
	head := fmt.Appendf(nil, "%s%010d %x\n", magic, len(main)+len(rest), digest.Sum(nil))
	return frame{head: secret.New(head), main: secret.New(main), rest: secret.New(rest)}, nil
}

func encodedLen(b []byte) int { return base64.StdEncoding.EncodedLen(len(b)) }

func checkSecret(b []byte) error {
	switch {
	case len(b) == 0:
		return errors.New("is empty")
	case !utf8.Valid(b):
		return errors.New("is not UTF-8 text")
	}
	for rest := b; len(rest) > 0; {
		r, n := utf8.DecodeRune(rest)
		if unicode.IsControl(r) {
			return errors.New("holds a control character, which Windows does not accept in a password")
		}
		rest = rest[n:]
	}
	return nil
}

// A Frame is a decoded frame.
type Frame struct {
	Main    []byte
	Request Request
	Secrets []secret.Value
}

// ReadFrame reads one frame as the bootstrap does, for those who stand in for a
// machine. A frame that is not whole is a [FrameError].
func ReadFrame(r io.Reader) (Frame, error) {
	header := make([]byte, headerSize)
	if n, err := io.ReadFull(r, header); err != nil {
		return Frame{}, &FrameError{Class: ClassTransportTruncated, Got: n, Want: headerSize}
	}
	size, sum, ok := parseHeader(header)
	if !ok {
		return Frame{}, &FrameError{Class: ClassTransportHeader, Got: headerSize, Want: headerSize}
	}
	body := make([]byte, size)
	defer clear(body)
	if n, err := io.ReadFull(r, body); err != nil {
		return Frame{}, &FrameError{Class: ClassTransportTruncated, Got: n, Want: size}
	}
	corrupt := &FrameError{Class: ClassTransportCorrupt, Got: size, Want: size}
	if got := sha256.Sum256(body); hex.EncodeToString(got[:]) != sum {
		return Frame{}, corrupt
	}
	segments := bytes.Split(body, []byte("."))
	if len(segments) != 3 {
		return Frame{}, corrupt
	}
	f, err := decodeSegments(segments)
	if err != nil {
		return Frame{}, corrupt
	}
	return f, nil
}

// parseHeader takes "WSX1 <10 digits> <64 hex>\n" and nothing like it.
func parseHeader(h []byte) (size int, sum string, ok bool) {
	if string(h[:5]) != magic || h[15] != ' ' || h[80] != '\n' {
		return 0, "", false
	}
	n, err := strconv.ParseUint(string(h[5:15]), 10, 63)
	if err != nil || n > maxBody {
		return 0, "", false
	}
	sum = string(h[16:80])
	for _, c := range sum {
		if (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return 0, "", false
		}
	}
	return int(n), sum, true
}

func decodeSegments(segments [][]byte) (Frame, error) {
	var f Frame
	var err error
	if f.Main, err = decodeBase64(segments[0]); err != nil {
		return Frame{}, err
	}
	request, err := decodeBase64(segments[1])
	if err != nil {
		return Frame{}, err
	}
	if err := json.Unmarshal(request, &f.Request); err != nil {
		return Frame{}, fmt.Errorf("decode the request: %w", err)
	}
	if len(segments[2]) == 0 {
		return f, nil
	}
	for encoded := range bytes.SplitSeq(segments[2], []byte(",")) {
		s, err := decodeBase64(encoded)
		if err != nil {
			return Frame{}, err
		}
		f.Secrets = append(f.Secrets, secret.New(s))
	}
	return f, nil
}

func decodeBase64(b []byte) ([]byte, error) {
	out := make([]byte, base64.StdEncoding.DecodedLen(len(b)))
	n, err := base64.StdEncoding.Decode(out, b)
	if err != nil {
		return nil, fmt.Errorf("decode a segment: %w", err)
	}
	return out[:n], nil
}
