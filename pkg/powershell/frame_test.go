package powershell_test

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"

	"pgregory.net/rapid"

	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/secret"
)

func values(texts ...string) []secret.Value {
	var all []secret.Value
	for _, s := range texts {
		all = append(all, secret.New([]byte(s)))
	}
	return all
}

func encode(t require, req powershell.Request, secrets ...string) []byte {
	t.Helper()
	frame, err := powershell.EncodeFrame(req, values(secrets...))
	if err != nil {
		t.Fatalf("encode: %v", err)
	}
	return frame.Reveal()
}

type require interface {
	Helper()
	Fatalf(string, ...any)
}

func TestFrameRoundTrips(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.StringMatching(`[^\pC]{1,40}`)
		secrets := rapid.SliceOfN(text, 0, 4).Draw(t, "secrets")
		req := powershell.Request{
			V: 1, Op: powershell.OpUpdate, Run: "run", Nonce: "ab", Target: &powershell.Account{Sam: text.Draw(t, "sam")},
			Items: []powershell.ItemRef{{Kind: "service", ID: text.Draw(t, "id")}},
		}
		f, err := powershell.ReadFrame(iotest.OneByteReader(bytes.NewReader(encode(t, req, secrets...))))
		if err != nil || !reflect.DeepEqual(f.Request, req) || len(f.Secrets) != len(secrets) || !bytes.Equal(f.Main, powershell.Script()) {
			t.Fatalf("%v: %+v", err, f.Request)
		}
		for i, s := range f.Secrets {
			if string(s.Reveal()) != secrets[i] {
				t.Fatalf("secret %d: %q, want %q", i, s.Reveal(), secrets[i])
			}
		}
	})
}

func TestDamagedFramesAreRefused(t *testing.T) {
	t.Parallel()
	whole := encode(t, powershell.Request{V: 1, Op: powershell.OpPing, Nonce: "ab"}, "pw1", "pw2")
	class := func(in []byte) string {
		_, err := powershell.ReadFrame(bytes.NewReader(in))
		broken, ok := errors.AsType[*powershell.FrameError](err)
		if !ok {
			t.Fatalf("not refused: %v", err)
		}
		return broken.Class
	}
	step := 1
	for at := 0; at < len(whole); at += step {
		if at > 200 {
			step = 97
		}
		if c := class(whole[:at]); c != powershell.ClassTransportTruncated {
			t.Fatalf("cut at %d: %s", at, c)
		}
		flipped := bytes.Clone(whole)
		flipped[at] ^= 1
		class(flipped)
		class(append(bytes.Clone(whole[:at]), whole[at+1:]...))
	}
	for at := 81; at+1 < len(whole); at += 997 {
		if whole[at] != whole[at+1] { // doubling a byte of a run of equal ones at the end changes nothing before it
			twice := append(append(bytes.Clone(whole[:at+1]), whole[at]), whole[at+1:]...)
			class(twice)
		}
	}
	huge := append([]byte("WSX1 9999999999 "), whole[16:]...)
	if c := class(huge); c != powershell.ClassTransportHeader {
		t.Errorf("a huge length: %s", c)
	}
}

func TestUnusableSecretsAreRefused(t *testing.T) {
	t.Parallel()
	for name, s := range map[string]string{
		"empty": "", "NUL": "a\x00b", "a line end": "a\nb", "a C1 control": "a\u0085b", "DEL": "a\x7fb", "not UTF-8": "a\xffb", "a lone surrogate": "a\xed\xa0\x80",
	} {
		_, err := powershell.EncodeFrame(powershell.Request{}, values(s))
		if !errors.Is(err, pam.ErrInvalidInput) || strings.Contains(err.Error(), "a") && s != "" && strings.Contains(err.Error(), s) {
			t.Errorf("%s: %v", name, err)
		}
	}
	_, err := powershell.EncodeFrame(powershell.Request{Secrets: map[string]int{"new": 1}}, values("x"))
	if !errors.Is(err, pam.ErrInternal) {
		t.Errorf("an index without a secret: %v", err)
	}
}

func FuzzReadFrame(f *testing.F) {
	t := fatal{f}
	f.Add(encode(t, powershell.Request{V: 1, Op: powershell.OpPing}, "pw"))
	f.Add([]byte("WSX1 0000000000 " + strings.Repeat("0", 64) + "\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := powershell.ReadFrame(bytes.NewReader(in)); err != nil {
			if _, ok := errors.AsType[*powershell.FrameError](err); !ok || errors.Is(err, io.EOF) {
				t.Errorf("untyped: %v", err)
			}
		}
	})
}

type fatal struct{ *testing.F }
