package secret_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"keyturn/pkg/secret"
)

const canary = "c4n4ry-Pa$$w0rd"

type holder struct {
	open   secret.Value
	Open   secret.Value
	nested *struct{ v secret.Value }
	list   []secret.Value
}

func encodings() []string {
	var ints []string
	for _, b := range []byte(canary) {
		ints = append(ints, fmt.Sprint(b))
	}
	return []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), strings.Join(ints, " "), strings.Join(ints, ", ")}
}

func TestNoVerbPrintsASecret(t *testing.T) {
	v := secret.New([]byte(canary))
	shapes := []any{
		v, &v,
		holder{v, v, &struct{ v secret.Value }{v}, []secret.Value{v}},
		&holder{open: v, Open: v},
		[]secret.Value{v},
		map[string]secret.Value{"k": v},
		[]any{v, &v},
		struct{ e error }{fmt.Errorf("with %v", v)},
	}
	for _, shape := range shapes {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%c", "%t", "%p", "%U", "%o", "%b"} {
			out := fmt.Sprintf(verb, shape)
			for _, e := range encodings() {
				if strings.Contains(out, e) {
					t.Errorf("%s of %T shows the secret: %s", verb, shape, out)
				}
			}
		}
	}
}

func TestNoLoggerPrintsASecret(t *testing.T) {
	v := secret.New([]byte(canary))
	var buf bytes.Buffer
	for _, h := range []slog.Handler{slog.NewTextHandler(&buf, nil), slog.NewJSONHandler(&buf, nil)} {
		slog.New(h).Info("event", "value", v, "holder", holder{open: v, Open: v}, "list", []secret.Value{v})
	}
	for _, e := range encodings() {
		if strings.Contains(buf.String(), e) {
			t.Errorf("a logger shows the secret: %s", buf.String())
		}
	}
}

func TestMarshallingFailsInsteadOfDestroyingThePassword(t *testing.T) {
	v := secret.New([]byte(canary))
	for _, shape := range []any{v, holder{Open: v}, map[string]any{"password": v}} {
		if out, err := json.Marshal(shape); !errors.Is(err, secret.ErrMarshal) {
			t.Errorf("json.Marshal(%T) = %s, %v; want ErrMarshal", shape, out, err)
		}
	}
}

func TestDestroyEmptiesEveryCopyButNotAClone(t *testing.T) {
	raw := []byte(canary)
	v := secret.New(raw)
	shared, own := v, v.Clone()
	v.Destroy()
	if !shared.IsZero() || bytes.Contains(raw, []byte("c4n")) {
		t.Error("Destroy left bytes behind")
	}
	if !own.Equal(secret.New([]byte(canary))) {
		t.Error("a clone was destroyed with the original")
	}
	var zero secret.Value
	zero.Destroy()
	if !zero.IsZero() || !zero.Equal(secret.Value{}) || zero.Len() != 0 {
		t.Error("the zero Value is not usable")
	}
}

func TestJoinedBytesAreTheirOwn(t *testing.T) {
	t.Parallel()
	a, b := secret.New([]byte("one")), secret.New([]byte("two"))
	joined := secret.Join(a, secret.Value{}, b)
	a.Destroy()
	if got := string(joined.Reveal()); got != "onetwo" {
		t.Errorf("got %q", got)
	}
	if !secret.Join().IsZero() {
		t.Error("nothing joined is something")
	}
}
