package vault

import (
	"strings"
	"unicode/utf8"

	"keyturn/pkg/pam"
	"keyturn/pkg/secret"
)

// A body is what is sealed of a record beside its head. The password of a
// pamUser is not in it: its field is an empty place that Record fills.
type body struct {
	Account pam.UID `json:"account,omitempty"` // of a pamUser
	Notes   string  `json:"notes,omitempty"`
	Fields  []field `json:"fields"`
}

type field struct {
	Type   string            `json:"type"`
	Label  string            `json:"label,omitempty"`
	Custom bool              `json:"custom,omitempty"`
	Values []string          `json:"values,omitempty"`
	Parts  map[string]string `json:"parts,omitempty"`
	Secret int               `json:"secret,omitempty"` // place among the row's secrets, from 1
	JSON   bool              `json:"json,omitempty"`
	Bare   []string          `json:"bare,omitempty"`
}

// bodyOf splits a record into a document and the secrets to seal with it.
func bodyOf(r pam.Record, account pam.UID) (body, []secret.Value) {
	b := body{Account: account, Notes: r.Notes}
	var secrets []secret.Value
	password := passwordField(&r)
	for i := range r.Fields {
		f := &r.Fields[i]
		d := field{Type: f.Type, Label: f.Label, Custom: f.Custom, Values: f.Values, Parts: f.Parts, JSON: f.JSON, Bare: f.Bare}
		if !f.Secret.IsZero() && f != password {
			secrets = append(secrets, f.Secret)
			d.Secret = len(secrets)
		}
		b.Fields = append(b.Fields, d)
	}
	return b, secrets
}

// record puts head, document and secrets together; the record owns the secrets.
func (b body) record(h pam.Head, secrets []secret.Value) pam.Record {
	r := pam.Record{Head: h, Notes: b.Notes}
	for _, d := range b.Fields {
		f := pam.Field{Type: d.Type, Label: d.Label, Custom: d.Custom, Values: d.Values, Parts: d.Parts, JSON: d.JSON, Bare: d.Bare}
		if d.Secret > 0 && d.Secret <= len(secrets) {
			f.Secret = secrets[d.Secret-1]
		}
		r.Fields = append(r.Fields, f)
	}
	return r
}

// passwordField is the field of a pamUser that shows its credential; nil when
// there is none, or the record is of another type.
func passwordField(r *pam.Record) *pam.Field {
	if r.Type != pam.TypeUser {
		return nil
	}
	return r.Field("password", "")
}

// fillPassword shows the current password in the record's password field, which
// is put behind the login when it has none.
func fillPassword(r *pam.Record, password secret.Value) {
	if f := passwordField(r); f != nil {
		f.Secret = password
		return
	}
	at := 0
	for i := range r.Fields {
		if r.Fields[i].Type == "login" {
			at = i + 1
		}
	}
	fields := append([]pam.Field{}, r.Fields[:at]...)
	fields = append(fields, pam.Field{Type: "password", Secret: password})
	r.Fields = append(fields, r.Fields[at:]...)
}

// summary is the Description column of lists: the login, else the host.
func summary(r *pam.Record) string {
	if login := r.Text("login", ""); login != "" {
		return login
	}
	host := r.Field("pamHostname", "")
	if host == nil {
		return ""
	}
	if port := host.Parts["port"]; port != "" {
		return host.Parts["hostName"] + ":" + port
	}
	return host.Parts["hostName"]
}

// maxTitle bounds a title, in bytes: it stands in every list.
const maxTitle = 1024

// checkText refuses what could not be read back as it was written.
func checkText(r *pam.Record) error {
	texts := []string{r.Title, r.Notes, string(r.Type)}
	for _, f := range r.Fields {
		texts = append(texts, f.Type, f.Label)
		texts = append(append(texts, f.Values...), f.Bare...)
		for name, part := range f.Parts {
			texts = append(texts, name, part)
		}
	}
	for _, s := range texts {
		if !utf8.ValidString(s) {
			return pam.Errorf(pam.ErrInvalidInput, "record %q: a field is not valid UTF-8; nothing changed",
				strings.ToValidUTF8(r.Title, "?"))
		}
	}
	if strings.TrimSpace(r.Title) == "" {
		return pam.Errorf(pam.ErrInvalidInput, "the record has no title; nothing changed")
	}
	if len(r.Title) > maxTitle {
		return pam.Errorf(pam.ErrInvalidInput, "the title that begins with %.40q has %d bytes, not at most %d; nothing changed",
			r.Title, len(r.Title), maxTitle)
	}
	if r.Type == "" {
		return pam.Errorf(pam.ErrInvalidInput, "record %q has no type; nothing changed", r.Title)
	}
	return nil
}
