package pam

import (
	"slices"
	"strings"
	"time"

	"keyturn/pkg/secret"
)

// A RecordType names the kind of a record, in Keeper Commander's words.
type RecordType string

// The record types.
const (
	TypeMachine   RecordType = "pamMachine"
	TypeUser      RecordType = "pamUser"
	TypeDirectory RecordType = "pamDirectory"
	TypeLogin     RecordType = "login"
)

// A Head is what a list shows of a record: it is sealed apart from the body, so
// that listing does not open passwords.
type Head struct {
	UID      UID        `json:"uid"`
	Type     RecordType `json:"type"`
	Title    string     `json:"title"`
	Folder   UID        `json:"folder,omitempty"`  // "" is the root
	Summary  string     `json:"summary,omitempty"` // login, or host: the Description column of "ls -l"
	Revision int64      `json:"revision"`
	Created  time.Time  `json:"created"`
	Modified time.Time  `json:"modified"`
}

// A Record is one entry of the vault. Unknown fields are kept as they came.
type Record struct {
	Head
	Notes  string
	Fields []Field
	// Unverified says that the password of a pamUser was not proven to be the one in force.
	Unverified bool
}

// A Field is one field of a record, named by type and label. Exactly one of
// Values, Parts and Secret is in use.
type Field struct {
	Type   string            // "login", "password", "text", "pamHostname", ...
	Label  string            // "operatingSystem" of text.operatingSystem; may be empty
	Custom bool              // a field the record type does not define
	Values []string          // plain text values
	Parts  map[string]string // the parts of one structured value: hostName, port
	Secret secret.Value      // the value of a secret type, never also in Values
	// JSON says that Secret, or each of Values, is not a text but JSON, as another
	// program's file had it: a number, a truth value, "" for null, and of a Secret
	// also an object or list.
	JSON bool
	Bare []string // the Parts that are such numbers, truth values or nulls
}

// SecretFieldTypes are the field types whose value is a secret.
var SecretFieldTypes = []string{"password", "secret", "oneTimeCode", "pinCode", "privateKey"}

// SecretParts are the parts of fields that are shown as secrets are: the answer of a
// securityQuestion, what a paymentCard is paid with.
var SecretParts = []string{"answer", "cardNumber", "cardSecurityCode"}

// Hides reports whether there is anything in the field that is shown on request only.
func (f Field) Hides() bool {
	for name, text := range f.Parts {
		if text != "" && slices.Contains(SecretParts, name) {
			return true
		}
	}
	return !f.Secret.IsZero()
}

// Destroy destroys the secrets of all fields.
func (r Record) Destroy() {
	for _, f := range r.Fields {
		f.Secret.Destroy()
	}
}

// Field returns the first field of that type and label, or nil. Both compare
// without case; an empty label matches only a field without one.
func (r *Record) Field(typ, label string) *Field {
	for i := range r.Fields {
		if strings.EqualFold(r.Fields[i].Type, typ) && strings.EqualFold(r.Fields[i].Label, label) {
			return &r.Fields[i]
		}
	}
	return nil
}

// Text returns the first value of a plain field, or "".
func (r *Record) Text(typ, label string) string {
	if f := r.Field(typ, label); f != nil && len(f.Values) > 0 {
		return f.Values[0]
	}
	return ""
}

// A Folder groups records. Names are unique within a parent, without case.
type Folder struct {
	UID    UID    `json:"uid"`
	Name   string `json:"name"`
	Parent UID    `json:"parent,omitempty"` // "" is the root
}

// A Gateway is a named executor. A new vault has one, "Embedded", which works
// from this machine.
type Gateway struct {
	UID  UID    `json:"uid"`
	Name string `json:"name"`
}

// A Configuration binds machines to a gateway and may name the admin that logs
// in to them. A new vault has one, "Local Network".
type Configuration struct {
	UID         UID    `json:"uid"`
	Title       string `json:"title"`
	Environment string `json:"environment"` // "local" or "domain"
	Gateway     UID    `json:"gateway"`
	Admin       UID    `json:"admin,omitempty"` // a pamUser record
}

// RotationSettings say how a user's password is rotated.
type RotationSettings struct {
	User          UID    `json:"user"`
	Resource      UID    `json:"resource"` // the pamMachine or pamDirectory that decides the password
	Configuration UID    `json:"configuration"`
	Enabled       bool   `json:"enabled"`
	Complexity    string `json:"complexity,omitempty"` // "length,upper,lower,digits,symbols[,SPECIALS]"; "" is the default
	OnDemand      bool   `json:"on_demand"`
	Policy        Policy `json:"policy,omitzero"` // of every job
}

// ResourceSettings hold what the vault knows of a machine beside its record.
type ResourceSettings struct {
	Resource      UID  `json:"resource"`
	Configuration UID  `json:"configuration,omitempty"`
	Admin         UID  `json:"admin,omitempty"` // the machine's own admin; "" falls back to the configuration's
	Disabled      bool `json:"disabled,omitempty"`
}
