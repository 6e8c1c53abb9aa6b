package dependency_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"keyturn/pkg/dependency"
	"keyturn/pkg/pam"
	"keyturn/pkg/powershell"
	"keyturn/pkg/remote"
	"keyturn/pkg/secret"
)

// A hostile machine answers with any bytes; NONCE in them is the request's.
type hostile []byte

func (h hostile) Dial(context.Context, remote.Target) (remote.Session, error) { return h, nil }
func (hostile) Close() error                                                  { return nil }

func (h hostile) Run(_ context.Context, s remote.Script, parts ...secret.Value) (remote.Result, error) {
	in := secret.Join(parts...)
	frame, err := powershell.ReadFrame(bytes.NewReader(in.Reveal()))
	if err != nil {
		return remote.Result{}, err
	}
	s.OnOutput(bytes.ReplaceAll(h, []byte("NONCE"), []byte(frame.Request.Nonce)))
	return remote.Result{}, nil
}

func FuzzHost(f *testing.F) {
	f.Add([]byte("#WSX {\"t\":\"item\",\"n\":\"NONCE\",\"phase\":\"look\",\"kind\":\"service\",\"id\":\"App\",\"match\":{\"hit\":true}," +
		"\"state\":\"Running\",\"canStop\":true,\"dependents\":[\"App\",\"\\u0000\"],\"pid\":-1}\n#WSX {\"t\":\"bye\",\"n\":\"NONCE\"}\n"))
	f.Add([]byte("#WSX {\"t\":\"item\",\"n\":\"NONCE\",\"phase\":\"update\",\"kind\":\"service\",\"id\":\"APP\",\"status\":\"ok\",\"ms\":-1}\n"))
	f.Add([]byte("#WSX {\"t\":\"proof\",\"n\":\"NONCE\",\"code\":1326,\"type\":5}\n#WSX {\"t\":\"bye\",\"n\":\"NONCE\"}\n"))
	f.Add([]byte("#WSX {\"t\":\"item\",\"n\":\"NONCE\",\"phase\":\"look\",\"kind\":\"process\",\"id\":\"7\",\"display\":\"a\\u001b\",\"pid\":-7}\n" +
		"#WSX {\"t\":\"item\",\"n\":\"NONCE\",\"phase\":\"look\",\"kind\":\"iis_vdir\",\"id\":\"S/x\",\"state\":\"x\",\"match\":{\"hit\":true}}\n"))
	f.Add([]byte("#WSX {\"t\":\"fatal\",\"class\":\"transport_corrupt\",\"got\":-1}\n"))
	f.Fuzz(func(t *testing.T, output []byte) {
		h, err := dependency.Open(t.Context(), hostile(output), remote.Target{}, dependency.Options{Random: rand.Reader, Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		u, err := h.Update(t.Context(), dependency.UpdateRequest{Subject: subject, Kinds: allKinds, Items: []dependency.Item{app, night}},
			secret.New([]byte("n3w-Pass")), nil)
		if len(u.Results) != 2 {
			t.Fatalf("two items were asked for, %d answered", len(u.Results))
		}
		for _, r := range u.Results {
			if r.Status == pam.StatusOK && u.Rejected && r.Error != nil {
				t.Errorf("contradiction: %+v", r)
			}
			if r.Took < 0 || !printable(r.Reason) || r.Error != nil && !printable(r.Error.Message) {
				t.Errorf("unusable result %+v", r)
			}
		}
		for _, i := range u.Inventory.Items {
			if i.Name == "" || len(i.Name) > 1024 || i.PID < 0 || !printable(i.Display) || !printable(i.State) {
				t.Errorf("unusable item %+v", i)
			}
		}
		for _, r := range u.Inventory.Reports {
			if !printable(r.Text) || !printable(r.Name) || len(r.Text) > 4096 {
				t.Errorf("unusable report %+v", r)
			}
		}
		if err != nil && !printable(err.Error()) {
			t.Errorf("raw bytes in %q", err)
		}
		dependency.PlanRestart(u.Inventory, allUpdated, dependency.PlanOptions{})
	})
}

func printable(s string) bool {
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return utf8.ValidString(s)
}
