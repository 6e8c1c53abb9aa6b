package executor

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"keyturn/pkg/pam"
)

// envelope is a request as it is sent: which verb, and its fields.
type envelope struct {
	Verb    string          `json:"verb"`
	Request json.RawMessage `json:"request"`
}

// MarshalRequest encodes a request for an executor somewhere else. It holds no
// secret; those travel apart.
func MarshalRequest(r Request) ([]byte, error) {
	if r == nil {
		return nil, pam.Errorf(pam.ErrInternal, "no request to send")
	}
	body, err := json.Marshal(r)
	if err != nil {
		return nil, pam.Errorf(pam.ErrInternal, "encode a %s request: %w", r.verb(), err)
	}
	text, err := json.Marshal(envelope{r.verb(), body})
	if err != nil {
		return nil, pam.Errorf(pam.ErrInternal, "encode a %s request: %w", r.verb(), err)
	}
	return text, nil
}

// UnmarshalRequest decodes what MarshalRequest encoded. A verb or field that is
// not known is refused as ErrInvalidInput: to do less than was asked for is not
// what was asked for.
func UnmarshalRequest(text []byte) (Request, error) {
	var e envelope
	if err := decode(text, &e); err != nil {
		return nil, pam.Errorf(pam.ErrInvalidInput, "a request is not readable: %w", err)
	}
	read, ok := readers()[e.Verb]
	if !ok {
		return nil, pam.Errorf(pam.ErrInvalidInput, "a request has the unknown verb %q; nothing was done", e.Verb)
	}
	r, err := read(e.Request)
	if err != nil {
		return nil, pam.Errorf(pam.ErrInvalidInput, "a %s request is not readable; nothing was done: %w", e.Verb, err)
	}
	return r, nil
}

type reader func([]byte) (Request, error)

// readers is the registry: one reader for each verb.
func readers() map[string]reader {
	return map[string]reader{
		Check{}.verb():        read[Check],
		ReadEvidence{}.verb(): read[ReadEvidence],
		Set{}.verb():          read[Set],
		Unlock{}.verb():       read[Unlock],
		Verify{}.verb():       read[Verify],
		Look{}.verb():         read[Look],
		Update{}.verb():       read[Update],
		Restart{}.verb():      read[Restart],
		Repair{}.verb():       read[Repair],
		Ping{}.verb():         read[Ping],
	}
}

func read[R Request](text []byte) (Request, error) {
	var r R
	err := decode(text, &r)
	return r, err
}

func decode(text []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return err
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return pam.Errorf(pam.ErrInvalidInput, "something follows the JSON value")
	}
	return nil
}
